/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "harness.h"
#include "idm/facts.h"

#define REPLY_NS 20000000000

int peer_open(struct peer *p, const char *path, struct gi_error *err)
{
    *p = (struct peer){.sock = proxy_connect(path), .ch = HANDOVER_CHANNEL_INIT};
    int rc = p->sock < 0 ? gi_fail_errno(err, -p->sock, "connect") : 0;
    if (rc == 0)
        rc = handover_make_channel(HANDOVER_MIN_RING, HANDOVER_MIN_ARENA, &p->ch, err);
    if (rc == 0)
        rc = handover_offer(p->sock, &p->ch, PEER_START_MS, err);
    return rc;
}

bool peer_start(struct peer *p, const char *path)
{
    struct gi_error err = GI_ERROR_INIT;
    if (peer_open(p, path, &err) == 0)
        return true;
    fprintf(stderr, "client: %s\n", err.message);
    return false;
}

void peer_close(struct peer *p)
{
    handover_channel_close(&p->ch);
    if (p->sock >= 0)
        close(p->sock);
    p->sock = -1;
}

bool peer_ended(const struct peer *p, int ms)
{
    char byte;
    struct pollfd f = {.fd = p->sock, .events = POLLIN};
    return poll(&f, 1, ms) == 1 && recv(p->sock, &byte, 1, 0) == 0;
}

bool peer_alive(const struct peer *p)
{
    struct pollfd f = {.fd = p->sock, .events = POLLIN};
    return poll(&f, 1, 100) == 0;
}

