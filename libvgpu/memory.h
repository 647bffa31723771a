/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What device addresses this process has: to tell a wrong one at once, to
 * answer cuMemGetAddressRange and cuPointerGetAttribute, to know what
 * cuMemcpy's addresses are. The worker has its own table and doesn't rely on
 * this one. Thread-safe.
 */
#ifndef VG_MEMORY_H
#define VG_MEMORY_H

#include "connection.h"

/* Flags of pinned memory beside cuMemHostAlloc's and cuMemHostRegister's: */
#define VG_MANAGED    0x10000u /* of cuMemAllocManaged */
#define VG_REGISTERED 0x20000u /* of cuMemHostRegister */
#define VG_UNPLACED   0x40000u /* and the device doesn't reach it: base is the host address */

enum vg_memory_kind { VG_DEVICE, VG_GLOBAL, VG_PINNED, VG_MAPPED, VG_OPENED };

struct vg_memory {
    uint64_t base; /* device address */
    uint64_t bytes;
    uint64_t context;
    uint64_t module; /* VG_GLOBAL */
    uint64_t id;     /* memory_add's */
    void *host;      /* VG_PINNED, managed: the host address */
    enum vg_memory_kind kind;
    unsigned flags;  /* VG_PINNED: of cuMemHostAlloc; VG_MANAGED, also of VG_GLOBAL; VG_MAPPED: the
                        access */
    uint64_t memory; /* VG_MAPPED: its memory's handle */
    CUmemAllocationProp prop; /* VG_MAPPED: of its memory */
    uint64_t token[2];        /* VG_OPENED: of what another process shares */
    unsigned opens;           /* how often it is open */
};

void memory_close(void);
void memory_forked(void);

CUresult memory_add(const struct vg_memory *m);
/* Takes out what begins at BASE and is of KIND; false: there is none. */
bool memory_take(uint64_t base, enum vg_memory_kind kind, struct vg_memory *ret_memory);
/* The memory that contains ADDRESS. */
bool memory_at(uint64_t address, struct vg_memory *ret_memory);
/* Pinned memory by an address of the host. */
bool memory_pinned_at(const void *host, struct vg_memory *ret_memory);
/* Forgets what belonged to a context or module that is gone. */
void memory_orphans_gone(uint64_t id);

/* Is nothing in BYTES from BASE? */
bool memory_is_empty(uint64_t base, uint64_t bytes);
/* Are exactly BYTES from BASE mappings side by side? Then DO_IT(each, ARG). */
bool memory_mappings(uint64_t base, uint64_t bytes,
                     void (*do_it)(struct vg_memory *m, unsigned arg), unsigned arg);

/* Is what has TOKEN open in the current context? Then once more, at *RET_PTR. */
bool memory_reopen(const uint64_t token[2], uint64_t *ret_ptr);
/* Closes what is open at BASE once; *RET_LAST: it isn't open any more. False: nothing is. */
bool memory_unopen(uint64_t base, bool *ret_last);

void vmm_close(void);
void vmm_forked(void);
/* A fresh handle of memory like PROP, which the program has once. */
CUresult vmm_new(const CUmemAllocationProp *prop, uint64_t *ret_id);
/* ID's memory, which nobody else knows yet, is on device DEV. */
void vmm_place(uint64_t id, int dev);
/* The program's HANDLE for the wire, and what its memory is like. */
CUresult vmm_use(CUmemGenericAllocationHandle handle, uint64_t *ret_id,
                 CUmemAllocationProp *ret_prop);

void share_forked(void);

/* Registered memory that the device doesn't reach. */
bool registered_at(const void *host, struct vg_memory *ret_memory);
void registered_close(void);
void registered_fork(void);
void registered_fork_parent(void);
void registered_forked(void);
/* A number that no memory has or had. */
uint64_t memory_new_id(void);

/* COUNT * UNIT bytes of device memory from ADDRESS, a multiple of UNIT, for the wire. */
CUresult vg_use_memory(CUdeviceptr address, uint64_t count, uint32_t unit, uint64_t *ret_address);

#endif
