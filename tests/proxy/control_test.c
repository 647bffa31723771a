/* SPDX-License-Identifier: Apache-2.0 */
/* The control protocol, from the codec to a running gpu-proxy. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "control/messages.h"
#include "harness.h"
#include "minitest.h"

static const char *program, *operators_program;
static struct proxy proxy;

static const struct control_quota quota = {.memory_bytes = 64 << 20,
                                           .max_clients = 3,
                                           .max_handles = 100,
                                           .max_channel_bytes = 8 << 20,
                                           .compute_weight = 7,
                                           .compute_cap = 60};

static void test_codec_round_trip(void)
{
    static union control_any back;
    static uint8_t wire[CONTROL_MAX_MESSAGE];
    struct control_create_zone m = {.zone = 0xfffffffe, .label = "ns/pod \"x\"", .quota = quota};
    m.quota.memory_bytes = UINT64_MAX;
    int n = control_encode(CONTROL_CALL_create_zone, 77, &m, wire, sizeof(wire), NULL);
    REQUIRE(n > 0);
    struct control_header h;
    REQUIRE(control_decode(wire, (size_t)n, &h, &back, NULL) == 0);
    EXPECT_EQ(h.type, CONTROL_CALL_create_zone);
    EXPECT_EQ(h.seq, 77);
    EXPECT_EQ(back.create_zone.zone, 0xfffffffe);
    EXPECT(strcmp(back.create_zone.label, m.label) == 0);
    EXPECT(back.create_zone.quota.memory_bytes == UINT64_MAX);
    EXPECT_EQ(back.create_zone.quota.compute_weight, 7);
    EXPECT_EQ(back.create_zone.quota.compute_cap, 60);
    /* No room, then every shorter piece of the message. */
    EXPECT_EQ(control_encode(CONTROL_CALL_create_zone, 1, &m, wire, (size_t)n - 1, NULL),
              -GI_OUT_OF_RANGE);
    for (int cut = 0; cut < n; cut++)
        EXPECT(control_decode(wire, (size_t)cut, &h, &back, NULL) < 0);
}

static void test_codec_full_lists(void)
{
    static union control_any m;
    static union control_any back;
    static uint8_t wire[CONTROL_MAX_MESSAGE];
    struct control_header h;
    memset(&m, 0, sizeof(m));
    m.zone_list.n_zones = CONTROL_MAX_ZONES;
    for (uint32_t i = 0; i < CONTROL_MAX_ZONES; i++)
        m.zone_list.zones[i].zone = i * 3;
    uint16_t type = CONTROL_CALL_list_zones | CONTROL_RESPONSE;
    int n = control_encode(type, 1, &m, wire, sizeof(wire), NULL);
    REQUIRE(n > 0 && control_decode(wire, (size_t)n, &h, &back, NULL) == 0);
    EXPECT_EQ(back.zone_list.zones[CONTROL_MAX_ZONES - 1].zone, 3 * (CONTROL_MAX_ZONES - 1));
    m.zone_list.n_zones++;
    EXPECT_EQ(control_encode(type, 1, &m, wire, sizeof(wire), NULL), -GI_INVALID_ARGUMENT);
    memset(&m, 0, sizeof(m));
    m.client_list.n_clients = CONTROL_MAX_CLIENTS;
    type = CONTROL_CALL_list_clients | CONTROL_RESPONSE;
    EXPECT(control_encode(type, 1, &m, wire, sizeof(wire), NULL) > 0);
}

static void test_codec_refuses_bad_text(void)
{
    static union control_any back;
    static uint8_t wire[CONTROL_MAX_MESSAGE];
    struct control_header h;
    struct control_create_zone m = {.zone = 1, .label = "two\nlines", .quota = quota};
    EXPECT_EQ(control_encode(CONTROL_CALL_create_zone, 1, &m, wire, sizeof(wire), NULL),
              -GI_INVALID_ARGUMENT);
    snprintf(m.label, sizeof(m.label), "label");
    int n = control_encode(CONTROL_CALL_create_zone, 1, &m, wire, sizeof(wire), NULL);
    REQUIRE(n > 0);
    uint8_t *text = memmem(wire, (size_t)n, "label", 5);
    REQUIRE(text);
    text[2] = 0; /* a NUL inside would make two readings of one name */
    EXPECT_EQ(control_decode(wire, (size_t)n, &h, &back, NULL), -GI_INVALID_ARGUMENT);
}

