/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated device says of itself: a GPU of compute capability 9.0 with
 * few multiprocessors. */
#include <stdio.h>
#include <string.h>

#include "driver.h"

#define FIRST_BUS 1
/* Numbers above this one are no attribute of any driver yet. */
#define LAST_ATTRIBUTE 148

static const int attributes[LAST_ATTRIBUTE + 1] = {
    [CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK] = SIM_MAX_THREADS,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X] = SIM_MAX_THREADS,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y] = SIM_MAX_THREADS,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z] = 64,
    [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X] = 0x7fffffff,
    [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y] = 65535,
    [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z] = 65535,
    [CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK] = SIM_SHARED_DEFAULT,
    [CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY] = 65536,
    [CU_DEVICE_ATTRIBUTE_WARP_SIZE] = SIM_WARP,
    [CU_DEVICE_ATTRIBUTE_MAX_PITCH] = 0x7fffffff,
    [CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK] = SIM_REGISTERS,
    [CU_DEVICE_ATTRIBUTE_CLOCK_RATE] = 1000000,
    [CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT] = 512,
    [CU_DEVICE_ATTRIBUTE_GPU_OVERLAP] = 1,
    [CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT] = SIM_SMS,
    [CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY] = 1,
    [CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT] = 512,
    [CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS] = 1,
    [CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE] = 1000000,
    [CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH] = 128,
    [CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE] = 4 << 20,
    [CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR] = 2048,
    [CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT] = 2,
    [CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING] = 1,
    [CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT] = 32,
    [CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR] = 228 << 10,
    [CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR] = SIM_REGISTERS,
    [CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY] = 1,
    [CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS] = 1,
    [CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO] = 2,
    [CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM] = 1,
    [92] = 1, /* memory operations in streams, the first forms: all kinds of them */
    [93] = 1,
    [94] = 1,
    [CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH] = 1,
    [122] = 1, /* of 64 bits */
    [123] = 1, /* CU_STREAM_WAIT_VALUE_NOR */
    [CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN] = SIM_MAX_SHARED,
    [CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR] = 32,
    [CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK] = 1024,
    [CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED] = 1,
    [CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED] = 1,
    [103] = 1, /* memory of cuMemCreate as descriptors */
    [125] = 1, /* events between processes */
};

static CUresult check_device(CUdevice dev)
{
    TRY(sim_enter());
    return dev >= 0 && dev < (int)sim.devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetCount(int *count)
{
    TRY(sim_enter());
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    *count = (int)sim.devices;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    TRY(sim_enter());
    if (!device)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_device(ordinal));
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
    TRY(sim_enter());
    if (!name || len <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_device(dev));
    snprintf(name, (size_t)len, "%s", sim.name);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
    TRY(sim_enter());
    if (!uuid)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_device(dev));
    device_uuid(sim.physical[dev], uuid);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
    return cuDeviceGetUuid(uuid, dev);
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
    TRY(sim_enter());
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_device(dev));
    *bytes = sim.memory;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attrib, CUdevice dev)
{
    TRY(sim_enter());
    if (!value || (int)attrib < 1 || (int)attrib > LAST_ATTRIBUTE)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_device(dev));
    switch (attrib) {
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
        *value = FIRST_BUS + sim.physical[dev];
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = (int)(sim.capability / 10);
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = (int)(sim.capability % 10);
        break;
    case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH:
        *value = sim.capability >= 90;
        break;
    default:
        *value = attributes[attrib];
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *id, int len, CUdevice dev)
{
    char text[16];
    TRY(sim_enter());
    if (!id || len <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_device(dev));
    int n =
        snprintf(text, sizeof(text), "0000:%02X:00.0", (unsigned)(FIRST_BUS + sim.physical[dev]));
    if (n >= len)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(id, text, (size_t)n + 1);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *dev, const char *id)
{
    unsigned domain = 0, bus = 0, slot = 0, function = 0;
    int used = 0;
    TRY(sim_enter());
    if (!dev || !id)
        return CUDA_ERROR_INVALID_VALUE;
    /* domain:bus:device.function, domain:bus:device, bus:device.function */
    bool good = (sscanf(id, "%4x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &used) == 4 &&
                 id[used] == '\0') ||
                (function = 0, sscanf(id, "%4x:%2x:%2x%n", &domain, &bus, &slot, &used) == 3 &&
                                   id[used] == '\0') ||
                (domain = 0, sscanf(id, "%2x:%2x.%1x%n", &bus, &slot, &function, &used) == 3 &&
                                 id[used] == '\0');
    if (!good)
        return CUDA_ERROR_INVALID_VALUE;
    int found =
        domain || slot || function || bus < FIRST_BUS ? -1 : device_local((int)bus - FIRST_BUS);
    if (found < 0)
        return CUDA_ERROR_INVALID_DEVICE;
    *dev = found;
    return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
    TRY(sim_enter());
    if (!major || !minor)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_device(dev));
    *major = (int)(sim.capability / 10);
    *minor = (int)(sim.capability % 10);
    return CUDA_SUCCESS;
}
