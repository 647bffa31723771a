/* SPDX-License-Identifier: Apache-2.0 */
/* proto/base: errors, log lines that can't be forged, capped buffers, files. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "../minitest.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "base/log.h"
#include "base/stream_copy.h"

static char work[] = "/tmp/gi-base-test-XXXXXX";

static const char *in_work(const char *name)
{
    static char path[4][512];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof(path[0]), "%s/%s", work, name);
    return p;
}

static int open_fds(void)
{
    cleanup_closedir DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (d && readdir(d))
        n++;
    return n;
}

static void error_carries_code_and_context(void)
{
    struct gi_error err = GI_ERROR_INIT;
    EXPECT_EQ(gi_fail(&err, GI_NOT_FOUND, "pod %s", "a"), -GI_NOT_FOUND);
    EXPECT_EQ(gi_prefix(&err, "stop"), -GI_NOT_FOUND);
    EXPECT(strcmp(err.message, "stop: pod a") == 0);
    EXPECT_EQ(gi_fail_errno(&err, ENOSPC, "write %s", "x"), -GI_RESOURCE_EXHAUSTED);
    EXPECT(strcmp(err.message, "write x: No space left on device") == 0);
    EXPECT_EQ(gi_fail(NULL, GI_ABORTED, "nobody listens"), -GI_ABORTED);
    EXPECT(strcmp(gi_code_name(GI_DATA_LOSS), "DATA_LOSS") == 0);
    EXPECT(strcmp(gi_code_name((enum gi_code)99), "UNKNOWN") == 0);
}

static void error_cuts_what_is_too_long(void)
{
    char big[2000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    struct gi_error err = GI_ERROR_INIT;
    gi_fail(&err, GI_INTERNAL, "%s", big);
    EXPECT_EQ(strlen(err.message), GI_ERROR_MESSAGE_SIZE - 1);
    gi_prefix(&err, "head");
    EXPECT_EQ(strlen(err.message), GI_ERROR_MESSAGE_SIZE - 1);
    EXPECT(strncmp(err.message, "head: xxx", 9) == 0);
    gi_prefix(&err, "%s", big);
    EXPECT_EQ(strlen(err.message), GI_ERROR_MESSAGE_SIZE - 1);
}

/* Whatever a value holds, one call writes one line. */
static void log_lines_cannot_be_forged(void)
{
    const char *path = in_work("log");
    cleanup_close int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cleanup_close int saved = dup(2);
    REQUIRE(file >= 0 && saved >= 0);
    dup2(file, 2);
    gi_log(GI_LOG_INFO, "pulled", "image", "a\n<3>kernel: forged", "q", "say \"hi\"\x1b[2J", "e",
           "", NULL);
    gi_logf(GI_LOG_WARNING, "name %s", "x\ny");
    gi_log(GI_LOG_DEBUG, "not shown", NULL);
    dup2(saved, 2);
    cleanup_free char *text = NULL;
    REQUIRE(gi_read_file(path, 65536, &text, NULL, NULL) == 0);
    unsigned lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    EXPECT_EQ(lines, 2);
    EXPECT(strstr(text, "image=\"a\\n<3>kernel: forged\""));
    EXPECT(strstr(text, "q=\"say \\\"hi\\\"\\x1b[2J\""));
    EXPECT(strstr(text, "e=\"\""));
    EXPECT(strstr(text, "name x\\ny"));
}

static void log_levels_have_names(void)
{
    enum gi_log_level level = GI_LOG_ERROR;
    EXPECT_EQ(gi_log_parse_level("debug", &level), 0);
    EXPECT_EQ(level, GI_LOG_DEBUG);
    EXPECT_EQ(gi_log_parse_level("loud", &level), -1);
    EXPECT_EQ(level, GI_LOG_DEBUG);
}

static void buffer_stops_at_its_ceiling(void)
{
    cleanup_buf struct gi_buf b = GI_BUF_INIT(10);
    EXPECT_EQ(gi_buf_append(&b, "12345", 5), 0);
    EXPECT_EQ(gi_buf_printf(&b, "%d", 678), 0);
    EXPECT_EQ(gi_buf_append(&b, "abc", 3), -1);
    EXPECT_EQ(gi_buf_printf(&b, "%s", "abc"), -1);
    EXPECT_EQ(gi_buf_append(&b, "abc", SIZE_MAX), -1);
    EXPECT_EQ(b.len, 8);
    EXPECT(strcmp(b.data, "12345678") == 0);
    gi_buf_consume(&b, 5);
    EXPECT(strcmp(b.data, "678") == 0);
    gi_buf_consume(&b, 100);
    EXPECT_EQ(b.len, 0);
    EXPECT_EQ(gi_buf_append(&b, "0123456789", 10), 0);
}

static void atomic_write_replaces_whole_files(void)
{
    struct gi_error err = GI_ERROR_INIT;
    const char *path = in_work("record");
    EXPECT_EQ(gi_write_file_atomic(path, "old", 3, 0600, &err), 0);
    EXPECT_EQ(gi_write_file_atomic(path, "newer", 5, 0640, &err), 0);
    cleanup_free char *text = NULL;
    size_t len = 0;
    REQUIRE(gi_read_file(path, 100, &text, &len, &err) == 0);
    EXPECT_EQ(len, 5);
    EXPECT(strcmp(text, "newer") == 0);
    struct stat st;
    EXPECT(stat(path, &st) == 0 && (st.st_mode & 0777) == 0640);
    EXPECT(gi_write_file_atomic(in_work("no/such/folder/x"), "a", 1, 0600, &err) < 0);
    char *untouched = text;
    EXPECT_EQ(gi_read_file(path, 4, &untouched, NULL, &err), -GI_OUT_OF_RANGE);
    EXPECT(untouched == text);
}

