/* SPDX-License-Identifier: Apache-2.0 */
/* What is mapped in this process, as /proc/self/maps tells (proc(5)). */
#ifndef VG_MAPS_H
#define VG_MAPS_H

#include <stdbool.h>
#include <stdint.h>

struct maps_entry {
    uint64_t from, to;
    uint64_t offset;     /* in the file */
    uint64_t dev, inode; /* inode 0: no file's */
    bool read, write, execute, shared;
    bool stack; /* of the first thread */
};

/* Calls EACH for what is mapped from LO to HI (entries may reach beyond), by address, until it
 * returns false. False: it did, or something there isn't mapped, or can't be known. */
bool maps_all(uint64_t lo, uint64_t hi, bool (*each)(const struct maps_entry *e, void *data),
              void *data);
/* The same, where gaps are no matter. */
bool maps_any(uint64_t lo, uint64_t hi, bool (*each)(const struct maps_entry *e, void *data),
              void *data);

/* Threads of this process; 0: it can't be known. */
unsigned maps_threads(void);

#endif
