/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a client sees: its CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER become the
 * worker's, so that the driver itself does what it does everywhere. What the operator has given
 * gpu-proxy is all there is: the client chooses among that.
 */
#ifndef GI_PROXY_VISIBLE_H
#define GI_PROXY_VISIBLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The client's LIST in terms of what the operator's has: numbers are places in that, other entries
 * must be in it. OPERATOR NULL: it has everything. -1: it doesn't fit SIZE. */
int visible_compose(const char *operators, const char *list, char *ret, size_t size);

/* The worker, before the driver is loaded. FLAGS and LIST: struct handover_devices. */
int visible_apply(uint32_t flags, const char *list, struct gi_error *err);

#endif