static void test_zone_life(void)
{
    char path[128];
    char again[128];
    struct stat st;
    struct gi_error err = GI_ERROR_INIT;
    char *other = NULL;
    REQUIRE(proxy_zone(&proxy, 7, &quota, path, sizeof(path)));
    REQUIRE(stat(path, &st) == 0);
    EXPECT(S_ISSOCK(st.st_mode));
    EXPECT_EQ(st.st_mode & 07777, 0660);
    EXPECT(stat(proxy.control, &st) == 0 && (st.st_mode & 07777) == 0660);
    /* Idempotent: same zone, same quota, same answer. */
    EXPECT(proxy_zone(&proxy, 7, &quota, again, sizeof(again)));
    EXPECT(strcmp(path, again) == 0);
    struct control_quota larger = quota;
    larger.memory_bytes++;
    EXPECT_EQ(control_create_zone(proxy.client, 7, "x", &larger, &other, &err), -GI_ALREADY_EXISTS);
    EXPECT_EQ(control_create_zone(proxy.client, 0, "x", &quota, &other, &err),
              -GI_INVALID_ARGUMENT);
    EXPECT(!other);
    struct control_zone_info info;
    REQUIRE(control_zone_info(proxy.client, 7, &info, &err) == 0);
    EXPECT(strcmp(info.label, "test/pod-7") == 0);
    EXPECT(strcmp(info.path, path) == 0);
    EXPECT_EQ(info.quota.max_handles, 100);
    EXPECT_EQ(proxy_stats(&proxy, 7).memory_quota, 64 << 20);
    EXPECT_EQ(control_drop_zone(proxy.client, 7, &err), 0);
    EXPECT(stat(path, &st) < 0);
    EXPECT_EQ(control_drop_zone(proxy.client, 7, &err), 0);
    EXPECT_EQ(control_zone_info(proxy.client, 7, &info, &err), -GI_NOT_FOUND);
}

static void test_defaults_are_the_same_quota(void)
{
    char path[128];
    struct control_quota none = {0};
    struct control_zone_info info;
    REQUIRE(proxy_zone(&proxy, 8, &none, path, sizeof(path)));
    REQUIRE(control_zone_info(proxy.client, 8, &info, NULL) == 0);
    EXPECT_EQ(info.quota.memory_bytes, 1 << 30);
    EXPECT_EQ(info.quota.compute_weight, 100);
    EXPECT_EQ(info.quota.compute_cap, 100);
    /* Naming the defaults asks for the same zone. */
    EXPECT(proxy_zone(&proxy, 8, &info.quota, path, sizeof(path)));
    control_drop_zone(proxy.client, 8, NULL);
}

static void test_many_zones(void)
{
    char path[128];
    uint32_t *zones = NULL;
    uint32_t n = 0;
    for (uint32_t i = 1; i <= CONTROL_MAX_ZONES; i++)
        REQUIRE(proxy_zone(&proxy, 1000 + i, &quota, path, sizeof(path)));
    char *none = NULL;
    EXPECT_EQ(control_create_zone(proxy.client, 999, "one too many", &quota, &none, NULL),
              -GI_RESOURCE_EXHAUSTED);
    REQUIRE(control_list_zones(proxy.client, &zones, &n, NULL) == 0);
    EXPECT_EQ(n, CONTROL_MAX_ZONES);
    for (uint32_t i = 0; i < n; i++)
        EXPECT_EQ(control_drop_zone(proxy.client, zones[i], NULL), 0);
    free(zones);
    zones = NULL;
    REQUIRE(control_list_zones(proxy.client, &zones, &n, NULL) == 0);
    EXPECT_EQ(n, 0);
    free(zones);
}

/* Sends raw bytes; what comes back (0: closed, -1: nothing in time). */
static ssize_t raw_call(int fd, const void *data, size_t len, void *out, size_t size)
{
    if (send(fd, data, len, MSG_NOSIGNAL) < 0)
        return 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, 5000) <= 0)
        return -1;
    ssize_t n = recv(fd, out, size, 0);
    return n < 0 ? 0 : n;
}