static void *map(int fd, uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

static bool greet(struct raw *r)
{
    static _Thread_local uint8_t reply[8192];
    struct idm_hello hello = {.protocol = IDM_PROTOCOL};
    uint64_t context = raw_handle(r, IDM_KIND_context);
    struct idm_part part = {&hello, sizeof(hello)};
    if (raw_call(r, IDM_hello, &part, 1, reply, sizeof(reply)).result != 0 ||
        RAW(r, cuDevicePrimaryCtxRetain, .ctx = context, .dev = 0).result != 0 ||
        RAW(r, select_context, .context = context).result != 0) {
        fprintf(stderr, "client: no context\n");
        return false;
    }
    return true;
}

bool raw_start(struct raw *r, const char *path)
{
    memset(r, 0, sizeof(*r));
    if (!peer_start(&r->peer, path))
        return false;
    const struct handover_channel *ch = &r->peer.ch;
    r->ring = map(ch->ring, ch->ring_bytes);
    r->arena = map(ch->arena, ch->arena_bytes);
    if (!r->ring || !r->arena || idm_producer_init(&r->out, r->ring, ch->ring_bytes, true) < 0 ||
        idm_consumer_init(&r->in, r->ring, ch->ring_bytes, false) < 0)
        return false;
    r->out.bell = ch->to_proxy;
    r->in.bell = ch->to_client;
    r->out.src_zone = ch->zone;
    return greet(r);
}

void raw_stop(struct raw *r)
{
    if (r->ring)
        munmap(r->ring, r->peer.ch.ring_bytes);
    if (r->arena)
        munmap(r->arena, r->peer.ch.arena_bytes);
    r->ring = NULL;
    r->arena = NULL;
    peer_close(&r->peer);
}

uint64_t raw_handle(struct raw *r, enum idm_kind kind)
{
    return idm_handle(kind, r->peer.ch.tag, 1, ++r->next_index);
}

bool raw_wait(struct raw *r, int64_t ns)
{
    const struct idm_wait wait = {.timeout_ns = ns, .other_fd = r->peer.sock};
    int64_t deadline = gi_monotonic_ns() + ns;
    int woken = 0;
    /* A bell that was rung for the record before wakes for nothing. */
    while (woken == 0 && gi_monotonic_ns() < deadline)
        woken = idm_wait(&r->in, &wait);
    return woken == 1;
}

static bool tell(struct raw *r, uint16_t type, const struct idm_part *parts, unsigned n,
                 uint32_t flags)
{
    void *payload;
    uint32_t len = idm_parts_len(parts, n, idm_max_payload(r->out.size));
    if (!len || idm_reserve(&r->out, len, &payload) < 0)
        return false;
    idm_write_parts(payload, parts, n);
    idm_publish(&r->out, type, ++r->seq, flags, len);
    return true;
}

bool raw_tell(struct raw *r, uint16_t type, const struct idm_part *parts, unsigned n)
{
    return tell(r, type, parts, n, 0);
}

struct idm_reply raw_call(struct raw *r, uint16_t type, const struct idm_part *parts, unsigned n,
                          void *reply, uint32_t room)
{
    static _Thread_local uint8_t small[512]; /* several clients, a thread each */
    struct idm_reply head = {.result = -1};
    struct idm_header h;
    if (!tell(r, type, parts, n, IDM_FLAG_WANT_REPLY) || !raw_wait(r, REPLY_NS))
        return head;
    if (!reply) {
        reply = small;
        room = sizeof(small);
    }
    if (idm_next(&r->in, &h, reply, room) != 1 || h.seq_num != r->seq || h.msg_type != type ||
        h.payload_len < sizeof(head))
        return head;
    memcpy(&head, reply, sizeof(head));
    return head;
}

uint64_t raw_alloc(struct raw *r, uint64_t bytes, struct idm_reply *ret_reply)
{
    struct idm_cuMemAlloc_v2 w = {.bytes = bytes};
    struct idm_cuMemAlloc_v2_reply reply = {.ptr = 0};
    struct idm_reply head =
        raw_call(r, IDM_cuMemAlloc_v2, &(struct idm_part){&w, sizeof(w)}, 1, &reply, sizeof(reply));
    if (ret_reply)
        *ret_reply = head;
    return head.result == 0 ? reply.ptr : 0;
}

struct idm_reply raw_write(struct raw *r, uint64_t dst, const void *data, uint32_t bytes)
{
    struct idm_copy_inline w = {.dst = dst, .data_len = bytes};
    struct idm_part parts[2] = {{&w, sizeof(w)}, {data, bytes}};
    return raw_call(r, IDM_copy_inline, parts, 2, NULL, 0);
}

struct idm_reply raw_read(struct raw *r, void *data, uint64_t src, uint32_t bytes)
{
    struct idm_reply head = RAW(r, copy_from_device, .at = 0, .src = src, .bytes = bytes);
    if (head.result == 0)
        memcpy(data, r->arena, bytes);
    return head;
}

bool raw_load(struct raw *r, const char *ptx, const char *name, uint64_t *ret_module,
              uint64_t *ret_fn)
{
    static _Thread_local uint8_t reply[16384];
    uint32_t len = (uint32_t)strlen(ptx);
    struct idm_image_part image = {.total = len, .image = 1, .data_len = len};
    struct idm_part image_parts[2] = {{&image, sizeof(image)}, {ptx, len}};
    if (raw_call(r, IDM_image_part, image_parts, 2, NULL, 0).result != 0)
        return false;
    struct idm_cuModuleLoadDataEx load = {.module = raw_handle(r, IDM_KIND_module), .image = 1};
    struct idm_cuModuleLoadDataEx_reply loaded = {.load_result = -1};
    struct idm_part load_part = {&load, sizeof(load)};
    if (raw_call(r, IDM_cuModuleLoadDataEx, &load_part, 1, &loaded, sizeof(loaded)).result != 0 ||
        loaded.load_result != 0)
        return false;
    struct idm_cuModuleGetFunction get = {.fn = raw_handle(r, IDM_KIND_function),
                                          .module = load.module,
                                          .name_len = (uint32_t)strlen(name) + 1};
    struct idm_part get_parts[2] = {{&get, sizeof(get)}, {name, get.name_len}};
    if (raw_call(r, IDM_cuModuleGetFunction, get_parts, 2, reply, sizeof(reply)).result != 0)
        return false;
    *ret_module = load.module;
    *ret_fn = get.fn;
    return true;
}

struct idm_reply raw_launch(struct raw *r, uint64_t fn, uint64_t stream, const void *params,
                            uint32_t len)
{
    struct idm_cuLaunchKernel w = {.fn = fn,
                                   .stream = stream,
                                   .gx = 1,
                                   .gy = 1,
                                   .gz = 1,
                                   .bx = 1,
                                   .by = 1,
                                   .bz = 1,
                                   .params_len = len};
    struct idm_part parts[2] = {{&w, sizeof(w)}, {params, len}};
    return raw_call(r, IDM_cuLaunchKernel, parts, 2, NULL, 0);
}
