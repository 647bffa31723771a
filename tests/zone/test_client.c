/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client against agents that lie, flood, cut short, or never answer. The
 * fake agent is a thread at the other end of a socketpair.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/wire.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fake.h"
#include "zone_util.h"

struct fake {
    int fd;
    int peer;
    pthread_t thread;
    void (*play)(struct fake *f);
    struct agent_client *client;
    struct recorder rec;
};

/* ---- the fake's tools ---- */

static void send_ok(struct fake *f, uint64_t id)
{
    Gi__Agent__Reply r = GI__AGENT__REPLY__INIT;
    r.id = id;
    fake_reply(f->fd, &r);
}

static void send_error(struct fake *f, uint64_t id, uint32_t code, const char *text)
{
    Gi__Agent__Reply r = GI__AGENT__REPLY__INIT;
    r.id = id;
    r.code = code;
    r.message = (char *)text;
    fake_reply(f->fd, &r);
}

static void send_log(struct fake *f, const char *id, int64_t time_ns, const char *text)
{
    Gi__Agent__LogRecord record = GI__AGENT__LOG_RECORD__INIT;
    Gi__Agent__LogRecord *records[] = {&record};
    record.time_ns = time_ns;
    record.stream = 1;
    record.data.data = (uint8_t *)text;
    record.data.len = strlen(text);
    Gi__Agent__LogBatch batch = GI__AGENT__LOG_BATCH__INIT;
    batch.container_id = (char *)id;
    batch.records = records;
    batch.n_records = 1;
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_LOGS;
    msg.logs = &batch;
    fake_send(f->fd, &msg);
}

static void send_exec_output(struct fake *f, uint64_t id, size_t len)
{
    cleanup_free uint8_t *data = calloc(1, len);
    Gi__Agent__ExecOutput o = GI__AGENT__EXEC_OUTPUT__INIT;
    o.id = id;
    o.stream = 1;
    o.data.data = data;
    o.data.len = len;
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_EXEC_OUTPUT;
    msg.exec_output = &o;
    fake_send(f->fd, &msg);
}

static void until_closed(struct fake *f)
{
    char chunk[4096];
    while (read(f->fd, chunk, sizeof(chunk)) > 0)
        ;
}

static void *fake_thread(void *data)
{
    struct fake *f = data;
    f->play(f);
    return NULL;
}

static void fake_start(struct fake *f, void (*play)(struct fake *f))
{
    int fds[2];
    memset(f, 0, sizeof(*f));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    f->fd = fds[0];
    f->peer = fds[1];
    f->play = play;
    recorder_init(&f->rec);
    assert_int_equal(pthread_create(&f->thread, NULL, fake_thread, f), 0);
}

static int fake_connect(struct fake *f, int timeout_ms, struct gi_error *err)
{
    int rc = agent_client_new(f->peer, &recorder_callbacks, &f->rec, timeout_ms, &f->client, err);
    f->rec.client = rc == 0 ? f->client : NULL;
    return rc;
}

static void fake_stop(struct fake *f)
{
    shutdown(f->fd, SHUT_RDWR);
    if (f->client)
        agent_client_free(f->client);
    pthread_join(f->thread, NULL);
    close(f->fd);
    recorder_free(&f->rec);
}

static bool is_gone(const struct recorder *r, const void *arg)
{
    return r->gone;
}

/* The client noticed the lie: it says so, and nothing works any more. */
static void expect_caught(struct fake *f, const char *word)
{
    struct gi_error e = GI_ERROR_INIT;
    recorder_wait(&f->rec, is_gone, NULL, 5000);
    if (!strstr(f->rec.why.message, word))
        fail_msg("\"%s\" isn't about \"%s\"", f->rec.why.message, word);
    assert_true(agent_ping(f->client, 1000, &e) < 0);
}

/* ---- handshake ---- */

static void play_silence(struct fake *f)
{
    until_closed(f);
}

static void play_old_version(struct fake *f)
{
    Gi__Agent__HelloReply hello = GI__AGENT__HELLO_REPLY__INIT;
    hello.version = 99;
    Gi__Agent__Reply r = GI__AGENT__REPLY__INIT;
    r.id = fake_next_id(f->fd);
    r.result_case = GI__AGENT__REPLY__RESULT_HELLO;
    r.hello = &hello;
    fake_reply(f->fd, &r);
    until_closed(f);
}

