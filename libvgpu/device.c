/* SPDX-License-Identifier: Apache-2.0 */
/* Initialization, and questions about devices: answered from what the worker
 * told at hello. */
#include <stdio.h>
#include <string.h>

#include "connection.h"

VG_EXPORT CUresult cuInit(unsigned int flags)
{
    return flags == 0 ? vg_open() : CUDA_ERROR_INVALID_VALUE;
}

VG_EXPORT CUresult cuDriverGetVersion(int *version)
{
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    /* May be asked before cuInit, when only our own version is known. */
    *version = vg_enter(VG_ANY_CONTEXT) == CUDA_SUCCESS ? vg.driver_version : CUDA_VERSION;
    return CUDA_SUCCESS;
}

static CUresult facts_of(CUdevice dev, const struct idm_device_facts **ret_facts)
{
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (dev < 0 || dev >= vg.n_devices)
        return CUDA_ERROR_INVALID_DEVICE;
    *ret_facts = &vg.devices[dev];
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuDeviceGetCount(int *count)
{
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    *count = vg.n_devices;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    const struct idm_device_facts *f;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!device)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(facts_of(ordinal, &f));
    *device = ordinal;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
    const struct idm_device_facts *f;
    VG_TRY(facts_of(dev, &f));
    if (!name || len <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(name, (size_t)len, "%s", f->name);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
    const struct idm_device_facts *f;
    VG_TRY(facts_of(dev, &f));
    if (!uuid)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(uuid->bytes, f->uuid, sizeof(uuid->bytes));
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
    return cuDeviceGetUuid(uuid, dev);
}

VG_EXPORT CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
    const struct idm_device_facts *f;
    VG_TRY(facts_of(dev, &f));
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    *bytes = f->total_memory;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attrib, CUdevice dev)
{
    const struct idm_device_facts *f;
    VG_TRY(facts_of(dev, &f));
    unsigned i = (unsigned)attrib;
    if (!value || i >= IDM_DEVICE_ATTRIBUTES || !(f->known[i / 8] & 1u << i % 8))
        return CUDA_ERROR_INVALID_VALUE;
    *value = f->attribute[i];
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuDeviceGetPCIBusId(char *id, int len, CUdevice dev)
{
    const struct idm_device_facts *f;
    VG_TRY(facts_of(dev, &f));
    /* Half an address is of no use. */
    if (!id || len <= 0 || strlen(f->pci_bus_id) >= (size_t)len)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(id, f->pci_bus_id, strlen(f->pci_bus_id) + 1);
    return CUDA_SUCCESS;
}

/* "[domain:]bus:device[.function]", all hexadecimal. By hand: scanf has a new
 * symbol version with each C standard. */
static bool parse_pci(const char *text, uint32_t ret_parts[3])
{
    static const char digits[] = "0123456789abcdef";
    unsigned n = 0;
    memset(ret_parts, 0, 3 * sizeof(*ret_parts));
    for (; *text && *text != '.'; text++) {
        if (*text == ':' && ++n < 3)
            continue;
        const char *at = strchr(digits, *text | 0x20);
        if (!at || n > 2)
            return false;
        ret_parts[n] = ret_parts[n] << 4 | (uint32_t)(at - digits);
    }
    if (n == 1) {
        ret_parts[2] = ret_parts[1];
        ret_parts[1] = ret_parts[0];
        ret_parts[0] = 0;
    }
    return n >= 1;
}

VG_EXPORT CUresult cuDeviceGetByPCIBusId(CUdevice *dev, const char *id)
{
    uint32_t wanted[3], has[3];
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!dev || !id || !parse_pci(id, wanted))
        return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < vg.n_devices; i++) {
        if (parse_pci(vg.devices[i].pci_bus_id, has) && memcmp(has, wanted, sizeof(has)) == 0) {
            *dev = i;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_DEVICE;
}

VG_EXPORT CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
    if (!major || !minor)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(cuDeviceGetAttribute(major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, dev));
    return cuDeviceGetAttribute(minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, dev);
}
