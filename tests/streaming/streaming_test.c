/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streaming server against a client of SPDY/3.1 and WebSocket. The backend
 * runs real processes (sh, cat) over socket pairs, as an agent would.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "client.h"
#include "streaming/http.h"
#include "streaming/remote.h"
#include "streaming/streaming.h"

#define BIG (8u << 20)

static struct streaming *server;
static _Atomic uint32_t last_size;
static _Atomic int peers_gone;

static int spawn(const struct streaming_request *q, int child_fds[3], pid_t *ret_pid)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 3; i++)
            dup2(child_fds[i], i);
        execvp(q->argv[0], (char *const *)q->argv);
        _exit(127);
    }
    *ret_pid = pid;
    return pid < 0 ? -1 : 0;
}

static int test_open(void *data, const struct streaming_request *q,
                     struct streaming_process *ret_process, struct gi_error *err)
{
    int pairs[3][2];
    int child[3];
    (void)data;
    if (strcmp(q->id, "missing") == 0)
        return gi_fail(err, GI_NOT_FOUND, "container \"missing\" \\ is not there");
    for (int i = 0; i < 3; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]) < 0)
            return gi_fail_errno(err, errno, "socketpair");
        child[i] = pairs[i][1];
    }
    pid_t pid;
    int rc = spawn(q, child, &pid);
    for (int i = 0; i < 3; i++)
        close(child[i]);
    ret_process->in = pairs[0][0];
    ret_process->out = pairs[1][0];
    ret_process->err = pairs[2][0];
    ret_process->handle = (void *)(intptr_t)pid;
    return rc;
}

static void test_resize(void *data, void *handle, uint16_t width, uint16_t height)
{
    (void)data;
    (void)handle;
    last_size = (uint32_t)width << 16 | height;
}

static int test_close(void *data, void *handle, bool peer_gone, int *ret_exit_code,
                      struct gi_error *err)
{
    int status = 0;
    pid_t pid = (pid_t)(intptr_t)handle;
    (void)data;
    if (peer_gone) {
        kill(pid, SIGKILL);
        peers_gone++;
    }
    if (waitpid(pid, &status, 0) < 0)
        return gi_fail_errno(err, errno, "wait");
    *ret_exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}

/* Port 7 echoes, the others refuse. */
static int test_connect(void *data, const char *id, uint16_t port, int *ret_fd,
                        struct gi_error *err)
{
    (void)data;
    (void)id;
    if (port != 7)
        return gi_fail(err, GI_UNAVAILABLE, "connection to port %u refused", port);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return gi_fail_errno(err, errno, "socketpair");
    if (fork() == 0) {
        dup2(pair[1], 0);
        dup2(pair[1], 1);
        execlp("cat", "cat", NULL);
        _exit(127);
    }
    close(pair[1]);
    *ret_fd = pair[0];
    return 0;
}

static const struct streaming_backend backend = {.open_process = test_open,
                                                 .resize = test_resize,
                                                 .close_process = test_close,
                                                 .connect_port = test_connect};

static char *url_for(const struct streaming_request *q)
{
    char *url = NULL;
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(streaming_url(server, q, &url, &err), 0);
    return url;
}

static char *exec_url(const char *script, bool in, bool tty)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct streaming_request q = {.kind = STREAMING_EXEC,
                                  .id = "c",
                                  .argv = argv,
                                  .in = in,
                                  .out = true,
                                  .err = !tty,
                                  .tty = tty};
    return url_for(&q);
}

