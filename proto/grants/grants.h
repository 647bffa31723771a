/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's channel between two domains (docs/idm.md, "Over Xen").
 *
 *   zone: gpu-isolated-gpu-front          driver domain: gpu-isolated-gpu-back
 *   one process per client                one process per client
 *      |  vchan data/vchan/gpu/<n>, offered to the driver domain alone
 *      |------ offer: sizes, grant references of ring and arena ----->| maps them
 *      |<----- answer: zone, tag, or why not -------------------------| after gpu-proxy's
 *      |<===== from here on every byte is a ring of a doorbell ======>|
 *
 * Memory is the zone's (gntalloc); the driver domain maps it (gntdev). Both
 * devices give descriptors that are mapped at offset 0 like a memfd, so neither
 * libvgpu nor a worker notices. The end of either process closes the vchan, the
 * other sees it; what is mapped stays valid until it is unmapped there.
 *
 * Both parties distrust each other: sizes are checked against handover.h's
 * limits, and a reference is only ever mapped from the domain whose vchan it is.
 */
#ifndef GI_GRANTS_GRANTS_H
#define GI_GRANTS_GRANTS_H

#include <libxenvchan.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "idm/handover.h"

/* Below a zone's folder of xenstore; each client's has a number behind it. */
#define GRANTS_NODE "data/vchan/gpu"
#define GRANTS_PAGE 4096u
/* A driver domain is up while there is a key here with its number. Written by the
 * host, readable by all domains. */
#define GRANTS_DRIVERS   "/gpu-isolated/drivers"
#define GRANTS_MAX_ARENA (1ull << 30)

struct grants_offer {
    uint32_t magic;
    uint32_t version;
    uint64_t ring_bytes;
    uint64_t arena_bytes;
    struct handover_devices devices;
    /* uint32_t references[(ring_bytes + arena_bytes) / GRANTS_PAGE] */
};

struct grants_answer {
    uint32_t magic;
    int32_t code; /* 0, or an enum gi_code */
    uint32_t zone;
    uint32_t tag;
    char text[HANDOVER_TEXT];
};

/* A vchan tells of a process's end, not of that of a domain which is destroyed: FD is
 * readable when there may be news, GONE with DATA says whether they are of its end. */
struct grants_news {
    int fd;
    bool (*gone)(void *data);
    void *data;
};

/* ---- talk.c: whole messages, each with one deadline; UNAVAILABLE: the peer is gone.
 * NEWS may be NULL: the other domain's end is no matter, or known by other means. ---- */

int grants_send_offer(struct libxenvchan *chan, const struct handover_channel *ch,
                      const uint32_t *refs, int timeout_ms, const struct grants_news *news,
                      struct gi_error *err);
/* Fills *RET's sizes; *RET_REFS is heap. Hostile input: INVALID_ARGUMENT. */
int grants_receive_offer(struct libxenvchan *chan, struct handover_channel *ret,
                         uint32_t **ret_refs, int timeout_ms, struct gi_error *err);
/* WHY NULL: granted. */
int grants_send_answer(struct libxenvchan *chan, const struct gi_error *why,
                       const struct handover_channel *ch, int timeout_ms, struct gi_error *err);
int grants_receive_answer(struct libxenvchan *chan, struct handover_channel *ch, int timeout_ms,
                          const struct grants_news *news, struct gi_error *err);

struct grants_bells {
    int rings;  /* an eventfd: rings here become bytes */
    int bell;   /* an eventfd: rung for bytes */
    int hangup; /* a socket that has nothing more to say but its end */
};

/* Carries doorbells until the peer is gone or the socket says so. */
void grants_pump(struct libxenvchan *chan, const struct grants_bells *b,
                 const struct grants_news *news);

/* ---- share.c, in the zone ---- */

/* Memory that DOMID may map; one reference a page. RESOURCE_EXHAUSTED when the
 * kernel's or Xen's limit is reached (docs/xen.md). */
int grants_share(uint32_t domid, uint64_t bytes, uint32_t *refs, int *ret_fd, struct gi_error *err);

/* ---- map.c, in the driver domain ---- */

int grants_map(uint32_t domid, const uint32_t *refs, uint64_t bytes, int *ret_fd,
               struct gi_error *err);

#endif
