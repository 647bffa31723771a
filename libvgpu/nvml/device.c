/* SPDX-License-Identifier: Apache-2.0 */
/* Devices and what never changes about them: from the greeting. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "channel.h"
#include "idm/cuda_abi.h"

/* CUdevice_attribute's numbers. */
enum {
    CLOCK_RATE = 13,
    COMPUTE_MODE = 20,
    ECC_ENABLED = 32,
    MEMORY_CLOCK_RATE = 36,
    BUS_WIDTH = 37,
    CC_MAJOR = 75,
    CC_MINOR = 76,
    MULTI_GPU_BOARD = 84,
};

NVML_EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
    nvmlReturn_t rc = nv_enter();
    if (rc != NVML_SUCCESS)
        return rc;
    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    *count = nv_devices();
    return NVML_SUCCESS;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetCount(unsigned int *count)
{
    return nvmlDeviceGetCount_v2(count);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    nvmlReturn_t rc = nv_enter();
    if (rc != NVML_SUCCESS)
        return rc;
    if (!device || !nv_device(index))
        return NVML_ERROR_INVALID_ARGUMENT;
    *device = nv_device(index);
    return NVML_SUCCESS;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device)
{
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

#define UUID_TEXT 41 /* "GPU-", 32 digits, 4 dashes, NUL */

static void uuid_text(const struct idm_device_facts *f, char text[UUID_TEXT])
{
    const uint8_t *u = f->uuid;
    snprintf(text, UUID_TEXT,
             "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
             u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
             u[15]);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    nvmlReturn_t rc = nv_enter();
    if (rc != NVML_SUCCESS)
        return rc;
    if (!uuid || !device)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < nv_devices(); i++) {
        char text[UUID_TEXT];
        uuid_text(&nv_device(i)->facts, text);
        if (strcmp(text, uuid) == 0) {
            *device = nv_device(i);
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

/* "domain:bus:device.function" in hexadecimal, of any width. By hand: scanf has a
 * new symbol version with each C standard. */
static bool parse_pci(const char *text, unsigned parts[3])
{
    static const char digits[] = "0123456789abcdef";
    unsigned n = 0;
    memset(parts, 0, 3 * sizeof(*parts));
    for (; *text && *text != '.'; text++) {
        if (*text == ':') {
            if (++n > 2)
                return false;
            continue;
        }
        const char *at = strchr(digits, *text | 0x20);
        if (!at)
            return false;
        parts[n] = parts[n] << 4 | (unsigned)(at - digits);
    }
    return n == 2;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *id, nvmlDevice_t *device)
{
    unsigned wanted[3], has[3];
    nvmlReturn_t rc = nv_enter();
    if (rc != NVML_SUCCESS)
        return rc;
    if (!id || !device || !parse_pci(id, wanted))
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < nv_devices(); i++) {
        if (parse_pci(nv_device(i)->facts.pci_bus_id, has) &&
            memcmp(has, wanted, sizeof(has)) == 0) {
            *device = nv_device(i);
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *id, nvmlDevice_t *device)
{
    return nvmlDeviceGetHandleByPciBusId_v2(id, device);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
    const struct idm_device_facts *f;
    nvmlReturn_t rc = nv_facts(device, &f);
    return rc == NVML_SUCCESS ? nv_give_text(f->name, name, length) : rc;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
    const struct idm_device_facts *f;
    char text[UUID_TEXT];
    nvmlReturn_t rc = nv_facts(device, &f);
    if (rc != NVML_SUCCESS)
        return rc;
    uuid_text(f, text);
    return nv_give_text(text, uuid, length);
}

static nvmlReturn_t give(nvmlDevice_t device, unsigned value, unsigned int *out)
{
    const struct idm_device_facts *f;
    nvmlReturn_t rc = nv_facts(device, &f);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!out)
        return NVML_ERROR_INVALID_ARGUMENT;
    *out = value;
    return NVML_SUCCESS;
}

/* An attribute that the driver told. */
static nvmlReturn_t attribute(nvmlDevice_t device, unsigned which, int *out)
{
    const struct idm_device_facts *f;
    nvmlReturn_t rc = nv_facts(device, &f);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!out)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!(f->known[which / 8] & 1u << which % 8))
        return NVML_ERROR_NOT_SUPPORTED;
    *out = f->attribute[which];
    return NVML_SUCCESS;
}

static nvmlReturn_t give_attribute(nvmlDevice_t device, unsigned which, unsigned scale,
                                   unsigned int *out)
{
    int value = 0;
    nvmlReturn_t rc = attribute(device, which, &value);
    return rc == NVML_SUCCESS ? give(device, (unsigned)value / scale, out) : rc;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
    const struct idm_device_facts *f;
    nvmlReturn_t rc = nv_facts(device, &f);
    return rc == NVML_SUCCESS ? give(device, device->index, index) : rc;
}

/* Of /dev/nvidiaN, which no pod has: the index. */
NVML_EXPORT nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *minor)
{
    return nvmlDeviceGetIndex(device, minor);
}

