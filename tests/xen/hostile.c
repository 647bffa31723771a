/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zone that has been taken over: runs in it with all of its devices (a
 * privileged container) and does what no agent of ours would. Prints a line for
 * each attack; exits with 1 when the host let something through that it must not.
 *   xen-hostile DRIVER-DOMAIN
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xenstore.h>

#include "base/io.h"
#include "grants/grants.h"

#define MAGIC    0x47494752u
#define NONSENSE 12
/* Each is a process over there, and all of it may be emulated. */
#define ANSWER_NS 60000000000

static struct xs_handle *xs;
static uint32_t driver;
static int failed;

static void expect_refused(const char *path)
{
    if (xs_write(xs, XBT_NULL, path, "mine", 4)) {
        printf("FAIL: xenstore let us write %s\n", path);
        failed = 1;
    }
}

static void write_where_we_may_not(void)
{
    char path[96];
    unsigned len;
    const char *const paths[] = {"/gpu-isolated/zones/x/domid", "/gpu-isolated/zones/@gpu/domid",
                                 "/local/domain/0/name", "/vm/x", "/tool/x"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        expect_refused(paths[i]);
    snprintf(path, sizeof(path), "/local/domain/%u/data/vchan/agent/ring-ref", driver);
    expect_refused(path);
    char *own = xs_read(xs, XBT_NULL, "domid", &len);
    snprintf(path, sizeof(path), "/local/domain/0/backend/vbd/%s/51712/params", own ? own : "0");
    expect_refused(path);
    free(own);
    printf("xenstore refused what is not ours\n");
}

/* As gpu-front does: else the driver domain sees nothing of what we offer. */
static void let_the_driver_read(void)
{
    unsigned len;
    char *own = xs_read(xs, XBT_NULL, "domid", &len);
    struct xs_permissions perms[2] = {
        {.id = own ? (unsigned)strtoul(own, NULL, 10) : 0, .perms = XS_PERM_NONE},
        {.id = driver, .perms = XS_PERM_READ},
    };
    free(own);
    if (!xs_mkdir(xs, XBT_NULL, GRANTS_NODE) ||
        !xs_set_permissions(xs, XBT_NULL, GRANTS_NODE, perms, 2)) {
        printf("FAIL: no folder to offer in: %s\n", strerror(errno));
        failed = 1;
    }
}

/* Rings of our own memory that nobody granted, or somebody else's. */
static void offer_nonsense(void)
{
    char path[64];
    for (int i = 0; i < NONSENSE; i++) {
        snprintf(path, sizeof(path), GRANTS_NODE "/%d/ring-ref", 100000 + i);
        xs_write(xs, XBT_NULL, path, i % 2 ? "4294967295" : "8", i % 2 ? 10 : 1);
        snprintf(path, sizeof(path), GRANTS_NODE "/%d/event-channel", 100000 + i);
        xs_write(xs, XBT_NULL, path, i % 3 ? "65535" : "1", i % 3 ? 5 : 1);
    }
    xs_write(xs, XBT_NULL, GRANTS_NODE "/../../x/event-channel", "1", 1);
    xs_write(xs, XBT_NULL, GRANTS_NODE "/99999999999999999999/event-channel", "1", 1);
    printf("%d offers of rings that are none\n", NONSENSE);
}

static struct libxenvchan *offer(int number)
{
    char node[64];
    snprintf(node, sizeof(node), GRANTS_NODE "/%d", number);
    struct libxenvchan *c = libxenvchan_server_init(NULL, (int)driver, node, 4096, 4096);
    if (c)
        c->blocking = 0;
    return c;
}

static void send_all(struct libxenvchan *c, const void *data, size_t n)
{
    for (int tries = 0; n && tries < 2000; tries++) {
        int put = libxenvchan_write(c, data, n);
        if (put < 0)
            return;
        data = (const char *)data + put;
        n -= (size_t)put;
        if (!put)
            usleep(5000);
    }
}

/* Says WHAT; the answer must be a refusal, or the end; silence is neither. */
static void lie(int number, const char *what, const struct grants_offer *o, size_t refs)
{
    struct grants_answer a = {.code = -1};
    struct libxenvchan *c = offer(number);
    uint32_t ref[256];
    size_t got = 0;
    int n = 0;
    int64_t until = gi_monotonic_ns() + ANSWER_NS;
    if (!c) {
        printf("FAIL: %s: no vchan\n", what);
        failed = 1;
        return;
    }
    send_all(c, o, sizeof(*o));
    for (size_t i = 0; i < 256; i++)
        ref[i] = (uint32_t)(i * 2654435761u);
    for (size_t sent = 0; sent < refs; sent += 256)
        send_all(c, ref, sizeof(ref));
    while (got < sizeof(a) && n >= 0 && gi_monotonic_ns() < until) {
        n = libxenvchan_read(c, (char *)&a + got, sizeof(a) - got);
        got += n > 0 ? (size_t)n : 0;
        if (n == 0)
            usleep(10000);
    }
    bool answered = got == sizeof(a);
    if (answered ? a.code == 0 : n >= 0) {
        printf("FAIL: %s: %s\n", what, answered ? "taken" : "no answer");
        failed = 1;
    } else {
        printf("%s: %.*s\n", what, (int)sizeof(a.text), answered ? a.text : "the end");
    }
    libxenvchan_close(c);
}

static void lie_about_channels(void)
{
    const struct grants_offer wild = {MAGIC, 2, 1 << 20, 1 << 20, {0}};
    const struct grants_offer huge = {MAGIC, 2, 1 << 20, 1ull << 62, {0}};
    const struct grants_offer odd = {MAGIC, 2, 65537, 65536, {0}};
    const struct grants_offer other = {0x41414141, 7, 1, 1, {0}};
    lie(200001, "references that we never granted", &wild, 512);
    lie(200002, "an arena of 4 EiB", &huge, 0);
    lie(200003, "a ring of 65537 bytes", &odd, 0);
    lie(200004, "another protocol", &other, 0);
    /* One that goes before it has said all: somebody waits for the rest. */
    struct libxenvchan *c = offer(200005);
    if (c) {
        send_all(c, &wild, sizeof(wild));
        libxenvchan_close(c);
    }
}

/* As many events as we can make, and words that nobody asked for. */
static void storm(int seconds)
{
    struct libxenvchan *c = offer(300001);
    int64_t until = gi_monotonic_ns() + seconds * 1000000000LL;
    unsigned long events = 0;
    while (c && gi_monotonic_ns() < until) {
        xenevtchn_notify(c->event, (evtchn_port_t)c->event_port);
        events++;
    }
    if (c) {
        memset(c->ring, 0xff, 64); /* the indices of both rings */
        xenevtchn_notify(c->event, (evtchn_port_t)c->event_port);
        usleep(100000);
        libxenvchan_close(c);
    }
    printf("%s\n", events > 1000 ? "an event storm" : "FAIL: no storm");
    failed |= events <= 1000;
}

/* Last: from here on nobody reaches this zone's agent any more. */
static void cut_the_agent_off(void)
{
    xs_write(xs, XBT_NULL, "data/vchan/agent/ring-ref", "4294967295", 10);
    xs_write(xs, XBT_NULL, "data/vchan/agent/event-channel", "1", 1);
    printf("the agent's offer is overwritten\n");
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    driver = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    xs = xs_open(0);
    if (!xs || !driver) {
        printf("FAIL: no xenstore (%s) or no driver domain\n", strerror(errno));
        return 1;
    }
    write_where_we_may_not();
    let_the_driver_read();
    offer_nonsense();
    lie_about_channels();
    storm(3);
    cut_the_agent_off();
    printf("%s\n", failed ? "FAILED" : "held");
    return failed;
}
