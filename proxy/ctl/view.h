/* SPDX-License-Identifier: Apache-2.0 */
/* What gpu-proxy says of its zones at one moment, and how operators see it. */
#ifndef GPUCTL_VIEW_H
#define GPUCTL_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/error.h"
#include "control/control.h"

struct zone_view {
    struct control_zone_info info;
    struct control_zone_stats stats;
    struct control_client_stats *clients;
    uint32_t n_clients;
};

struct view {
    char *info; /* gpu-proxy's version and driver */
    struct zone_view *zones;
    uint32_t n;
    int64_t at_ns; /* CLOCK_MONOTONIC */
};

#define VIEW_NONE ((struct view){.info = NULL})

/* WANTED: numbers or labels of zones, N of them; 0: all there are. NOT_FOUND names one that isn't.
 * *ret_view is the caller's. */
int view_fetch(struct control_client *c, char *const *wanted, int n, struct view *ret_view,
               struct gi_error *err);
void view_free(struct view *v);

/* show.c: a line for each zone; all about each; the same for programs. */
void view_list(struct gi_buf *b, const struct view *v);
void view_show(struct gi_buf *b, const struct view *v);
void view_json(struct gi_buf *b, const struct view *v);
/* "1.5 GiB" in a rotating buffer, good for one line. */
const char *size_text(uint64_t n);

/* top.c: what zones and clients did between BEFORE and NOW, the busiest first. */
void view_top(struct gi_buf *b, const struct view *before, const struct view *now);

#endif
