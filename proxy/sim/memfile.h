/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory as a file without a name, which another process can map, too. Its size is sealed; what
 * it is stands in one page past the memory. A descriptor that comes from elsewhere is anything
 * until memfile_check has looked at it. Only calls that a worker's jail allows.
 */
#ifndef SIM_MEMFILE_H
#define SIM_MEMFILE_H

#include <stdbool.h>
#include <stdint.h>

#define MEMFILE_PAGE      4096ull
#define MEMFILE_MAX_BYTES (1ull << 46)

enum memfile_kind {
    MEMFILE_MEMORY = 1, /* cuMemCreate's */
    MEMFILE_REGION,     /* a device's heap */
    MEMFILE_EVENTS,     /* a process's interprocess events */
};

struct memfile {
    uint64_t magic;
    uint32_t version;
    uint32_t kind;
    int32_t device; /* as all processes count them: sim.physical */
    uint32_t zero;
    uint64_t bytes;   /* of the memory: all but the last page */
    uint64_t process; /* memfile_process() of who made it */
};

/* A number that no other process has; 0: there is none to be had. */
uint64_t memfile_process(void);
/* BYTES (whole pages) of memory that reads zero and takes none until it is used; close-on-exec.
 * -1: no memory or no descriptors. */
int memfile_new(enum memfile_kind kind, int device, uint64_t bytes);
/* Is FD one of KIND, which nobody can shrink? What it says of itself; DEVICE may be one that this
 * process doesn't see. */
bool memfile_check(int fd, enum memfile_kind kind, struct memfile *ret_file);
/* BYTES (whole pages) of FD from OFFSET on; NULL: no. */
void *memfile_map(int fd, uint64_t offset, uint64_t bytes);

#endif