static void test_hostile_bytes(void)
{
    static uint8_t wire[CONTROL_MAX_MESSAGE * 2];
    static uint8_t out[CONTROL_MAX_MESSAGE];
    static union control_any body;
    struct control_header h;
    struct control_zone req = {.zone = 1};
    int n = control_encode(CONTROL_CALL_zone_stats, 9, &req, wire, sizeof(wire), NULL);
    REQUIRE(n > 0);

    /* Another version is answered with what is wrong. */
    int fd = proxy_connect(proxy.control);
    REQUIRE(fd >= 0);
    wire[4] = CONTROL_VERSION + 1;
    ssize_t got = raw_call(fd, wire, (size_t)n, out, sizeof(out));
    REQUIRE(got > 0 && control_decode(out, (size_t)got, &h, &body, NULL) == 0);
    EXPECT_EQ(h.type, CONTROL_FAILURE);
    EXPECT_EQ(h.seq, 9);
    EXPECT_EQ(body.error.code, GI_UNIMPLEMENTED);
    wire[4] = CONTROL_VERSION;
    /* An unknown call, and a length that lies, too; the connection lives on. */
    wire[6] = 200;
    got = raw_call(fd, wire, (size_t)n, out, sizeof(out));
    REQUIRE(got > 0 && control_decode(out, (size_t)got, &h, &body, NULL) == 0);
    EXPECT_EQ(body.error.code, GI_UNIMPLEMENTED);
    wire[6] = CONTROL_CALL_zone_stats;
    got = raw_call(fd, wire, (size_t)n - 1, out, sizeof(out));
    REQUIRE(got > 0 && control_decode(out, (size_t)got, &h, &body, NULL) == 0);
    EXPECT_EQ(body.error.code, GI_INVALID_ARGUMENT);
    got = raw_call(fd, wire, (size_t)n, out, sizeof(out));
    REQUIRE(got > 0 && control_decode(out, (size_t)got, &h, &body, NULL) == 0);
    EXPECT_EQ(body.error.code, GI_NOT_FOUND);
    /* A response is no request: the connection ends. */
    wire[7] = 0x80;
    EXPECT_EQ(raw_call(fd, wire, (size_t)n, out, sizeof(out)), 0);
    close(fd);

    /* Noise, an overlong packet, a descriptor: each ends its own connection. */
    memset(wire, 0xa5, sizeof(wire));
    for (size_t len = 1; len <= sizeof(wire); len = len * 7 + 1) {
        fd = proxy_connect(proxy.control);
        REQUIRE(fd >= 0);
        EXPECT_EQ(raw_call(fd, wire, len, out, sizeof(out)), 0);
        close(fd);
    }
    fd = proxy_connect(proxy.control);
    REQUIRE(fd >= 0);
    n = control_encode(CONTROL_CALL_info, 1, NULL, wire, sizeof(wire), NULL);
    EXPECT(gi_send_fds(fd, wire, (size_t)n, &fd, 1) == n);
    EXPECT_EQ(recv(fd, out, sizeof(out), 0), 0);
    close(fd);
    char *info = NULL;
    EXPECT_EQ(control_info(proxy.client, &info, NULL), 0);
    EXPECT(info && strstr(info, "driver"));
    free(info);
}

/* Connections beyond the limit push the oldest out; a call of the client whose
 * connection was taken comes through all the same. */
static void test_many_control_connections(void)
{
    int fds[200];
    for (size_t i = 0; i < 200; i++) {
        fds[i] = proxy_connect(proxy.control);
        EXPECT(fds[i] >= 0);
    }
    char *info = NULL;
    EXPECT_EQ(control_info(proxy.client, &info, NULL), 0);
    free(info);
    for (size_t i = 0; i < 200; i++)
        close(fds[i]);
}