static void play_garbage(struct fake *f)
{
    send(f->fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, MSG_NOSIGNAL);
    until_closed(f);
}

static void play_hang_up(struct fake *f)
{
    fake_next_id(f->fd);
    shutdown(f->fd, SHUT_RDWR);
}

static void play_event_first(struct fake *f)
{
    fake_exit(f->fd, "c", 0);
    until_closed(f);
}

static void handshakes(void **state)
{
    static const struct {
        void (*play)(struct fake *f);
        int rc;
    } cases[] = {
        {play_silence, -GI_DEADLINE_EXCEEDED}, {play_old_version, -GI_FAILED_PRECONDITION},
        {play_garbage, -GI_INVALID_ARGUMENT},  {play_hang_up, -GI_UNAVAILABLE},
        {play_event_first, -GI_INTERNAL},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(cases); i++) {
        struct fake f;
        struct gi_error e = GI_ERROR_INIT;
        fake_start(&f, cases[i].play);
        int64_t t0 = gi_monotonic_ns();
        assert_int_equal(fake_connect(&f, 300, &e), cases[i].rc);
        assert_true(gi_monotonic_ns() - t0 < 2000000000);
        assert_false(f.rec.gone); /* no callback of a client that never was */
        fake_stop(&f);
    }
}

/* ---- lies that end the connection ---- */

static void play_unasked_reply(struct fake *f)
{
    fake_greet(f->fd);
    send_ok(f, 4711);
    until_closed(f);
}

static void play_double_reply(struct fake *f)
{
    fake_greet(f->fd);
    uint64_t id = fake_next_id(f->fd);
    send_ok(f, id);
    send_ok(f, id);
    until_closed(f);
}

static void play_wrong_kind(struct fake *f)
{
    fake_greet(f->fd);
    Gi__Agent__StatsReply stats = GI__AGENT__STATS_REPLY__INIT;
    Gi__Agent__Reply r = GI__AGENT__REPLY__INIT;
    r.id = fake_next_id(f->fd);
    r.result_case = GI__AGENT__REPLY__RESULT_STATS;
    r.stats = &stats;
    fake_reply(f->fd, &r);
    until_closed(f);
}

static void play_huge_frame(struct fake *f)
{
    fake_greet(f->fd);
    send(f->fd, "\xff\xff\xff\x7f....", 8, MSG_NOSIGNAL);
    until_closed(f);
}

static void play_empty_frame(struct fake *f)
{
    fake_greet(f->fd);
    send(f->fd, "\0\0\0\0", 4, MSG_NOSIGNAL);
    until_closed(f);
}

static void play_cut_frame(struct fake *f)
{
    fake_greet(f->fd);
    send(f->fd, "\x40\0\0\0abc", 7, MSG_NOSIGNAL);
    shutdown(f->fd, SHUT_RDWR);
}

static void play_bad_exit_code(struct fake *f)
{
    fake_greet(f->fd);
    fake_exit(f->fd, "c", 256);
    until_closed(f);
}

static void play_bad_exit_id(struct fake *f)
{
    fake_greet(f->fd);
    fake_exit(f->fd, "../../etc", 0);
    until_closed(f);
}

static void play_unfollowed_log(struct fake *f)
{
    fake_greet(f->fd);
    send_log(f, "c", 5, "x");
    until_closed(f);
}

