/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory and addresses apart: reserved addresses, memory without any, and mappings of one
 * into the other. All functions may be called by any thread; they return CUDA_SUCCESS or
 * the driver's error.
 */
#ifndef SIM_VMM_H
#define SIM_VMM_H

#include "driver.h"

#define VMM_GRANULE (2ull << 20)

/* What cuMemCreate gives. Its handle is counted; mappings hold the object. */
struct vmm_memory {
    struct object o;
    CUmemAllocationProp prop;
    uint64_t bytes;
    void *pages;      /* shared with all mappings */
    int fd;           /* their memfile; -1: not to be exported */
    bool charged;     /* to its device */
    unsigned handles; /* under vmm.c's lock */
};

CUresult vmm_reserve(uint64_t bytes, uint64_t alignment, uint64_t hint, uint64_t *ret_base);
CUresult vmm_unreserve(uint64_t base, uint64_t bytes);
/* Is a part of [base, end) reserved? */
bool vmm_reserved(uint64_t base, uint64_t end);

/* A published object with one handle. */
CUresult vmm_create(const CUmemAllocationProp *prop, uint64_t bytes, struct vmm_memory **ret);
/* A descriptor of M's memory, the caller's; -1: there is none to be had. */
int vmm_export(const struct vmm_memory *m);
/* What vmm_create does, for memory behind FD, which stays the caller's and may be anything:
 * INVALID_VALUE. */
CUresult vmm_import(int fd, struct vmm_memory **ret);
CUresult vmm_release(struct vmm_memory *m);
/* The memory mapped at ADDRESS, with one handle more. */
CUresult vmm_retain(uint64_t address, struct vmm_memory **ret);

/* As which kinds what is mapped at ADDRESS may be exported. */
CUmemAllocationHandleType vmm_handle_types(uint64_t address);

CUresult vmm_map(uint64_t base, uint64_t bytes, struct vmm_memory *m);
/* [base, base + bytes) has to be whole mappings, as for the next two. Nothing uses them. */
CUresult vmm_unmap(uint64_t base, uint64_t bytes);
CUresult vmm_set_access(uint64_t base, uint64_t bytes, const CUmemAccessDesc *access, size_t n);
CUresult vmm_get_access(uint64_t address, const CUmemLocation *where, unsigned long long *ret);

#endif
