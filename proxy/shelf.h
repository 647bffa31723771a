/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zone's shelf: what one of its clients shares with the others. A worker puts an item there
 * (a handle of the driver's, with the descriptor that goes with it) and gets a token, which the
 * client may give to whom it likes; another worker of the same zone takes the item for the token.
 * Neither the handle nor the descriptor is ever seen by a client.
 *
 * Worker and broker talk over a socket of their own, one SOCK_SEQPACKET message each way, a
 * descriptor beside it. The broker looks into no item but for what it counts.
 *
 * Memory on the shelf is charged to the zone, not to a client, for as long as anybody holds it: it
 * outlives who made it. PUT and GET give a hold, DROP takes one, a client's end all of its; what
 * nobody holds is given back before the DROP is answered.
 */
#ifndef GI_PROXY_SHELF_H
#define GI_PROXY_SHELF_H

#include <stdbool.h>
#include <stdint.h>

#define SHELF_HANDLE_BYTES 64

enum shelf_op { SHELF_PUT = 1, SHELF_GET = 2, SHELF_DROP = 3 };

enum shelf_kind {
    SHELF_MEMORY = 1, /* a descriptor; may be taken as long as anybody holds it */
    SHELF_RANGE = 2,  /* a handle; may be taken until who put it drops it, as the next */
    SHELF_EVENT = 3,
};

/* 128 bits of chance; never all zero. */
struct shelf_token {
    uint64_t word[2];
};

struct shelf_item {
    uint32_t kind; /* enum shelf_kind */
    int32_t dev;
    uint64_t bytes; /* of device memory, charged to the zone */
    uint8_t handle[SHELF_HANDLE_BYTES];
};

struct shelf_message {
    uint32_t op;   /* enum shelf_op; an answer repeats it */
    uint32_t code; /* an answer's: enum gi_code */
    struct shelf_token token;
    struct shelf_item item; /* to be put; taken. GET: its kind */
};

static inline bool shelf_token_is(const struct shelf_token *a, const struct shelf_token *b)
{
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

/* None: not on the shelf. */
static inline bool shelf_token_set(const struct shelf_token *t)
{
    return t->word[0] || t->word[1];
}

/* --- The broker's side (shelf.c) ------------------------------------------------------ */

struct client;
struct zone;
struct shelf_entry;

/* Of a zone. NCCL has two for each channel between two GPUs. */
#define SHELF_MAX_ITEMS 8192u
#define SHELF_BUCKETS   256u

struct shelf {
    struct shelf_entry *buckets[SHELF_BUCKETS]; /* by token */
    uint32_t n;
    unsigned __int128 bytes; /* of all items: exact, whatever workers say */
};

/* What a worker asks for, at FD, is answered from now on; FD becomes the client's on success. */
struct gi_error;
int shelf_attend(struct client *c, int fd, struct gi_error *err);
/* Takes all holds of C, whose worker is dead. */
void shelf_client_gone(struct client *c);

#endif
