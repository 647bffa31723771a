/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who uses the GPU when: weighted fair sharing of its time between zones, with
 * caps (docs/decisions, "GPU time is shared in slices"). The zones' workers say in
 * their page what they want; the broker opens and closes the zones' gates.
 */
#ifndef GI_PROXY_SHARE_H
#define GI_PROXY_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "loop.h"

struct broker;
struct zone;

#define SHARE_SLICE_NS (4ll * 1000 * 1000)
#define SHARE_SAMPLES  4u /* ticks that busy_permille is about */

struct zone_share {
    struct source bell; /* an eventfd its workers hold, too */
    uint32_t gate;      /* as it is in the page; a worker's scribbling there is no matter */
    bool wants;         /* at the last look */
    bool flying;
    bool given_up;       /* what it has in flight isn't waited for */
    bool broke;          /* its cap is used up */
    uint64_t virtual_ns; /* GPU time over weight */
    int64_t budget_ns;   /* of its cap; may be in debt */
    uint64_t gpu_ns;     /* at the last look */
    uint64_t owed_ns;    /* of that, not charged yet */
    int64_t looked_ns;
    uint64_t samples[SHARE_SAMPLES]; /* gpu_ns at the last ticks */
    int64_t sampled_ns[SHARE_SAMPLES];
    uint32_t next_sample;
    uint64_t calls; /* at the last tick */
};

struct share {
    struct source timer;
    struct zone *holder; /* whom a slice is lent to */
    int64_t slice_ends_ns;
    int64_t draining_since_ns; /* waiting for work in flight of others; 0: not */
    uint64_t least_ns;         /* no zone that comes back starts below */
};

int share_start(struct broker *b, struct gi_error *err);
int share_zone_open(struct zone *z, struct gi_error *err);
void share_zone_close(struct zone *z);
/* Looks at all zones and sets their gates. Cheap, to be called whenever something changed. */
void share_arbitrate(struct broker *b);
/* The broker's tick: utilisation for reports, and a look in case a bell was lost. */
void share_tick(struct broker *b, int64_t now_ns);
/* Has no zone executed a call since the last tick, and does none use the GPU? */
bool share_is_quiet(struct broker *b);

#endif