/* A peer that sends and never reads is cut off, and nobody waits for it. */
static void test_deaf_control_peer(void)
{
    uint8_t wire[64];
    int n = control_encode(CONTROL_CALL_list_zones, 1, NULL, wire, sizeof(wire), NULL);
    int fd = proxy_connect(proxy.control);
    REQUIRE(fd >= 0 && n > 0);
    int sent = 0;
    while (sent < 100000 && send(fd, wire, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n)
        sent++;
    char *info = NULL;
    EXPECT_EQ(control_info(proxy.client, &info, NULL), 0);
    free(info);
    close(fd);
}

/* Killed, not stopped: its sockets stay behind and must not be in the way, and
 * the client, whose connection is dead, gets through without being told. */
static void test_restart_after_kill(void)
{
    struct stat st;
    char path[128];
    uint32_t *zones = NULL;
    uint32_t n = 9;
    EXPECT(proxy_zone(&proxy, 5, &quota, path, sizeof(path)));
    REQUIRE(proxy_restart(&proxy, program, "libcuda-none.so", NULL));
    EXPECT(stat(path, &st) < 0); /* it led nowhere */
    REQUIRE(control_list_zones(proxy.client, &zones, &n, NULL) == 0);
    EXPECT_EQ(n, 0);
    free(zones);
    EXPECT(proxy_zone(&proxy, 5, &quota, path, sizeof(path)));
    EXPECT(stat(path, &st) == 0);
    control_drop_zone(proxy.client, 5, NULL);
}

static void test_no_proxy(void)
{
    struct control_client *c = NULL;
    char *info = NULL;
    struct gi_error err = GI_ERROR_INIT;
    REQUIRE(control_client_new("/nonexistent/control.sock", &c, &err) == 0);
    EXPECT_EQ(control_info(c, &info, &err), -GI_UNAVAILABLE);
    EXPECT(!info);
    control_client_free(c);
}

/* Runs WHAT with ARGS; its output in OUT, its exit code back. */
static int run_program(const char *what, const char *args, char *out, size_t size)
{
    char cmd[512];
    snprintf(cmd, sizeof(cmd), "%s %s 2>&1", what, args);
    FILE *f = popen(cmd, "r"); /* NOLINT(bugprone-command-processor,cert-env33-c) */
    if (!f)
        return -1;
    size_t n = fread(out, 1, size - 1, f);
    out[n] = '\0';
    int rc = pclose(f);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static int run(const char *args, char *out, size_t size)
{
    return run_program(program, args, out, size);
}

static void test_command_line(void)
{
    char out[8192];
    EXPECT_EQ(run("--version", out, sizeof(out)), 0);
    EXPECT(strncmp(out, "gpu-proxy ", 10) == 0);
    EXPECT_EQ(run("--help", out, sizeof(out)), 0);
    EXPECT(strstr(out, "--default-memory") && strstr(out, "--worker-uid"));
    EXPECT_EQ(run("", out, sizeof(out)), 2);
    EXPECT(strstr(out, "--driver is missing"));
    EXPECT_EQ(run("--drivr x", out, sizeof(out)), 2);
    EXPECT(strstr(out, "unknown option --drivr"));
    EXPECT_EQ(run("--driver x --max-clients 0", out, sizeof(out)), 2);
    EXPECT_EQ(run("--driver x --default-memory 1Qi", out, sizeof(out)), 2);
    EXPECT(strstr(out, "unknown unit"));
    EXPECT_EQ(run("--driver x --default-memory 99999999Ti", out, sizeof(out)), 2);
    EXPECT_EQ(run("--driver x --worker-uid 0", out, sizeof(out)), 2);
    EXPECT_EQ(run("--stats", out, sizeof(out)), 2); /* gpuctl's business */
}

static int gpuctl(const char *args, char *out, size_t size)
{
    return run_program(operators_program, args, out, size);
}

static void test_operators_command_line(void)
{
    char out[8192];
    EXPECT_EQ(gpuctl("--help", out, sizeof(out)), 0);
    EXPECT(strstr(out, "gpuctl [options] top"));
    EXPECT_EQ(gpuctl("--version", out, sizeof(out)), 0);
    EXPECT(strncmp(out, "gpuctl ", 7) == 0);
    EXPECT_EQ(gpuctl("", out, sizeof(out)), 2);
    EXPECT(strstr(out, "a command is missing"));
    EXPECT_EQ(gpuctl("zone", out, sizeof(out)), 2);
    EXPECT(strstr(out, "unknown command \"zone\""));
    EXPECT_EQ(gpuctl("--jason zones", out, sizeof(out)), 2);
    EXPECT(strstr(out, "unknown option --jason"));
    EXPECT_EQ(gpuctl("zones 7", out, sizeof(out)), 2);
    EXPECT_EQ(gpuctl("top --interval 0", out, sizeof(out)), 2);
    EXPECT(strstr(out, "--interval: \"0\""));
    EXPECT_EQ(gpuctl("top --interval 1x", out, sizeof(out)), 2);
    EXPECT_EQ(gpuctl("top --interval nan", out, sizeof(out)), 2);
    EXPECT_EQ(gpuctl("top --count -1", out, sizeof(out)), 2);
    EXPECT_EQ(gpuctl("top --count", out, sizeof(out)), 2);
    EXPECT(strstr(out, "--count needs a value"));
    EXPECT_EQ(gpuctl("--control /nonexistent zones", out, sizeof(out)), 1);
    EXPECT(strstr(out, "gpuctl: connect to gpu-proxy"));
}

static unsigned lines_of(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void test_operators_view(void)
{
    char out[8192];
    char path[128];
    char args[192];
    REQUIRE(proxy_zone(&proxy, 41, &quota, path, sizeof(path)));
    REQUIRE(proxy_zone(&proxy, 42, &quota, path, sizeof(path)));
#define GPUCTL(expected, ...)                                                                      \
    snprintf(args, sizeof(args), "--control %s " __VA_ARGS__, proxy.control);                      \
    EXPECT_EQ(gpuctl(args, out, sizeof(out)), expected)
    GPUCTL(0, "show");
    EXPECT(strstr(out, "zone 41  test/pod-41") && strstr(out, "zone 42  test/pod-42"));
    EXPECT(strstr(out, "0 B of 64.0 MiB"));
    GPUCTL(0, "show 41");
    EXPECT(strstr(out, "test/pod-41") && !strstr(out, "test/pod-42"));
    GPUCTL(0, "show test/pod-42 --json");
    EXPECT(strstr(out, "\"label\": \"test/pod-42\"") && !strstr(out, "test/pod-41"));
    EXPECT(strstr(out, "\"memory_quota\": 67108864"));
    EXPECT(strstr(out, "\"clients\": []"));
    GPUCTL(1, "show 41 43");
    EXPECT(strstr(out, "there is no zone \"43\""));
    GPUCTL(0, "zones");
    EXPECT(strstr(out, "ZONE") && strstr(out, "  test/pod-41\n") && strstr(out, "  test/pod-42\n"));
    EXPECT_EQ(lines_of(out), 3);
    GPUCTL(0, "top --interval 0.1 --count 2 41");
    EXPECT(strstr(out, "LAUNCHES/s") && strstr(out, "test/pod-41") && !strstr(out, "test/pod-42"));
    EXPECT_EQ(lines_of(out), 2 * 4 + 1);
    GPUCTL(0, "top --interval 0.1 --count 2 --json");
    EXPECT_EQ(lines_of(out), 2);
    control_drop_zone(proxy.client, 41, NULL);
    control_drop_zone(proxy.client, 42, NULL);
}

/* sd_notify: READY=1 and STOPPING=1 arrive at NOTIFY_SOCKET. */
static void test_notify(void)
{
    struct proxy p;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char text[256];
    snprintf(at.sun_path, sizeof(at.sun_path), "/tmp/gi-notify-%d.sock", (int)getpid());
    unlink(at.sun_path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval tv = {.tv_sec = 5};
    REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setenv("NOTIFY_SOCKET", at.sun_path, 1);
    bool started = proxy_start(&p, program, "libcuda-none.so", NULL);
    unsetenv("NOTIFY_SOCKET");
    REQUIRE(started);
    ssize_t n = recv(fd, text, sizeof(text), 0);
    EXPECT(n > 7 && strncmp(text, "READY=1", 7) == 0);
    EXPECT_EQ(proxy_stop(&p), 0);
    n = recv(fd, text, sizeof(text), 0);
    EXPECT(n > 10 && strncmp(text, "STOPPING=1", 10) == 0);
    close(fd);
    unlink(at.sun_path);
}

static void test_second_proxy_is_refused(void)
{
    struct stat st;
    char cmd[512];
    char path[128];
    EXPECT(proxy_zone(&proxy, 3, &quota, path, sizeof(path)));
    snprintf(cmd, sizeof(cmd), "%s --driver x --control %s --zones-dir %s 2>/dev/null", program,
             proxy.control, proxy.zones);
    int rc = system(cmd); /* NOLINT(bugprone-command-processor,cert-env33-c) */
    EXPECT(WIFEXITED(rc) && WEXITSTATUS(rc) == 1);
    EXPECT(stat(path, &st) == 0); /* the first one's zones are untouched */
    control_drop_zone(proxy.client, 3, NULL);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    program = argc > 1 ? argv[1] : "gpu-proxy";
    operators_program = argc > 2 ? argv[2] : "gpuctl";
    MT_RUN(test_codec_round_trip);
    MT_RUN(test_codec_full_lists);
    MT_RUN(test_codec_refuses_bad_text);
    if (!proxy_start(&proxy, program, "libcuda-none.so", NULL))
        return 1;
    MT_RUN(test_zone_life);
    MT_RUN(test_defaults_are_the_same_quota);
    MT_RUN(test_many_zones);
    MT_RUN(test_hostile_bytes);
    MT_RUN(test_many_control_connections);
    MT_RUN(test_deaf_control_peer);
    MT_RUN(test_second_proxy_is_refused);
    MT_RUN(test_operators_command_line);
    MT_RUN(test_operators_view);
    MT_RUN(test_restart_after_kill);
    EXPECT_EQ(proxy_stop(&proxy), 0);
    MT_RUN(test_no_proxy);
    MT_RUN(test_command_line);
    MT_RUN(test_notify);
    return mt_done();
}