/* A link to a folder is unlinked; what it points to stays. */
static void removing_a_tree_follows_no_link(void)
{
    struct gi_error err = GI_ERROR_INIT;
    REQUIRE(gi_mkdir_p(in_work("keep/deep"), 0700, &err) == 0);
    REQUIRE(gi_mkdir_p(in_work("tree/a/b"), 0700, &err) == 0);
    REQUIRE(gi_write_file_atomic(in_work("keep/file"), "x", 1, 0600, &err) == 0);
    REQUIRE(symlink("../../keep", in_work("tree/a/link")) == 0);
    REQUIRE(symlink(work, in_work("tree/abs")) == 0);
    EXPECT_EQ(gi_remove_tree_at(AT_FDCWD, in_work("tree"), &err), 0);
    EXPECT(access(in_work("tree"), F_OK) < 0);
    EXPECT(access(in_work("keep/file"), F_OK) == 0);
    EXPECT_EQ(gi_remove_tree_at(AT_FDCWD, in_work("tree"), &err), 0);
    EXPECT(gi_mkdir_p(in_work("keep/file/sub"), 0700, &err) < 0);
}

static void descriptors_travel_and_too_many_are_closed(void)
{
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    int out[4] = {0, 1, 2, 0};
    EXPECT_EQ(gi_send_fds(pair[0], "hi", 2, out, 3), 2);
    int in[4];
    size_t n = 4;
    char text[8];
    EXPECT_EQ(gi_recv_fds(pair[1], text, sizeof(text), in, &n), 2);
    REQUIRE(n == 3);
    for (size_t i = 0; i < n; i++) {
        EXPECT(fcntl(in[i], F_GETFD) & FD_CLOEXEC);
        close(in[i]);
    }
    int before = open_fds();
    EXPECT_EQ(gi_send_fds(pair[0], "hi", 2, out, 4), 2);
    n = 2;
    EXPECT_EQ(gi_recv_fds(pair[1], text, sizeof(text), in, &n), -EMSGSIZE);
    EXPECT_EQ(open_fds(), before);
    /* A message longer than the room is refused too, not cut. */
    EXPECT_EQ(gi_send_fds(pair[0], "0123456789", 10, out, 1), 10);
    n = 2;
    EXPECT_EQ(gi_recv_fds(pair[1], text, sizeof(text), in, &n), -EMSGSIZE);
    EXPECT_EQ(open_fds(), before);
    /* Nor do they come with an empty message, which reads like the end. */
    EXPECT_EQ(gi_send_fds(pair[0], "", 0, out, 2), 0);
    n = 4;
    EXPECT_EQ(gi_recv_fds(pair[1], text, sizeof(text), in, &n), 0);
    EXPECT_EQ(n, 0);
    EXPECT_EQ(open_fds(), before);
    close(pair[0]);
    n = 2;
    EXPECT_EQ(gi_recv_fds(pair[1], text, sizeof(text), in, &n), 0);
    close(pair[1]);
}

static void random_names_differ(void)
{
    char a[61];
    char b[61];
    EXPECT_EQ(gi_random_hex(a, 30), 0);
    EXPECT_EQ(gi_random_hex(b, 30), 0);
    EXPECT_EQ(strlen(a), 60);
    EXPECT_EQ(strspn(a, "0123456789abcdef"), 60);
    EXPECT(strcmp(a, b) != 0);
}

/* Every alignment of both ends; nothing beside what was asked for is written. */
static void streamed_copies_are_exact(void)
{
    static const size_t sizes[] = {0, 1, 63, 4095, 4096, 4097, 4111, 4160, 5000, 9999};
    static unsigned char src[10100], dst[10100], want[10100];
    for (size_t i = 0; i < sizeof(src); i++)
        src[i] = (unsigned char)(i * 31 + i / 251);
    for (size_t s = 0; s < GI_ARRAY_SIZE(sizes); s++) {
        for (size_t at = 0; at < 17 * 17; at++) {
            memset(dst, 0xa5, sizeof(dst));
            memset(want, 0xa5, sizeof(want));
            memcpy(want + 16 + at % 17, src + at / 17, sizes[s]);
            gi_stream_copy(dst + 16 + at % 17, src + at / 17, sizes[s]);
            EXPECT_EQ(memcmp(dst, want, sizeof(dst)), 0);
        }
    }
}

int main(void)
{
    if (!mkdtemp(work)) {
        perror("mkdtemp");
        return 1;
    }
    gi_log_init("base-test", GI_LOG_INFO);
    MT_RUN(error_carries_code_and_context);
    MT_RUN(error_cuts_what_is_too_long);
    MT_RUN(log_lines_cannot_be_forged);
    MT_RUN(log_levels_have_names);
    MT_RUN(buffer_stops_at_its_ceiling);
    MT_RUN(atomic_write_replaces_whole_files);
    MT_RUN(removing_a_tree_follows_no_link);
    MT_RUN(descriptors_travel_and_too_many_are_closed);
    MT_RUN(random_names_differ);
    MT_RUN(streamed_copies_are_exact);
    gi_remove_tree_at(AT_FDCWD, work, NULL);
    return mt_done();
}