/* SIZE: older structs are shorter. */
static nvmlReturn_t pci(nvmlDevice_t device, nvmlPciInfo_t *out, size_t size)
{
    const struct idm_device_facts *f;
    unsigned at[3];
    nvmlPciInfo_t p;
    nvmlReturn_t rc = nv_facts(device, &f);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!out)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!parse_pci(f->pci_bus_id, at))
        return NVML_ERROR_NOT_SUPPORTED;
    memset(&p, 0, sizeof(p));
    p.domain = at[0] & 0xffff;
    p.bus = at[1] & 0xff;
    p.device = at[2] & 0xff;
    snprintf(p.busIdLegacy, sizeof(p.busIdLegacy), "%04X:%02X:%02X.0", p.domain, p.bus, p.device);
    snprintf(p.busId, sizeof(p.busId), "%08X:%02X:%02X.0", p.domain, p.bus, p.device);
    memcpy(out, &p, size);
    return NVML_SUCCESS;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *out)
{
    return pci(device, out, sizeof(*out));
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, nvmlPciInfo_t *out)
{
    return pci(device, out, offsetof(nvmlPciInfo_t, busId));
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t device, nvmlPciInfo_t *out)
{
    return pci(device, out, offsetof(nvmlPciInfo_t, pciSubSystemId));
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major,
                                                            int *minor)
{
    nvmlReturn_t rc = attribute(device, CC_MAJOR, major);
    return rc == NVML_SUCCESS ? attribute(device, CC_MINOR, minor) : rc;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, unsigned int *architecture)
{
    /* From this compute capability on. */
    static const struct {
        int cc;
        unsigned number;
    } known[] = {{130, ~0u}, {100, 10}, {90, 9}, {89, 8}, {80, 7},
                 {75, 6},    {70, 5},   {60, 4}, {50, 3}, {30, 2}};
    int major = 0, minor = 0;
    nvmlReturn_t rc = nvmlDeviceGetCudaComputeCapability(device, &major, &minor);
    if (rc != NVML_SUCCESS)
        return rc;
    unsigned number = ~0u;
    for (size_t i = sizeof(known) / sizeof(known[0]); i-- > 0;) {
        if (major * 10 + minor >= known[i].cc)
            number = known[i].number;
    }
    return give(device, number, architecture);
}

/* "NVIDIA": what data centres' cards say since they are Teslas no more. */
NVML_EXPORT nvmlReturn_t nvmlDeviceGetBrand(nvmlDevice_t device, unsigned int *brand)
{
    return give(device, 14, brand);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t device, unsigned int *mode)
{
    return give_attribute(device, COMPUTE_MODE, 1, mode);
}

/* gpu-proxy holds the device: it never goes to sleep between clients. */
NVML_EXPORT nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, unsigned int *mode)
{
    return give(device, 1, mode);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, unsigned int *current,
                                              unsigned int *pending)
{
    nvmlReturn_t rc = give_attribute(device, ECC_ENABLED, 1, current);
    return rc == NVML_SUCCESS ? give_attribute(device, ECC_ENABLED, 1, pending) : rc;
}

/* Types: graphics, SM, memory, video. */
NVML_EXPORT nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, unsigned int type,
                                                   unsigned int *mhz)
{
    if (type > 2)
        return nv_enter() == NVML_SUCCESS ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_UNINITIALIZED;
    return give_attribute(device, type == 2 ? MEMORY_CLOCK_RATE : CLOCK_RATE, 1000, mhz);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMemoryBusWidth(nvmlDevice_t device, unsigned int *bits)
{
    return give_attribute(device, BUS_WIDTH, 1, bits);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMultiGpuBoard(nvmlDevice_t device, unsigned int *several)
{
    return give_attribute(device, MULTI_GPU_BOARD, 1, several);
}

enum { P2P_READ, P2P_WRITE, P2P_OK = 0, P2P_NOT_SUPPORTED = 5 };

/* A pod's devices are in one process of the proxy's; what links are between them isn't told. */
NVML_EXPORT nvmlReturn_t nvmlDeviceGetP2PStatus(nvmlDevice_t a, nvmlDevice_t b, unsigned int index,
                                                unsigned int *status)
{
    const struct idm_device_facts *f;
    bool can = false;
    nvmlReturn_t rc = nv_facts(b, &f);
    if (rc == NVML_SUCCESS)
        rc = nv_facts(a, &f);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!status)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (index == P2P_READ || index == P2P_WRITE)
        rc = nv_can_access(a->index, b->index, &can);
    if (rc == NVML_SUCCESS)
        *status = can ? P2P_OK : P2P_NOT_SUPPORTED;
    return rc;
}
