/* SPDX-License-Identifier: Apache-2.0 */
/* The greeting: what a client needs to know once, in one message. */
#include <stdio.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "internal.h"

/* What a driver can and the proxy does not, for the program's memory is another machine's. */
static bool is_kept_back(unsigned attribute)
{
    static const unsigned char all[] = {
        88,  100, 101,           /* kernels that use pageable memory */
        91,                      /* or registered memory by its own address */
        104, 105, 119, 128,      /* handles of other systems and machines */
        107, 112, 136, 137,      /* compressed memory, sparse arrays */
        110, 116, 117, 124, 146, /* other devices that reach the GPU's memory */
        114, 129, 132,           /* other APIs' semaphores, functions of both, multicast */
        141, 142, 143, 144, 145, /* pools and mappings of the host's memory */
    };
    return memchr(all, (int)attribute, sizeof(all)) != NULL;
}

static void collect_device(struct worker *w, CUdevice dev, struct idm_device_facts *f)
{
    size_t total = 0;
    CUuuid uuid;
    w->cu.cuDeviceGetName(f->name, sizeof(f->name), dev);
    f->name[sizeof(f->name) - 1] = '\0';
    if (w->cu.cuDeviceGetUuid && w->cu.cuDeviceGetUuid(&uuid, dev) == CUDA_SUCCESS)
        memcpy(f->uuid, uuid.bytes, sizeof(f->uuid));
    if (w->cu.cuDeviceGetPCIBusId)
        w->cu.cuDeviceGetPCIBusId(f->pci_bus_id, sizeof(f->pci_bus_id), dev);
    f->pci_bus_id[sizeof(f->pci_bus_id) - 1] = '\0';
    w->cu.cuDeviceTotalMem_v2(&total, dev);
    uint64_t quota = atomic_load(&w->config->page->memory_quota);
    f->total_memory = total < quota ? total : quota;
    for (unsigned i = 1; i < IDM_DEVICE_ATTRIBUTES; i++) {
        int value = 0;
        if (w->cu.cuDeviceGetAttribute(&value, (CUdevice_attribute)i, dev) != CUDA_SUCCESS)
            continue;
        f->attribute[i] = is_kept_back(i) ? 0 : value;
        f->known[i / 8] |= (uint8_t)(1u << i % 8);
    }
}

int worker_collect_facts(struct worker *w, struct gi_error *err)
{
    int n = 0;
    CUresult rc = w->cu.cuDeviceGetCount(&n);
    w->cu.cuDriverGetVersion(&w->driver_version);
    if (rc != CUDA_SUCCESS || n <= 0)
        return gi_fail(err, GI_UNAVAILABLE, "driver %s: no device (%d)", w->config->driver,
                       (int)rc);
    w->n_devices = n < (int)GI_ARRAY_SIZE(w->devices) ? n : (int)GI_ARRAY_SIZE(w->devices);
    for (int i = 0; i < w->n_devices; i++) {
        CUdevice dev;
        if (w->cu.cuDeviceGet(&dev, i) == CUDA_SUCCESS)
            collect_device(w, dev, &w->devices[i]);
    }
    return 0;
}

/* Moves the arena to ADDRESS, if that is free here. It is reserved without MAP_FIXED, as the
 * address is the client's word. Moved, not mapped again: granted pages can be mapped once alone
 * (Linux' gntdev). */
static bool move_arena(struct worker *w, uint64_t address)
{
    uint64_t bytes = w->config->arena_bytes;
    if (address == (uint64_t)(uintptr_t)w->arena)
        return true;
    if (address % 4096 || address < 1ull << 32 || address >= 1ull << 47 ||
        bytes > (1ull << 47) - address)
        return false;
    void *p = mmap((void *)(uintptr_t)address, bytes, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return false;
    if ((uint64_t)(uintptr_t)p != address) {
        munmap(p, bytes);
        return false;
    }
    /* If that fails the place may be given up already, and be another thread's by now. */
    if (mremap(w->arena, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, p) != p)
        return false;
    w->arena = p;
    return true;
}

/* Pinned memory has one address for both then, as programs expect. */
static uint64_t meet_client(struct worker *w, const struct idm_hello_in *in)
{
    const char *places = in->places;
    uint32_t n = in->w.places_len / (uint32_t)sizeof(uint64_t);
    for (uint32_t i = 0; i < n && i < IDM_ARENA_PLACES; i++) {
        uint64_t address;
        memcpy(&address, places + i * sizeof(address), sizeof(address));
        if (move_arena(w, address))
            return address;
    }
    return 0;
}

CUresult worker_hello(struct worker *w, const struct idm_hello_in *in, struct idm_hello_out *out)
{
    if (w->greeted || in->w.protocol != IDM_PROTOCOL)
        return worker_malformed(w);
    w->greeted = true;
    out->w.max_handles = w->objects.max;
    out->w.driver_version = (uint32_t)w->driver_version;
    out->w.devices = (uint32_t)w->n_devices;
    uint32_t room = idm_max_payload(w->out.size) - (uint32_t)sizeof(out->w);
    while (out->w.devices * sizeof(w->devices[0]) > room)
        out->w.devices--; /* a tiny ring */
    out->w.arena_address = meet_client(w, in);
    out->facts = w->devices;
    out->w.facts_len = out->w.devices * (uint32_t)sizeof(w->devices[0]);
    return CUDA_SUCCESS;
}

CUresult worker_goodbye(struct worker *w, const struct idm_goodbye_in *in,
                        struct idm_goodbye_out *out)
{
    w->goodbye = true;
    return CUDA_SUCCESS;
}
