/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client without libvgpu: it hands a channel over as an agent does, and
 * writes whatever it likes into the rings.
 */
#ifndef GI_TESTS_PROXY_PEER_H
#define GI_TESTS_PROXY_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "idm/handle.h"
#include "idm/handover.h"
#include "idm/ring.h"
#include "idm_wire.h"

#define PEER_START_MS 30000

struct peer {
    int sock;
    struct handover_channel ch;
};

/* The hand-over alone. */
int peer_open(struct peer *p, const char *path, struct gi_error *err);
bool peer_start(struct peer *p, const char *path); /* says on stderr why not */
void peer_close(struct peer *p);
/* The broker has closed our connection (waits up to MS). */
bool peer_ended(const struct peer *p, int ms);
bool peer_alive(const struct peer *p);

/* With its rings mapped. */
struct raw {
    struct peer peer;
    void *ring;
    uint8_t *arena;
    struct idm_producer out;
    struct idm_consumer in;
    uint64_t seq;
    uint32_t next_index; /* of handles */
};

/* Hands over, greets, retains device 0's primary context and selects it. */
bool raw_start(struct raw *r, const char *path);
void raw_stop(struct raw *r);

/* A handle of this client's that was never used. */
uint64_t raw_handle(struct raw *r, enum idm_kind kind);

/* A record is there for R within NS nanoseconds. */
bool raw_wait(struct raw *r, int64_t ns);
/* Sends one message and waits for its reply, whose whole payload is copied to
 * REPLY (ROOM bytes). result is CUDA's; -1: no reply came. */
struct idm_reply raw_call(struct raw *r, uint16_t type, const struct idm_part *parts, unsigned n,
                          void *reply, uint32_t room);
/* The same without asking for one. False: no room. */
bool raw_tell(struct raw *r, uint16_t type, const struct idm_part *parts, unsigned n);
/* For messages that are a fixed struct and nothing else. */
#define RAW(r, name, ...)                                                                          \
    ({                                                                                             \
        struct idm_##name raw_w = {__VA_ARGS__};                                                   \
        raw_call(r, IDM_##name, &(struct idm_part){&raw_w, sizeof(raw_w)}, 1, NULL, 0);            \
    })

/* Device memory; 0 when refused, with the reply in *ret_reply if not NULL. */
uint64_t raw_alloc(struct raw *r, uint64_t bytes, struct idm_reply *ret_reply);
/* Through the record itself, and through the arena. */
struct idm_reply raw_write(struct raw *r, uint64_t dst, const void *data, uint32_t bytes);
struct idm_reply raw_read(struct raw *r, void *data, uint64_t src, uint32_t bytes);
/* Loads PTX; its function NAME. False if either fails. */
bool raw_load(struct raw *r, const char *ptx, const char *name, uint64_t *ret_module,
              uint64_t *ret_fn);
struct idm_reply raw_launch(struct raw *r, uint64_t fn, uint64_t stream, const void *params,
                            uint32_t len);

#endif
