/* SPDX-License-Identifier: Apache-2.0 */
/* What changes: the zone's memory, work and processes. Asked anew each time. */
#include "channel.h"

/* The zone's quota is over all its devices, so each shows it. */
static nvmlReturn_t memory_of(nvmlDevice_t device, nvmlMemory_t *ret)
{
    const struct idm_device_facts *f;
    struct nv_report report;
    nvmlReturn_t rc = nv_facts(device, &f);
    if (rc == NVML_SUCCESS)
        rc = nv_ask_report(&report);
    if (rc != NVML_SUCCESS)
        return rc;
    ret->total = f->total_memory;
    ret->used = report.memory_used < ret->total ? report.memory_used : ret->total;
    ret->free = ret->total - ret->used;
    return NVML_SUCCESS;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    nvmlMemory_t m;
    nvmlReturn_t rc = memory_of(device, &m);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!memory)
        return NVML_ERROR_INVALID_ARGUMENT;
    *memory = m;
    return NVML_SUCCESS;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
    nvmlMemory_t m;
    nvmlReturn_t rc = memory_of(device, &m);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!memory)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (memory->version != NVML_STRUCT_VERSION(nvmlMemory_v2_t, 2))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    memory->total = m.total;
    memory->reserved = 0;
    memory->free = m.free;
    memory->used = m.used;
    return NVML_SUCCESS;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device,
                                                       nvmlUtilization_t *utilization)
{
    const struct idm_device_facts *f;
    struct nv_report report;
    nvmlReturn_t rc = nv_facts(device, &f);
    if (rc == NVML_SUCCESS)
        rc = nv_ask_report(&report);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!utilization)
        return NVML_ERROR_INVALID_ARGUMENT;
    utilization->gpu = report.busy_permille >= 1000 ? 100 : (report.busy_permille + 9) / 10;
    utilization->memory = 0; /* nobody measures it */
    return NVML_SUCCESS;
}

/* COUNT: room in, number out. Tells through PUT, which may be NULL. */
static nvmlReturn_t processes(nvmlDevice_t device, unsigned int *count, void *infos,
                              void (*put)(void *infos, unsigned i, const struct idm_zone_client *c))
{
    const struct idm_device_facts *f;
    struct nv_report report;
    nvmlReturn_t rc = nv_facts(device, &f);
    if (rc == NVML_SUCCESS)
        rc = nv_ask_report(&report);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!count || (*count && !infos))
        return NVML_ERROR_INVALID_ARGUMENT;
    unsigned room = *count;
    *count = report.n_clients;
    if (room < report.n_clients)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (uint32_t i = 0; i < report.n_clients; i++)
        put(infos, i, &report.clients[i]);
    return NVML_SUCCESS;
}

static void put_v1(void *infos, unsigned i, const struct idm_zone_client *c)
{
    ((nvmlProcessInfo_v1_t *)infos)[i] =
        (nvmlProcessInfo_v1_t){.pid = c->pid, .usedGpuMemory = c->memory_used};
}

static void put_v2(void *infos, unsigned i, const struct idm_zone_client *c)
{
    ((nvmlProcessInfo_t *)infos)[i] = (nvmlProcessInfo_t){.pid = c->pid,
                                                          .usedGpuMemory = c->memory_used,
                                                          .gpuInstanceId = NVML_NO_INSTANCE,
                                                          .computeInstanceId = NVML_NO_INSTANCE};
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t device,
                                                              unsigned int *count,
                                                              nvmlProcessInfo_v1_t *infos)
{
    return processes(device, count, infos, put_v1);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device,
                                                                 unsigned int *count,
                                                                 nvmlProcessInfo_t *infos)
{
    return processes(device, count, infos, put_v2);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device,
                                                                 unsigned int *count,
                                                                 nvmlProcessInfo_t *infos)
{
    return processes(device, count, infos, put_v2);
}

/* Graphics and MPS: nobody draws here, and clients have a context each. */
static nvmlReturn_t none(nvmlDevice_t device, unsigned int *count)
{
    const struct idm_device_facts *f;
    nvmlReturn_t rc = nv_facts(device, &f);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    *count = 0;
    return NVML_SUCCESS;
}

#define NONE(name, type)                                                                           \
    NVML_EXPORT nvmlReturn_t name(nvmlDevice_t device, unsigned int *count, type *infos)           \
    {                                                                                              \
        (void)infos;                                                                               \
        return none(device, count);                                                                \
    }
NONE(nvmlDeviceGetGraphicsRunningProcesses, nvmlProcessInfo_v1_t)
NONE(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlProcessInfo_t)
NONE(nvmlDeviceGetGraphicsRunningProcesses_v3, nvmlProcessInfo_t)
NONE(nvmlDeviceGetMPSComputeRunningProcesses, nvmlProcessInfo_v1_t)
NONE(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvmlProcessInfo_t)
NONE(nvmlDeviceGetMPSComputeRunningProcesses_v3, nvmlProcessInfo_t)
