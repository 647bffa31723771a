/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu-isolated-gpu-front: the zone's end of one GPU client's channel. The agent
 * executes it for each client, whose connection it inherits as descriptor 3.
 *   gpu-isolated-gpu-front DRIVER-DOMAIN
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <xenstore.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "grants/grants.h"

#define CLIENT     3
#define STEP_MS    60000 /* a driver's first start on a busy host takes long */
#define RING_BYTES 4096u /* of the vchan: references go through it once, then rings */

struct front {
    uint32_t domain;
    struct libxenvchan *chan;
    struct xs_handle *watch; /* of the driver domain's key */
    struct grants_news news;
};

static void close_chan(struct front *f)
{
    if (f->chan)
        libxenvchan_close(f->chan);
    f->chan = NULL;
}

/* The host says so: nothing in a zone tells a domain that was destroyed from one that
 * has nothing to say. */
static bool driver_gone(void *data)
{
    struct front *f = data;
    char path[64];
    unsigned len;
    for (char **event; (event = xs_check_watch(f->watch)) != NULL;)
        free(event);
    snprintf(path, sizeof(path), GRANTS_DRIVERS "/%u", f->domain);
    cleanup_free char *there = xs_read(f->watch, XBT_NULL, path, &len);
    /* Of a key that isn't there, who may not read its folder hears just that. */
    return !there && (errno == ENOENT || errno == EACCES);
}

static int watch_driver(struct front *f, struct gi_error *err)
{
    char path[64];
    snprintf(path, sizeof(path), GRANTS_DRIVERS "/%u", f->domain);
    f->watch = xs_open(0);
    if (!f->watch || !xs_watch(f->watch, path, "driver"))
        return gi_fail_errno(err, errno, "xenstore %s", path);
    f->news = (struct grants_news){.fd = xs_fileno(f->watch), .gone = driver_gone, .data = f};
    return driver_gone(f)
               ? gi_fail(err, GI_UNAVAILABLE, "domain %u, which had the GPU, is gone", f->domain)
               : 0;
}

/* The client's wish, or as much of it as there are grants for. */
static int share_arena(uint32_t domain, struct handover_channel *ch, uint32_t *refs,
                       struct gi_error *err)
{
    for (;;) {
        int rc = grants_share(domain, ch->arena_bytes, refs, &ch->arena, err);
        if (rc != -GI_RESOURCE_EXHAUSTED || ch->arena_bytes / 2 < HANDOVER_MIN_ARENA)
            return rc;
        ch->arena_bytes = (ch->arena_bytes / 2) & ~(uint64_t)(GRANTS_PAGE - 1);
    }
}

/* The folder of all clients may be listed by the driver domain, which learns of
 * new ones so, and by nobody else; what is in it inherits that. */
static int open_folder(uint32_t domain, struct gi_error *err)
{
    struct xs_handle *xs = xs_open(0);
    unsigned len;
    cleanup_free char *own = xs ? xs_read(xs, XBT_NULL, "domid", &len) : NULL;
    struct xs_permissions perms[2] = {
        {.id = own ? (unsigned)strtoul(own, NULL, 10) : 0, .perms = XS_PERM_NONE},
        {.id = domain, .perms = XS_PERM_READ},
    };
    bool ok = own && xs_mkdir(xs, XBT_NULL, GRANTS_NODE) &&
              xs_set_permissions(xs, XBT_NULL, GRANTS_NODE, perms, 2);
    int rc = ok ? 0 : gi_fail_errno(err, errno, "xenstore %s", GRANTS_NODE);
    if (xs)
        xs_close(xs);
    return rc;
}

static int offer(struct front *f, struct handover_channel *ch, const uint32_t *refs,
                 struct gi_error *err)
{
    char node[64];
    /* Never one that was there: what a killed one left is remembered as ended. */
    snprintf(node, sizeof(node), GRANTS_NODE "/%lld", (long long)gi_monotonic_ns());
    f->chan = libxenvchan_server_init(NULL, (int)f->domain, node, RING_BYTES, RING_BYTES);
    if (!f->chan)
        return gi_fail_errno(err, errno, "offer a vchan to domain %u", f->domain);
    int rc = grants_send_offer(f->chan, ch, refs, STEP_MS, &f->news, err);
    return rc < 0 ? rc : grants_receive_answer(f->chan, ch, STEP_MS, &f->news, err);
}

static int make(void *data, struct handover_channel *ch, struct gi_error *err)
{
    struct front *f = data;
    size_t ring_pages = ch->ring_bytes / GRANTS_PAGE;
    cleanup_free uint32_t *refs = calloc(ring_pages + ch->arena_bytes / GRANTS_PAGE, sizeof(*refs));
    if (!refs)
        return gi_fail_errno(err, ENOMEM, "channel");
    ch->to_proxy = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ch->to_client = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ch->to_proxy < 0 || ch->to_client < 0)
        return gi_fail_errno(err, errno, "eventfd");
    int rc = watch_driver(f, err);
    if (rc == 0)
        rc = grants_share(f->domain, ch->ring_bytes, refs, &ch->ring, err);
    if (rc == 0)
        rc = share_arena(f->domain, ch, refs + ring_pages, err);
    if (rc == 0)
        rc = open_folder(f->domain, err);
    return rc < 0 ? rc : offer(f, ch, refs, err);
}

int main(int argc, char **argv)
{
    struct gi_error err = GI_ERROR_INIT;
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    gi_log_init("gpu-isolated-gpu-front", GI_LOG_INFO);
    struct front f = {.domain = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0};
    if (f.domain == 0) {
        fputs("usage: gpu-isolated-gpu-front DRIVER-DOMAIN\n", stderr);
        return 2;
    }
    if (handover_serve_with(CLIENT, GRANTS_MAX_ARENA, STEP_MS, make, &f, &ch, &err) < 0) {
        gi_log(GI_LOG_WARNING, "GPU client refused", "reason", err.message, NULL);
        close_chan(&f);
        return 1;
    }
    /* The client has the memory; who keeps it here keeps it from being freed. */
    gi_cleanup_closep(&ch.ring);
    gi_cleanup_closep(&ch.arena);
    grants_pump(
        f.chan,
        &(struct grants_bells){.rings = ch.to_proxy, .bell = ch.to_client, .hangup = CLIENT},
        &f.news);
    close_chan(&f);
    return 0;
}