#define NON_ZERO                                                                                   \
    "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with non-zero exit " \
    "code: exit code 3\",\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":[{\"reason\":"     \
    "\"ExitCode\",\"message\":\"3\"}]}}"

static void websocket_exec_tells_output_and_code(void **state)
{
    cleanup_free char *url = exec_url("echo out; echo err >&2; exit 3", false, false);
    struct client c;
    struct client_answer a;
    assert_int_equal(client_open(&c, url, false, "v4.channel.k8s.io"), 101);
    client_read_all(&c, client_ws_ids, &a);
    assert_string_equal(a.text[1], "out\n");
    assert_string_equal(a.text[2], "err\n");
    assert_string_equal(a.text[3], NON_ZERO);
    client_answer_free(&a);
    client_close(&c);
}

static void spdy_exec_tells_output_and_code(void **state)
{
    cleanup_free char *url = exec_url("cat; echo err >&2; exit 3", true, false);
    struct client c;
    struct client_answer a;
    uint32_t ids[5];
    assert_int_equal(client_open(&c, url, true, "v4.channel.k8s.io, v3.channel.k8s.io"), 101);
    client_spdy_streams(&c, true, false, ids);
    client_send(&c, ids[0], "hello ", 6, false);
    client_send(&c, ids[0], "there", 5, true);
    client_read_all(&c, ids, &a);
    assert_string_equal(a.text[1], "hello there");
    assert_string_equal(a.text[2], "err\n");
    assert_string_equal(a.text[3], NON_ZERO);
    client_answer_free(&a);
    client_close(&c);
}

static void websocket_v5_ends_stdin(void **state)
{
    cleanup_free char *url = exec_url("cat; echo done", true, false);
    struct client c;
    struct client_answer a;
    assert_int_equal(client_open(&c, url, false, "v5.channel.k8s.io,v4.channel.k8s.io"), 101);
    client_send(&c, 0, "abc\n", 4, false);
    client_send(&c, 0, NULL, 0, true);
    client_read_all(&c, client_ws_ids, &a);
    assert_string_equal(a.text[1], "abc\ndone\n");
    assert_string_equal(a.text[3], "{\"metadata\":{},\"status\":\"Success\"}");
    assert_int_equal(a.strange, 0); /* ending channels is the client's alone */
    client_answer_free(&a);
    client_close(&c);
}

/* Both directions at once, far more than any buffer holds. */
static void big_transfers_keep_every_byte(void **state)
{
    for (int spdy = 0; spdy < 2; spdy++) {
        cleanup_free char *url = exec_url("head -c 8388608 /dev/zero | tr '\\0' x; cat >/dev/null; "
                                          "echo end >&2",
                                          true, false);
        struct client c;
        struct client_answer a;
        uint32_t ids[5] = {0, 1, 2, 3, 4};
        assert_int_equal(client_open(&c, url, spdy, "v5.channel.k8s.io"), 101);
        if (spdy)
            client_spdy_streams(&c, true, false, ids);
        pid_t writer = fork();
        if (writer == 0) {
            char *chunk = calloc(1, 65000);
            for (size_t sent = 0; chunk && sent < BIG; sent += 65000)
                client_send(&c, ids[0], chunk, 65000, false);
            client_send(&c, ids[0], NULL, 0, true);
            _exit(0);
        }
        client_read_all(&c, ids, &a);
        assert_int_equal(a.len[1], BIG);
        assert_int_equal(strspn(a.text[1], "x"), BIG);
        assert_string_equal(a.text[2], "end\n");
        waitpid(writer, NULL, 0);
        client_answer_free(&a);
        client_close(&c);
    }
}

static void resize_reaches_the_process(void **state)
{
    cleanup_free char *url = exec_url("cat", true, true);
    struct client c;
    struct client_answer a;
    uint32_t ids[5];
    assert_int_equal(client_open(&c, url, true, "v4.channel.k8s.io"), 101);
    client_spdy_streams(&c, true, true, ids);
    last_size = 0;
    /* Split and back to back, garbage in between. */
    client_send(&c, ids[0], "x", 1, false);
    static struct frame f;
    do {
        assert_int_equal(client_recv(&c, &f), 0);
    } while (f.control || f.id != ids[1]);
    client_send(&c, ids[4], "{\"Width\":80,\"Hei", 16, false);
    client_send(&c, ids[4], "ght\":24}{}{\"Width\":99999,\"Height\":1}", 36, false);
    client_send(&c, ids[4], "{\"Width\":132,\"Height\":43}\n", 26, false);
    client_send(&c, ids[0], NULL, 0, true);
    client_read_all(&c, ids, &a);
    assert_int_equal(last_size, 132u << 16 | 43);
    client_answer_free(&a);
    client_close(&c);
}

static void tokens_are_good_once_and_for_their_kind(void **state)
{
    cleanup_free char *url = exec_url("true", false, false);
    struct client c;
    assert_int_equal(client_open(&c, url, false, "v4.channel.k8s.io"), 101);
    client_close(&c);
    assert_int_equal(client_open(&c, url, false, "v4.channel.k8s.io"), 404);
    client_close(&c);
    cleanup_free char *other = exec_url("true", false, false);
    char wrong[256];
    snprintf(wrong, sizeof(wrong), "%.*s/attach/%s", (int)(strstr(other, "/exec/") - other), other,
             strrchr(other, '/') + 1);
    assert_int_equal(client_open(&c, wrong, false, "v4.channel.k8s.io"), 404);
    client_close(&c);
    cleanup_free char *third = exec_url("true", false, false);
    assert_int_equal(client_open(&c, third, false, "v9.channel.k8s.io"), 400);
    client_close(&c);
}

static void too_many_waiting_requests_are_refused(void **state)
{
    struct streaming_config config = {.token_lifetime_ms = 50};
    struct streaming *s = NULL;
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(streaming_open(&config, &backend, &s, &err), 0);
    struct streaming_request q = {.kind = STREAMING_ATTACH, .id = "c", .out = true};
    char *url = NULL;
    int rc = 0;
    int n = 0;
    for (; n < 3000 && rc == 0; n++) {
        rc = streaming_url(s, &q, &url, &err);
        if (rc == 0)
            free(url);
    }
    assert_int_equal(rc, -GI_RESOURCE_EXHAUSTED);
    usleep(60000); /* they expire */
    assert_int_equal(streaming_url(s, &q, &url, &err), 0);
    free(url);
    streaming_close(s);
}

static void a_failed_start_is_told(void **state)
{
    const char *argv[] = {"true", NULL};
    struct streaming_request q = {
        .kind = STREAMING_EXEC, .id = "missing", .argv = argv, .out = true, .err = true};
    cleanup_free char *url = url_for(&q);
    struct client c;
    struct client_answer a;
    assert_int_equal(client_open(&c, url, false, "v4.channel.k8s.io"), 101);
    client_read_all(&c, client_ws_ids, &a);
    assert_non_null(strstr(a.text[3], "container \\\"missing\\\" \\\\ is not there"));
    client_answer_free(&a);
    client_close(&c);
}

static void a_vanished_peer_ends_its_process(void **state)
{
    peers_gone = 0;
    cleanup_free char *url = exec_url("sleep 60", false, false);
    struct client c;
    static struct frame f;
    assert_int_equal(client_open(&c, url, false, "v4.channel.k8s.io"), 101);
    assert_int_equal(client_recv(&c, &f), 0); /* the empty message */
    client_close(&c);
    for (int i = 0; i < 100 && !peers_gone; i++)
        usleep(50000);
    assert_int_equal(peers_gone, 1);
}

static void port_forward(bool spdy, const char *protocol)
{
    struct streaming_request q = {.kind = STREAMING_PORTFORWARD, .id = "pod"};
    cleanup_free char *url = url_for(&q);
    struct client c;
    static struct frame f;
    assert_int_equal(client_open(&c, url, spdy, protocol), 101);
    const char *ports[] = {"7", "7", "9"};
    uint32_t data[3];
    uint32_t error[3];
    for (int i = 0; i < 3; i++) {
        char id[4] = {(char)('0' + i), 0};
        const char *eh[] = {"streamtype", "error", "port", ports[i], "requestid", id, NULL};
        const char *dh[] = {"streamtype", "data", "port", ports[i], "requestid", id, NULL};
        error[i] = client_stream(&c, eh);
        data[i] = client_stream(&c, dh);
    }
    client_send(&c, data[0], "first", 5, true);
    client_send(&c, data[1], "second", 6, true);
    char got[3][64] = {"", "", ""};
    char why[64] = "";
    bool ended[3] = {false};
    while (!(ended[0] && ended[1] && ended[2])) {
        assert_int_equal(client_recv(&c, &f), 0);
        for (int i = 0; i < 3 && !f.control; i++) {
            if (f.id == data[i] && f.len)
                snprintf(got[i] + strlen(got[i]), 32, "%.*s", (int)f.len, f.bytes);
            ended[i] = ended[i] || (f.id == data[i] && f.fin);
            if (f.id == error[i] && f.len)
                snprintf(why, sizeof(why), "%d: %.*s", i, (int)f.len, f.bytes);
        }
    }
    assert_string_equal(got[0], "first");
    assert_string_equal(got[1], "second");
    assert_string_equal(why, "2: connection to port 9 refused");
    client_close(&c);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

static void port_forward_pairs_connections(void **state)
{
    port_forward(true, "portforward.k8s.io");
}

static void port_forward_in_a_websocket(void **state)
{
    port_forward(false, "SPDY/3.1+portforward.k8s.io");
    /* The WebSocket protocol before it isn't spoken. */
    struct streaming_request q = {.kind = STREAMING_PORTFORWARD, .id = "pod"};
    cleanup_free char *url = url_for(&q);
    struct client c;
    assert_int_equal(client_open(&c, url, false, "v4.channel.k8s.io"), 400);
    client_close(&c);
}

static void hostile_peers_are_ended(void **state)
{
    static const char *const heads[] = {
        "\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET /exec/x HTTP/1.0\r\n\r\n",
        "DELETE /exec/x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET /exec/x HTTP/1.1\r\nbroken\r\n\r\n",
        "GET /exec/../../x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(heads); i++) {
        char text[512];
        struct http_request r;
        struct gi_error err;
        snprintf(text, sizeof(text), "%s", heads[i]);
        int rc = http_parse(text, &r, &err);
        assert_true(i == 5 ? rc == 0 : rc < 0); /* a path is only a token here */
    }
    static const uint8_t bad[][12] = {
        {0x80, 3, 0, 1, 0, 0, 0, 2, 1, 1},       /* SYN_STREAM cut short */
        {0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff},    /* too long */
        {0x80, 9, 0, 1, 0, 0, 0, 0},             /* version */
        {0x80, 3, 0, 8, 0, 0, 0, 4, 0, 0, 0, 1}, /* HEADERS, harmless, empty block */
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(bad); i++) {
        cleanup_free char *url = exec_url("true", false, false);
        struct client c;
        static struct frame f;
        assert_int_equal(client_open(&c, url, true, "v4.channel.k8s.io"), 101);
        assert_int_equal(gi_write_full(c.sock, bad[i], sizeof(bad[i])), 0);
        shutdown(c.sock, SHUT_WR);
        while (client_recv(&c, &f) == 0)
            ;
        client_close(&c);
    }
    uint16_t w = 0;
    uint16_t h = 0;
    assert_int_equal(remote_parse_resize("{\"Width\":-1,\"Height\":2}", 23, &w, &h), -1);
}

static int group_setup(void **state)
{
    struct streaming_config config = {0};
    struct gi_error err = GI_ERROR_INIT;
    signal(SIGPIPE, SIG_IGN);
    return streaming_open(&config, &backend, &server, &err);
}

static int group_teardown(void **state)
{
    streaming_close(server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(websocket_exec_tells_output_and_code),
        cmocka_unit_test(spdy_exec_tells_output_and_code),
        cmocka_unit_test(websocket_v5_ends_stdin),
        cmocka_unit_test(big_transfers_keep_every_byte),
        cmocka_unit_test(resize_reaches_the_process),
        cmocka_unit_test(tokens_are_good_once_and_for_their_kind),
        cmocka_unit_test(too_many_waiting_requests_are_refused),
        cmocka_unit_test(a_failed_start_is_told),
        cmocka_unit_test(a_vanished_peer_ends_its_process),
        cmocka_unit_test(port_forward_pairs_connections),
        cmocka_unit_test(port_forward_in_a_websocket),
        cmocka_unit_test(hostile_peers_are_ended),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
