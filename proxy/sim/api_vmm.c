/* SPDX-License-Identifier: Apache-2.0 */
/* Reserved addresses, memory without any, mappings; memory that comes and goes as a descriptor. */
#include <errno.h>
#include <limits.h>

#include "idm/cuda_abi_share.h"
#include "mem.h"
#include "stream.h"
#include "vmm.h"

#define PUT_MEMORY __attribute__((cleanup(put_memory)))

static void put_memory(struct vmm_memory **m)
{
    if (*m)
        object_put(&(*m)->o);
}

static struct vmm_memory *find(CUmemGenericAllocationHandle handle)
{
    return object_find(OBJECT_MEMORY, (const void *)(uintptr_t)handle); // NOLINT
}

static CUresult check_prop(const CUmemAllocationProp *prop)
{
    if (!prop)
        return CUDA_ERROR_INVALID_VALUE;
    if (prop->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
        prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return CUDA_ERROR_NOT_SUPPORTED;
    return prop->location.id >= 0 && prop->location.id < (int)sim.devices
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr addr,
                             unsigned long long flags)
{
    uint64_t base;
    TRY(sim_enter());
    if (!ptr || flags)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(vmm_reserve(size, alignment, addr, &base));
    *ptr = base;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
    TRY(sim_enter());
    return vmm_unreserve(ptr, size);
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
                     const CUmemAllocationProp *prop, unsigned long long flags)
{
    struct vmm_memory *m;
    TRY(sim_enter());
    if (!handle || !size || flags)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_prop(prop));
    if (prop->requestedHandleTypes != CU_MEM_HANDLE_TYPE_NONE &&
        prop->requestedHandleTypes != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        return CUDA_ERROR_NOT_SUPPORTED;
    TRY(vmm_create(prop, size, &m));
    *handle = (uintptr_t)m;
    return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    TRY(sim_enter());
    PUT_MEMORY struct vmm_memory *m = find(handle);
    return m ? vmm_release(m) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags)
{
    TRY(sim_enter());
    PUT_MEMORY struct vmm_memory *m = find(handle);
    return m && !flags && !offset ? vmm_map(ptr, size, m) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size)
{
    TRY(sim_enter());
    sched_drain(NULL);
    return vmm_unmap(ptr, size);
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *access, size_t n)
{
    TRY(sim_enter());
    if (!access || !n)
        return CUDA_ERROR_INVALID_VALUE;
    return vmm_set_access(ptr, size, access, n);
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *where, CUdeviceptr ptr)
{
    TRY(sim_enter());
    return flags && where ? vmm_get_access(ptr, where, flags) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
                                       CUmemAllocationGranularity_flags option)
{
    TRY(sim_enter());
    if (!granularity)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_prop(prop));
    if (option != CU_MEM_ALLOC_GRANULARITY_MINIMUM &&
        option != CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
        return CUDA_ERROR_INVALID_VALUE;
    *granularity = VMM_GRANULE;
    return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop,
                                                CUmemGenericAllocationHandle handle)
{
    TRY(sim_enter());
    PUT_MEMORY struct vmm_memory *m = find(handle);
    if (!prop || !m)
        return CUDA_ERROR_INVALID_VALUE;
    *prop = m->prop;
    return CUDA_SUCCESS;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
    struct vmm_memory *m;
    TRY(sim_enter());
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(vmm_retain((uintptr_t)addr, &m));
    *handle = (uintptr_t)m;
    return CUDA_SUCCESS;
}

CUresult cuMemExportToShareableHandle(void *shareable, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType type, unsigned long long flags)
{
    TRY(sim_enter());
    PUT_MEMORY struct vmm_memory *m = find(handle);
    if (!shareable || !m || flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (m->fd < 0) /* nobody said so when it was made */
        return CUDA_ERROR_INVALID_VALUE;
    int fd = vmm_export(m);
    if (fd < 0)
        return errno == EMFILE ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_OPERATING_SYSTEM;
    *(int *)shareable = fd;
    return CUDA_SUCCESS;
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *shareable,
                                        CUmemAllocationHandleType type)
{
    struct vmm_memory *m;
    TRY(sim_enter());
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        return CUDA_ERROR_NOT_SUPPORTED;
    intptr_t fd = (intptr_t)shareable;
    if (fd < 0 || fd > INT_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(vmm_import((int)fd, &m));
    *handle = (uintptr_t)m;
    return CUDA_SUCCESS;
}
