/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's beginning and end. */
#include "worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "internal.h"

#define DEFAULT_HANDLES 65536u

static int map(int fd, uint64_t bytes, const char *what, void **ret_memory, struct gi_error *err)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return gi_fail_errno(err, errno, "map the %s", what);
    *ret_memory = p;
    return 0;
}

static int open_channel(struct worker *w, struct gi_error *err)
{
    const struct worker_config *c = w->config;
    void *arena;
    int rc = map(c->ring_fd, c->ring_bytes, "rings", &w->ring, err);
    if (rc < 0)
        return rc;
    rc = map(c->arena_fd, c->arena_bytes, "arena", &arena, err);
    if (rc < 0)
        return rc;
    w->arena = arena;
    if (idm_consumer_init(&w->in, w->ring, c->ring_bytes, true) < 0 ||
        idm_producer_init(&w->out, w->ring, c->ring_bytes, false) < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "rings of %llu bytes",
                       (unsigned long long)c->ring_bytes);
    w->in.bell = c->to_proxy_fd;
    w->out.bell = c->to_client_fd;
    w->out.dst_zone = c->zone;
    return 0;
}

static int allocate(struct worker *w, struct gi_error *err)
{
    uint32_t max = w->config->max_handles ? w->config->max_handles : DEFAULT_HANDLES;
    if (max > IDM_MAX_HANDLES)
        max = IDM_MAX_HANDLES;
    w->ranges.max = max;
    w->reserved.max = MAX_RESERVED;
    w->record_room = idm_max_payload(w->in.size);
    w->record = aligned_alloc(64, (w->record_room + 63u) & ~63u);
    w->host = host_gate_new(w);
    if (!w->host || !w->record || objects_init(&w->objects, max) < 0 || waits_init(&w->waits) < 0)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a client's tables");
    return 0;
}

static void unpin(struct worker *w)
{
    for (uint32_t i = 0; i < w->ranges.n; i++) {
        const struct range *range = &w->ranges.all[i];
        if (range->kind == RANGE_HOST)
            w->cu.cuMemHostUnregister(w->arena + range->owner);
    }
}

static void close_all(struct worker *w)
{
    if (w->host)
        host_gate_close(w->host);
    if (w->objects.places) {
        unpin(w);
        worker_end_contexts(w);
        worker_vmm_end(w);
    }
    for (unsigned i = 0; i < MAX_IMAGES; i++)
        free(w->images[i].data);
    free(w->objects.places);
    free(w->ranges.all);
    free(w->reserved.all);
    waits_free(&w->waits);
    free(w->record);
    if (w->arena)
        munmap(w->arena, w->config->arena_bytes);
    if (w->ring)
        munmap(w->ring, w->config->ring_bytes);
    free(w);
}

int worker_run(const struct worker_config *config, struct gi_error *err)
{
    struct worker *w = calloc(1, sizeof(*w));
    if (!w)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a worker");
    w->config = config;
    w->counters = &config->page->slots[config->slot];
    share_init(w);
    int rc = open_channel(w, err);
    if (rc == 0)
        rc = worker_load_driver(w, err);
    if (rc == 0)
        rc = worker_collect_facts(w, err);
    if (rc == 0)
        rc = allocate(w, err);
    if (rc == 0 && config->ready)
        rc = config->ready(config->data, err);
    if (rc == 0)
        rc = worker_serve(w, err);
    close_all(w);
    return rc;
}
