/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that kernels and copies may touch: each device's own, given out from
 * one reserved region, and pinned host memory. Addresses are this process's.
 * All functions may be called by any thread.
 */
#ifndef SIM_MEM_H
#define SIM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exec.h"

enum mem_kind {
    MEM_DEVICE,     /* cuMemAlloc */
    MEM_GLOBAL,     /* a module's variable */
    MEM_MAPPED,     /* cuMemMap */
    MEM_ARRAY,      /* an array's: no address of a program's */
    MEM_OPENED,     /* another process's, which cuIpcOpenMemHandle opened */
    MEM_HOST,       /* cuMemHostAlloc */
    MEM_REGISTERED, /* cuMemHostRegister */
    MEM_PAGEABLE,   /* nothing we know: the program's own */
    MEM_BAD,        /* can't be anybody's */
};

struct mem_range {
    uint64_t base, end;
    void *owner; /* context */
    enum mem_kind kind;
    uint32_t flags;
    int device;
    uint64_t id; /* no other range has or had it */
};

#define MEM_FLAG_MANAGED 0x10000u /* of MEM_HOST and MEM_GLOBAL */

/* Once, before anything else. Functions return 0 or a CUresult. */
int mem_init(unsigned devices, uint64_t bytes_each);

/* Zeroed memory of DEVICE: MEM_DEVICE or MEM_GLOBAL. */
int mem_alloc(void *owner, int device, enum mem_kind kind, uint64_t bytes, uint64_t *ret_address);
int mem_host_alloc(void *owner, int device, uint64_t bytes, uint32_t flags, void **ret_p);
/* A module's variable that the program touches, too, whenever it likes. */
int mem_managed_alloc(void *owner, int device, uint64_t bytes, uint64_t *ret_address);
int mem_host_register(void *owner, int device, void *p, uint64_t bytes, uint32_t flags);
/* What begins at ADDRESS, if it is of KIND and OWNER's (NULL: anybody's). Nothing may use it any
 * more. False: there is no such thing. */
bool mem_release(uint64_t address, enum mem_kind kind, const void *owner);
/* Everything of OWNER. */
void mem_release_all(const void *owner);

/* BYTES of DEVICE's memory that have their addresses elsewhere (vmm.c). */
bool mem_charge(int device, uint64_t bytes);
void mem_uncharge(int device, uint64_t bytes);
/* [base, end) may be used, or may not any more, by kernels on the DEVICES (bits) that it is shown
 * to. Ranges side by side are one memory. */
int mem_map(int device, uint64_t base, uint64_t end);
void mem_show(uint64_t base, uint32_t devices);
void mem_unmap(uint64_t base);

/*
 * Another process gets the allocation with ADDRESS in it. Its memory has to move for that: unless
 * it has already, that is NOT_READY but with STILL, when nobody touches any (sched_still).
 */
struct mem_shared {
    int fd; /* a memfile, which stays ours, and where in it the allocation is */
    int device;
    uint64_t offset, bytes;
    uint64_t id;
};
int mem_share(uint64_t address, bool still, struct mem_shared *ret_shared);
/* The memfile of DEVICE's allocation ID, if it is shared and still there, or -1. */
int mem_shared_fd(int device, uint64_t offset, uint64_t id);
/* Takes over another process's memory on DEVICE, whole pages that BYTES at BASE are in, as OWNER's
 * MEM_OPENED. */
int mem_opened(void *owner, int device, uint64_t base, uint64_t bytes);

/* What touches memory outside of a stream's order: */
void mem_write(uint64_t address, const void *data, uint64_t bytes);
/* Between the two no memory moves, comes or goes. Briefly. */
void mem_hold(void);
void mem_let_go(void);
/* The live range that contains ADDRESS. */
bool mem_at(uint64_t address, struct mem_range *ret_range);
/* What [address, address + bytes) is. Copies on behalf of USER: marks a range of another
 * context as shared. */
enum mem_kind mem_classify(uint64_t address, uint64_t bytes, const void *user);
/* May another context's work use the range at ADDRESS? */
bool mem_is_shared(uint64_t address);
void mem_info(int device, uint64_t *ret_free, uint64_t *ret_total);

/* struct sim_memory's; CONTEXT is the kernel's. */
bool mem_find(void *context, uint64_t address, uint64_t *ret_base, uint64_t *ret_end);

#endif
