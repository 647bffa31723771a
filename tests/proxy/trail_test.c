/* SPDX-License-Identifier: Apache-2.0 */
/* What zones and workers can write into the operator's log: nothing but
 * quoted, counted lines. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "minitest.h"
#include "worker_log.h"

static char path[] = "/tmp/gi-trail-test-XXXXXX";
static int saved_stderr;
static int file;

static void capture(void)
{
    file = open(path, O_RDWR | O_TRUNC | O_APPEND | O_CLOEXEC);
    saved_stderr = dup(2);
    dup2(file, 2);
}

static char *captured(void)
{
    char *text = NULL;
    dup2(saved_stderr, 2);
    close(saved_stderr);
    close(file);
    if (gi_read_file(path, 16 << 20, &text, NULL, NULL) < 0)
        text = strdup("");
    return text;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

/* Runs the text through a worker's log as a worker's stderr would be. */
static char *worker_says(const char *text, size_t len)
{
    struct loop *loop = NULL;
    struct worker_log log;
    int p[2];
    if (loop_new(&loop, NULL) < 0 || pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0 ||
        worker_log_start(&log, loop, p[0], 3, 9, NULL) < 0)
        return strdup("");
    capture();
    while (len) {
        ssize_t n = write(p[1], text, len);
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
        log.source.ready(&log.source, 0);
    }
    close(p[1]);
    worker_log_stop(&log);
    loop_free(loop);
    return captured();
}

static void test_worker_lines_are_quoted(void)
{
    static const char text[] = "fine\n<3>gpu-proxy: zone dropped\x1b[2J\nno end";
    cleanup_free char *log = worker_says(text, sizeof(text) - 1);
    EXPECT_EQ(count(log, "\n"), 3);
    EXPECT_EQ(count(log, "worker zone=3 client=9 says="), 3);
    EXPECT(strstr(log, "says=fine\n"));
    EXPECT(strstr(log, "says=\"<3>gpu-proxy: zone dropped\\x1b[2J\"\n"));
    EXPECT(strstr(log, "says=\"no end\"\n"));
}

static void test_a_long_line_is_cut(void)
{
    static char text[4000];
    memset(text, 'x', sizeof(text));
    text[1] = '\0'; /* ends no string early */
    cleanup_free char *log = worker_says(text, sizeof(text));
    EXPECT(count(log, "\n") >= 7);
    EXPECT_EQ(count(log, "x") + 1 >= sizeof(text) - 1, 1);
}

static void test_a_talkative_worker_is_bounded(void)
{
    static char text[200000];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 10 == 9 ? '\n' : 'y';
    cleanup_free char *log = worker_says(text, sizeof(text));
    unsigned lines = count(log, "\n");
    EXPECT(lines >= 10 && lines <= 100);
    EXPECT_EQ(count(log, "worker talks too much"), 1);
    EXPECT(strstr(log, "dropped_lines=19960\n"));
}

static void test_audit_tells_growth_once(void)
{
    struct audit a = {0};
    struct control_zone_stats s = {.zone = 8};
    capture();
    audit_counters(&a, "ns/\npod", &s);
    s.refused_handles = 5;
    s.quota_refusals = 2;
    audit_counters(&a, "ns/\npod", &s);
    audit_counters(&a, "ns/\npod", &s);
    s.refused_handles = 6;
    audit_counters(&a, "ns/\npod", &s);
    cleanup_free char *log = captured();
    EXPECT_EQ(count(log, "\n"), 3);
    EXPECT(strstr(log, "refused handles zone=8 label=\"ns/\\npod\" new=5 total=5\n"));
    EXPECT(strstr(log, "refused handles zone=8 label=\"ns/\\npod\" new=1 total=6\n"));
    EXPECT(strstr(log, "quota refusals zone=8 label=\"ns/\\npod\" new=2 total=2\n"));
}

static void test_audit_of_a_flood(void)
{
    struct audit a = {0};
    capture();
    for (int i = 0; i < 5000; i++)
        audit_refused(&a, 8, "pod", "because");
    usleep(1100000);
    audit_refused(&a, 8, "pod", "because");
    cleanup_free char *log = captured();
    unsigned lines = count(log, "\n");
    EXPECT(lines >= 2 && lines <= 4);
    EXPECT(strstr(log, "unlogged=0\n"));
    EXPECT(lines != 2 || strstr(log, "unlogged=4999\n"));
}

int main(void)
{
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return 1;
    close(fd);
    gi_log_init("test", GI_LOG_DEBUG);
    MT_RUN(test_worker_lines_are_quoted);
    MT_RUN(test_a_long_line_is_cut);
    MT_RUN(test_a_talkative_worker_is_bounded);
    MT_RUN(test_audit_tells_growth_once);
    MT_RUN(test_audit_of_a_flood);
    unlink(path);
    return mt_done();
}
