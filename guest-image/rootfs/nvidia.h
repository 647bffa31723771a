/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA's kernel driver in a driver domain: its modules inserted, its device
 * files made. Without udev, modprobe or nvidia-modprobe, which a domain that
 * runs four programs has no use for.
 */
#ifndef ZONE_NVIDIA_H
#define ZONE_NVIDIA_H

#include <stdbool.h>
#include <stddef.h>

#define NVIDIA_MODULES "/lib/modules/"

/* Whether this root has the driver. */
bool nvidia_here(void);
/* Inserts the modules and makes /dev/nvidia*: as /proc says how many GPUs there are.
 * Exits, saying why, when it can't: a driver domain without a GPU is none. */
void nvidia_start(void);

/* ---- pieces, for tests ---- */

/* The options of the module NAME on a kernel's command line LINE: its words
 * NAME.KEY=VALUE, as "KEY=VALUE KEY=VALUE". -1: they don't fit. */
int nvidia_options(const char *line, const char *name, char *out, size_t size);
/* The major number of the character device NAME in /proc/devices' text; -1: not there. */
int nvidia_major(const char *devices, const char *name);
/* "Device Minor: 3" in the text of a GPU's information file; -1: not there. */
int nvidia_minor(const char *information);

#endif
