/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a channel comes into being (docs/idm.md, "Life of a channel").
 *
 *   client (libvgpu)          agent                     broker (gpu-proxy)
 *      | --- request --------->|                            |
 *      |                       | makes memory and doorbells |
 *      |                       | --- offer + 4 fds -------->| checks seals, sizes, quota
 *      |                       |                            | starts the worker
 *      |                       |<-- answer {zone, tag} ---- |
 *      |<-- answer + 4 fds --- |                            |
 *
 * All sockets are SOCK_SEQPACKET, one struct handover_message a packet. Both
 * connections stay open for the life of the channel and carry nothing more:
 * the end of either is the end of the client, and the agent passes it on.
 * Under Xen the agent makes the same four descriptors from grant tables and
 * event channels; nobody else notices.
 */
#ifndef GI_IDM_HANDOVER_H
#define GI_IDM_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define HANDOVER_MAGIC   0x49444d48u /* "IDMH" */
#define HANDOVER_VERSION 2
#define HANDOVER_FDS     4
#define HANDOVER_TEXT    160

/* Which of the zone's devices the client wants to see, as its environment says: the driver's own
 * words, for the worker's driver. Letters, digits, '-', '/', ',' and spaces alone. */
#define HANDOVER_HAS_LIST  1u /* CUDA_VISIBLE_DEVICES is set, maybe empty */
#define HANDOVER_PCI_ORDER 2u /* CUDA_DEVICE_ORDER is PCI_BUS_ID */
struct handover_devices {
    uint32_t flags;
    char list[244]; /* NUL-terminated */
};
_Static_assert(sizeof(struct handover_devices) == 248, "wire");
bool handover_good_devices(const struct handover_devices *d);

enum handover_kind { HANDOVER_REQUEST = 1, HANDOVER_OFFER = 2, HANDOVER_ANSWER = 3 };

struct handover_message {
    uint32_t magic;
    uint16_t version;
    uint16_t kind;
    int32_t code;  /* answer: 0, or an enum gi_code */
    uint32_t zone; /* answer */
    uint32_t tag;  /* answer: owner tag of the client's handles, 1..65535 */
    uint32_t reserved;
    uint64_t ring_bytes; /* request: wish (0: default); offer and answer: fact */
    uint64_t arena_bytes;
    char text[HANDOVER_TEXT];        /* answer: why not; not necessarily NUL-terminated */
    struct handover_devices devices; /* request, offer */
};

/* In the order in which they travel. -1: none. */
struct handover_channel {
    int ring;      /* sealed memory: both rings */
    int arena;     /* sealed memory: bulk data */
    int to_proxy;  /* doorbell the client rings */
    int to_client; /* doorbell the worker rings */
    uint64_t ring_bytes;
    uint64_t arena_bytes;
    uint32_t zone;
    uint32_t tag;
    struct handover_devices devices;
};

#define HANDOVER_CHANNEL_INIT                                                                      \
    {                                                                                              \
        -1, -1, -1, -1, 0, 0, 0, 0,                                                                \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
void handover_channel_close(struct handover_channel *ch);

/* Limits every party holds to. Sizes are multiples of 4096. */
#define HANDOVER_MIN_RING      (64ull << 10)
#define HANDOVER_MAX_RING      (16ull << 20)
#define HANDOVER_DEFAULT_RING  (1ull << 20)
#define HANDOVER_MIN_ARENA     (64ull << 10)
#define HANDOVER_MAX_ARENA     (16ull << 30)
#define HANDOVER_DEFAULT_ARENA (64ull << 20)

/* Client. SOCK is connected to the agent. DEVICES NULL: all of them. Waits at most TIMEOUT_MS.
 * Needs no symbol newer than GLIBC_2.17, no base library. */
int handover_request(int sock, uint64_t ring_bytes, uint64_t arena_bytes,
                     const struct handover_devices *devices, int timeout_ms,
                     struct handover_channel *ret_channel, struct gi_error *err);

/* Agent: memory and doorbells of the `local` transport (memfd, eventfd). */
int handover_make_channel(uint64_t ring_bytes, uint64_t arena_bytes,
                          struct handover_channel *ret_channel, struct gi_error *err);
/* Agent: offers CH over SOCK and waits for the answer; fills zone and tag. */
int handover_offer(int sock, struct handover_channel *ch, int timeout_ms, struct gi_error *err);
/*
 * Agent, the whole of it, for one accepted connection of a container: reads the
 * request, makes the channel, connects to the zone's socket, offers, and answers
 * the client (an error too, as far as it can). Blocks up to TIMEOUT_MS for each step: call
 * it from a thread of its own. MAX_ARENA bounds the client's wish. On success
 * *ret_proxy_sock is the connection to gpu-proxy: keep it and CLIENT_SOCK open,
 * and close both as soon as either one ends or becomes readable.
 */
int handover_serve_client(int client_sock, const char *zone_socket, uint64_t max_arena,
                          int timeout_ms, int *ret_proxy_sock, struct gi_error *err);

/* The same for another transport: MAKE gets *CH with the sizes filled in and -1
 * descriptors, makes all four, offers them and fills zone and tag; it may make
 * the arena smaller. On success *RET_CHANNEL is the caller's: the descriptors'
 * own copies, which the client has, too. */
int handover_serve_with(int client_sock, uint64_t max_arena, int timeout_ms,
                        int (*make)(void *data, struct handover_channel *ch, struct gi_error *err),
                        void *data, struct handover_channel *ret_channel, struct gi_error *err);

/* Broker: reads the offer that is waiting on SOCK (never blocks) and checks
 * that the memory can't shrink under us (F_SEAL_SHRINK), has the size it says,
 * and that the doorbells are eventfds. UNAVAILABLE when the peer has closed,
 * RESOURCE_EXHAUSTED when nothing is there yet, INVALID_ARGUMENT else. */
int handover_receive(int sock, struct handover_channel *ret_channel, struct gi_error *err);
/* Broker: the answer. WHY NULL: granted. */
int handover_answer(int sock, const struct gi_error *why, uint32_t zone, uint32_t tag,
                    struct gi_error *err);

#endif