/* A frame of 1 MiB full of empty records: 350 000 structures if allowed. */
static void play_bomb(struct fake *f)
{
    fake_greet(f->fd);
    size_t inner = AGENT_FRAME_MAX - 16;
    cleanup_free uint8_t *frame = calloc(1, inner + 16);
    uint8_t *p = frame + 4;
    *p++ = 0x1a; /* FromAgent.logs */
    for (size_t v = inner - 2; v; v >>= 7)
        *p++ = (uint8_t)((v & 0x7f) | (v >> 7 ? 0x80 : 0));
    for (size_t i = 0; i < (inner - 2) / 2; i++) {
        *p++ = 0x12; /* LogBatch.records, empty */
        *p++ = 0;
    }
    size_t len = (size_t)(p - frame) - 4;
    for (int i = 0; i < 4; i++)
        frame[i] = (uint8_t)(len >> 8 * i);
    for (size_t at = 0; at < len + 4;) {
        ssize_t n = send(f->fd, frame + at, len + 4 - at, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    until_closed(f);
}

static void lies(void **state)
{
    static const struct {
        void (*play)(struct fake *f);
        const char *word;
    } cases[] = {
        {play_unasked_reply, "wasn't made"}, {play_double_reply, "wasn't made"},
        {play_wrong_kind, "wrong kind"},     {play_huge_frame, "frame of"},
        {play_empty_frame, "frame of"},      {play_cut_frame, "closed"},
        {play_bad_exit_code, "exit code"},   {play_bad_exit_id, "container id"},
        {play_unfollowed_log, "followed"},   {play_bomb, "malformed"},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(cases); i++) {
        struct fake f;
        struct gi_error e = GI_ERROR_INIT;
        fake_start(&f, cases[i].play);
        assert_int_equal(fake_connect(&f, 2000, &e), 0);
        agent_ping(f.client, 2000, &e);
        expect_caught(&f, cases[i].word);
        assert_int_equal(f.rec.n_lines + f.rec.n_exits, 0);
        fake_stop(&f);
    }
}

/* ---- lies about logs ---- */

static void follow_then(struct fake *f)
{
    fake_greet(f->fd);
    send_ok(f, fake_next_id(f->fd));
}

static void play_log_goes_back(struct fake *f)
{
    follow_then(f);
    send_log(f, "c", 200, "a");
    send_log(f, "c", 200, "b");
    until_closed(f);
}

static void play_log_before(struct fake *f)
{
    follow_then(f);
    send_log(f, "c", 100, "a");
    until_closed(f);
}

static void play_log_newline(struct fake *f)
{
    follow_then(f);
    send_log(f, "c", 200, "two\nlines");
    until_closed(f);
}

static void play_log_long(struct fake *f)
{
    char text[AGENT_LOG_RECORD_MAX + 2];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    follow_then(f);
    send_log(f, "c", 200, text);
    until_closed(f);
}

static void play_log_of_another(struct fake *f)
{
    follow_then(f);
    send_log(f, "d", 200, "x");
    until_closed(f);
}

static void log_lies(void **state)
{
    static const struct {
        void (*play)(struct fake *f);
        const char *word;
        size_t lines;
    } cases[] = {
        {play_log_goes_back, "out of order", 1}, {play_log_before, "out of order", 0},
        {play_log_newline, "newline", 0},        {play_log_long, "log record of", 0},
        {play_log_of_another, "followed", 0},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(cases); i++) {
        struct fake f;
        struct gi_error e = GI_ERROR_INIT;
        fake_start(&f, cases[i].play);
        assert_int_equal(fake_connect(&f, 2000, &e), 0);
        agent_follow_logs(f.client, "c", 100, 2000, &e);
        expect_caught(&f, cases[i].word);
        assert_int_equal(f.rec.n_lines, cases[i].lines);
        fake_stop(&f);
    }
}

/* ---- lies about exec ---- */

static void play_exec_too_much(struct fake *f)
{
    fake_greet(f->fd);
    uint64_t id = fake_next_id(f->fd);
    for (int i = 0; i < 11; i++)
        send_exec_output(f, id, 100);
    until_closed(f);
}

static void play_exec_of_ping(struct fake *f)
{
    fake_greet(f->fd);
    send_exec_output(f, fake_next_id(f->fd), 1);
    until_closed(f);
}

static void exec_lies(void **state)
{
    static const char *const argv[] = {"x", NULL};
    struct fake f;
    struct gi_error e = GI_ERROR_INIT;
    struct agent_exec_result r;
    fake_start(&f, play_exec_too_much);
    assert_int_equal(fake_connect(&f, 2000, &e), 0);
    assert_true(agent_exec_sync(f.client, "c", argv, 5000, 1000, &r, &e) < 0);
    expect_caught(&f, "more exec output");
    fake_stop(&f);
    fake_start(&f, play_exec_of_ping);
    assert_int_equal(fake_connect(&f, 2000, &e), 0);
    assert_true(agent_ping(f.client, 2000, &e) < 0);
    expect_caught(&f, "isn't an exec");
    fake_stop(&f);
}

/* ---- values that are refused, connection or call ---- */

static void play_bad_status(struct fake *f)
{
    fake_greet(f->fd);
    Gi__Agent__Exit exit = GI__AGENT__EXIT__INIT;
    Gi__Agent__StatusReply st = GI__AGENT__STATUS_REPLY__INIT;
    st.state = 99;
    st.exit = &exit;
    Gi__Agent__Reply r = GI__AGENT__REPLY__INIT;
    r.id = fake_next_id(f->fd);
    r.result_case = GI__AGENT__REPLY__RESULT_STATUS;
    r.status = &st;
    fake_reply(f->fd, &r);
    until_closed(f);
}

static void play_bad_list(struct fake *f)
{
    static char id[] = "a/../b";
    char *ids[] = {id};
    fake_greet(f->fd);
    Gi__Agent__ListReply list = GI__AGENT__LIST_REPLY__INIT;
    list.container_ids = ids;
    list.n_container_ids = 1;
    Gi__Agent__Reply r = GI__AGENT__REPLY__INIT;
    r.id = fake_next_id(f->fd);
    r.result_case = GI__AGENT__REPLY__RESULT_LIST;
    r.list = &list;
    fake_reply(f->fd, &r);
    until_closed(f);
}

static void play_forged_message(struct fake *f)
{
    fake_greet(f->fd);
    send_error(f, fake_next_id(f->fd), GI_NOT_FOUND, "gone\n2026 error: forged \xff\x1b[31m");
    send_error(f, fake_next_id(f->fd), 77, "");
    until_closed(f);
}

static void bad_values(void **state)
{
    struct fake f;
    struct gi_error e = GI_ERROR_INIT;
    struct agent_status st;
    char **ids = NULL;
    size_t n = 0;
    fake_start(&f, play_bad_status);
    assert_int_equal(fake_connect(&f, 2000, &e), 0);
    assert_true(agent_container_status(f.client, "c", 2000, &st, &e) < 0);
    expect_caught(&f, "container state 99");
    fake_stop(&f);
    fake_start(&f, play_bad_list);
    assert_int_equal(fake_connect(&f, 2000, &e), 0);
    assert_true(agent_list_containers(f.client, 2000, &ids, &n, &e) < 0);
    assert_null(ids);
    expect_caught(&f, "container id");
    fake_stop(&f);
    fake_start(&f, play_forged_message);
    assert_int_equal(fake_connect(&f, 2000, &e), 0);
    assert_int_equal(agent_ping(f.client, 2000, &e), -GI_NOT_FOUND);
    assert_string_equal(e.message, "gone?2026 error: forged ??[31m");
    assert_int_equal(agent_ping(f.client, 2000, &e), -GI_UNKNOWN);
    fake_stop(&f);
}

/* ---- time ---- */

static void play_deaf(struct fake *f)
{
    fake_greet(f->fd);
    usleep(2500000); /* reads nothing */
}

/* An agent that takes no requests: each call ends at its deadline, memory is
 * bounded, and closing works. */
static void never_reads(void **state)
{
    struct fake f;
    struct gi_error e = GI_ERROR_INIT;
    fake_start(&f, play_deaf);
    assert_int_equal(fake_connect(&f, 2000, &e), 0);
    cleanup_free char *json = malloc(700001);
    memset(json, 'x', 700000);
    json[700000] = '\0';
    struct agent_container_spec spec = {.id = "c", .oci_json = json, .image_rootfs = "/r"};
    int64_t t0 = gi_monotonic_ns();
    for (int i = 0; i < 12; i++)
        assert_int_equal(agent_create_container(f.client, &spec, 50, &e), -GI_DEADLINE_EXCEEDED);
    assert_true(gi_monotonic_ns() - t0 < 2500000000);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(agent_ack_logs(f.client, "c", i + 1, &e), 0);
    fake_stop(&f);
}

static void play_late(struct fake *f)
{
    fake_greet(f->fd);
    uint64_t first = fake_next_id(f->fd);
    uint64_t second = fake_next_id(f->fd);
    send_ok(f, first); /* its caller has given up */
    send_ok(f, second);
    send_ok(f, first); /* once is late, twice is a lie */
    until_closed(f);
}

static void late_replies(void **state)
{
    struct fake f;
    struct gi_error e = GI_ERROR_INIT;
    fake_start(&f, play_late);
    assert_int_equal(fake_connect(&f, 2000, &e), 0);
    assert_int_equal(agent_ping(f.client, 50, &e), -GI_DEADLINE_EXCEEDED);
    assert_int_equal(agent_ping(f.client, 2000, &e), 0);
    expect_caught(&f, "wasn't made");
    fake_stop(&f);
}

static void play_flood(struct fake *f)
{
    fake_greet(f->fd);
    for (int i = 0; i < 20000; i++)
        fake_exit(f->fd, "c", 1);
    uint64_t id = fake_next_id(f->fd);
    send_ok(f, id);
    until_closed(f);
}

/* A flood of true-looking events costs time, not memory, and calls go on. */
static void flood(void **state)
{
    struct fake f;
    struct gi_error e = GI_ERROR_INIT;
    fake_start(&f, play_flood);
    assert_int_equal(fake_connect(&f, 2000, &e), 0);
    assert_int_equal(agent_ping(f.client, 20000, &e), 0);
    fake_stop(&f);
}

/* ---- many callers, answers in another order ---- */

#define CALLERS 16
#define ROUNDS  50

struct caller {
    struct fake *f;
    pthread_barrier_t *barrier;
    int wrong;
};

static void *call_many(void *data)
{
    struct caller *c = data;
    for (int i = 0; i < ROUNDS; i++) {
        struct gi_error e = GI_ERROR_INIT;
        int rc = agent_ping(c->f->client, 10000, &e);
        if (rc != -GI_NOT_FOUND && rc != -GI_ABORTED)
            c->wrong++;
        agent_ack_logs(c->f->client, "c", i + 1, NULL);
        pthread_barrier_wait(c->barrier);
    }
    return NULL;
}

/* Collects everybody's request (acknowledgements come in between), then
 * answers from the last to the first. */
static void play_reorder(struct fake *f)
{
    fake_greet(f->fd);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t ids[CALLERS];
        for (int i = 0; i < CALLERS;) {
            Gi__Agent__ToAgent *msg = fake_next(f->fd);
            if (!msg)
                return;
            if (msg->op_case == GI__AGENT__TO_AGENT__OP_PING)
                ids[i++] = msg->id;
            gi__agent__to_agent__free_unpacked(msg, NULL);
        }
        for (int i = CALLERS - 1; i >= 0; i--)
            send_error(f, ids[i], ids[i] % 2 ? GI_NOT_FOUND : GI_ABORTED, "no");
    }
    until_closed(f);
}

static void many_callers(void **state)
{
    struct fake f;
    struct gi_error e = GI_ERROR_INIT;
    pthread_t threads[CALLERS];
    struct caller callers[CALLERS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, CALLERS);
    fake_start(&f, play_reorder);
    assert_int_equal(fake_connect(&f, 2000, &e), 0);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){&f, &barrier, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, call_many, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].wrong, 0);
    }
    fake_stop(&f);
    pthread_barrier_destroy(&barrier);
}

static void play_greeting(struct fake *f)
{
    fake_greet(f->fd);
    until_closed(f);
}

/* Our own mistakes are refused before they leave. */
static void bad_requests(void **state)
{
    static const char *const none[] = {NULL};
    static const char *const argv[] = {"x", NULL};
    struct fake f;
    struct gi_error e = GI_ERROR_INIT;
    struct agent_exec_result r;
    struct agent_container_spec spec = {.id = "c", .oci_json = "{}", .image_rootfs = ""};
    fake_start(&f, play_greeting);
    assert_int_equal(fake_connect(&f, 2000, &e), 0);
    assert_int_equal(agent_start_container(f.client, "", 100, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(agent_start_container(f.client, NULL, 100, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(agent_kill_container(f.client, "c", 999, false, 100, &e),
                     -GI_INVALID_ARGUMENT);
    assert_int_equal(agent_create_container(f.client, &spec, 100, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(agent_exec_sync(f.client, "c", none, 100, 10, &r, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(agent_exec_sync(f.client, "c/", argv, 100, 10, &r, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(agent_follow_logs(f.client, "c", -1, 100, &e), -GI_INVALID_ARGUMENT);
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshakes),   cmocka_unit_test(lies),
        cmocka_unit_test(log_lies),     cmocka_unit_test(exec_lies),
        cmocka_unit_test(bad_values),   cmocka_unit_test(never_reads),
        cmocka_unit_test(late_replies), cmocka_unit_test(flood),
        cmocka_unit_test(many_callers), cmocka_unit_test(bad_requests),
    };
    return cmocka_run_group_tests_name("agent client", tests, NULL, NULL);
}
