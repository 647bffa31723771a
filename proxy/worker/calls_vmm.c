/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory and addresses apart. Memory is charged while a handle or a mapping of it
 * lives; a mapping lies in one of the client's reservations and is a range like others.
 */
#include <stdlib.h>

#include "internal.h"

/* No more addresses than any GPU has memory for, many times over. */
#define MAX_RESERVATION (1ull << 44)

static void put(struct worker *w, struct allocation *a)
{
    if (--a->refs)
        return;
    worker_uncharge(w, a->bytes, &a->shared);
    free(a);
}

static CUmemAllocationProp prop_of(int dev, uint32_t kinds)
{
    return (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .requestedHandleTypes = (CUmemAllocationHandleType)kinds,
                                 .location = {CU_MEM_LOCATION_TYPE_DEVICE, dev}};
}

/* The range of R that is exactly BYTES from BASE. */
static struct range *exactly(const struct ranges *r, uint64_t base, uint64_t bytes)
{
    struct range *range = ranges_at(r, base);
    return range && range->base == base && range->bytes == bytes ? range : NULL;
}

/* Is nothing mapped in BYTES from BASE? They don't wrap. */
static bool is_empty(const struct worker *w, uint64_t base, uint64_t bytes)
{
    for (uint32_t i = 0; i < w->ranges.n; i++) {
        const struct range *range = &w->ranges.all[i];
        if (range->base < base + bytes && base < range->base + range->bytes)
            return false;
    }
    return true;
}

/* The first of *RET_N mappings that are together exactly BYTES from BASE, or NULL. */
static struct range *mappings(struct worker *w, uint64_t base, uint64_t bytes, uint32_t *ret_n)
{
    struct range *first = ranges_at(&w->ranges, base);
    struct range *end = w->ranges.all + w->ranges.n;
    uint64_t at = base, left = bytes;
    uint32_t n = 0;
    if (!bytes || !first)
        return NULL;
    for (struct range *r = first; left; r++, n++) {
        if (r == end || r->kind != RANGE_MAPPED || r->base != at || r->bytes > left)
            return NULL;
        at += r->bytes;
        left -= r->bytes;
    }
    *ret_n = n;
    return first;
}

CUresult worker_cuMemAddressReserve(struct worker *w, const struct idm_cuMemAddressReserve_in *in,
                                    struct idm_cuMemAddressReserve_out *out)
{
    CUdeviceptr p = 0;
    if (!w->cu.cuMemAddressReserve || !w->cu.cuMemAddressFree)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (in->w.size == 0 || in->w.size > MAX_RESERVATION)
        return CUDA_ERROR_INVALID_VALUE;
    WORKER_TRY(w->cu.cuMemAddressReserve(&p, in->w.size, in->w.alignment, in->w.addr, in->w.flags));
    const struct range range = {.base = p, .bytes = in->w.size, .kind = RANGE_RESERVED};
    if (ranges_add(&w->reserved, &range) < 0) {
        w->cu.cuMemAddressFree(p, in->w.size);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    out->w.ptr = p;
    return CUDA_SUCCESS;
}

CUresult worker_cuMemAddressFree(struct worker *w, const struct idm_cuMemAddressFree_in *in,
                                 struct idm_cuMemAddressFree_out *out)
{
    struct range *range = exactly(&w->reserved, in->w.ptr, in->w.size);
    (void)out;
    if (!range || !is_empty(w, range->base, range->bytes))
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "no free reservation of the client's");
    WORKER_TRY(w->cu.cuMemAddressFree(in->w.ptr, in->w.size));
    ranges_remove(&w->reserved, range);
    return CUDA_SUCCESS;
}

static CUresult create(struct worker *w, uint64_t bytes, int dev, uint32_t kinds,
                       struct allocation **ret)
{
    const CUmemAllocationProp prop = prop_of(dev, kinds);
    struct allocation *a = calloc(1, sizeof(*a));
    if (!a)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!page_reserve(w->config->page, w->config->slot, bytes)) {
        free(a);
        worker_count(&w->counters->quota_refusals, 1);
        w->error = IDM_ERROR_QUOTA;
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *a = (struct allocation){.bytes = bytes, .refs = 1, .dev = dev};
    CUresult rc = w->cu.cuMemCreate(&a->driver, bytes, &prop, 0);
    if (rc != CUDA_SUCCESS)
        put(w, a);
    else
        *ret = a;
    return rc;
}

CUresult worker_cuMemCreate(struct worker *w, const struct idm_cuMemCreate_in *in,
                            struct idm_cuMemCreate_out *out)
{
    struct worker_object *o;
    struct allocation *a = NULL;
    (void)out;
    if (!w->cu.cuMemCreate || !w->cu.cuMemRelease || !w->cu.cuMemSetAccess)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (in->w.dev < 0 || in->w.dev >= w->n_devices)
        return CUDA_ERROR_INVALID_DEVICE;
    if (in->w.kinds != CU_MEM_HANDLE_TYPE_NONE &&
        in->w.kinds != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(worker_expect(w, IDM_KIND_memory, in->w.handle, &o));
    CUresult rc = create(w, in->w.size, in->w.dev, in->w.kinds, &a);
    w->want_reply = true; /* nobody uses what wasn't made */
    worker_born(w, o, in->w.handle, a, rc);
    if (rc == CUDA_SUCCESS)
        o->context = 0; /* no context's */
    return rc;
}

CUresult worker_cuMemRelease(struct worker *w, const struct idm_cuMemRelease_in *in,
                             struct idm_cuMemRelease_out *out)
{
    void *p;
    (void)out;
    WORKER_TRY(worker_find(w, IDM_KIND_memory, in->w.handle, false, &p));
    struct allocation *a = p;
    CUresult rc = w->cu.cuMemRelease(a->driver);
    worker_gone(w, in->w.handle);
    put(w, a);
    return rc;
}

CUresult worker_cuMemMap(struct worker *w, const struct idm_cuMemMap_in *in,
                         struct idm_cuMemMap_out *out)
{
    void *p;
    (void)out;
    WORKER_TRY(worker_find(w, IDM_KIND_memory, in->w.handle, false, &p));
    struct allocation *a = p;
    const struct range *r = ranges_at(&w->reserved, in->w.ptr);
    if (!r || !in->w.size || in->w.size > r->bytes - (in->w.ptr - r->base) ||
        !is_empty(w, in->w.ptr, in->w.size))
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "mapping outside of a reservation");
    if (in->w.size > a->bytes)
        return CUDA_ERROR_INVALID_VALUE;
    WORKER_TRY(w->cu.cuMemMap(in->w.ptr, in->w.size, 0, a->driver, 0));
    const struct range range = {
        .base = in->w.ptr, .bytes = in->w.size, .memory = a, .kind = RANGE_MAPPED};
    if (ranges_add(&w->ranges, &range) < 0) {
        w->cu.cuMemUnmap(in->w.ptr, in->w.size);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    a->refs++;
    return CUDA_SUCCESS;
}

CUresult worker_cuMemUnmap(struct worker *w, const struct idm_cuMemUnmap_in *in,
                           struct idm_cuMemUnmap_out *out)
{
    uint32_t n = 0;
    struct range *first = mappings(w, in->w.ptr, in->w.size, &n);
    (void)out;
    if (!first)
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "unmapping of what isn't mapped");
    WORKER_TRY(w->cu.cuMemUnmap(in->w.ptr, in->w.size));
    while (n--) {
        put(w, first->memory);
        ranges_remove(&w->ranges, first);
    }
    return CUDA_SUCCESS;
}

static CUresult set_access(struct worker *w, uint64_t base, uint64_t bytes, int dev,
                           CUmemAccess_flags flags)
{
    const CUmemAccessDesc access = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, dev}, .flags = flags};
    return w->cu.cuMemSetAccess(base, bytes, &access, 1);
}

/* R, which nobody has access to yet, through CONTEXT, the current one, on device DEV, which has
 * access afterwards if it is to KEEP it. */
static CUresult clear_one(struct worker *w, const struct range *r,
                          const struct worker_object *context, int dev, bool keep)
{
    struct allocation *a = r->memory;
    WORKER_TRY(set_access(w, r->base, r->bytes, dev, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
    CUresult rc =
        w->cu.cuMemsetD8Async(r->base + a->cleared, 0, r->bytes - a->cleared, context->scrubber);
    if (rc == CUDA_SUCCESS)
        rc = w->cu.cuStreamSynchronize(context->scrubber);
    if (rc == CUDA_SUCCESS)
        a->cleared = r->bytes;
    if (rc == CUDA_SUCCESS && keep)
        return rc;
    CUresult last = set_access(w, r->base, r->bytes, dev, CU_MEM_ACCESS_FLAGS_PROT_NONE);
    return rc != CUDA_SUCCESS ? rc : last;
}

/* The current context, which has a scrubber, and its device. */
static CUresult scrubbing_context(struct worker *w, struct worker_object **ret_context,
                                  CUdevice *ret_dev)
{
    struct worker_object *context;
    if (!w->context) /* whose GPU is to do it? */
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!w->cu.cuStreamSynchronize || !w->cu.cuCtxGetDevice)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(worker_find_object(w, IDM_KIND_context, w->context, &context));
    WORKER_TRY(w->cu.cuCtxGetDevice(ret_dev));
    if (!context->scrubber) {
        CUstream stream;
        WORKER_TRY(w->cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        context->scrubber = stream;
    }
    *ret_context = context;
    return CUDA_SUCCESS;
}

CUresult worker_clear_whole(struct worker *w, struct allocation *a)
{
    struct worker_object *context;
    CUdevice dev;
    CUdeviceptr p = 0;
    if (a->cleared >= a->bytes)
        return CUDA_SUCCESS;
    WORKER_TRY(scrubbing_context(w, &context, &dev));
    /* At addresses that nobody knows. */
    WORKER_TRY(w->cu.cuMemAddressReserve(&p, a->bytes, 0, 0, 0));
    CUresult rc = w->cu.cuMemMap(p, a->bytes, 0, a->driver, 0);
    if (rc == CUDA_SUCCESS) {
        const struct range whole = {
            .base = p, .bytes = a->bytes, .memory = a, .kind = RANGE_MAPPED};
        rc = clear_one(w, &whole, context, dev, false);
        w->cu.cuMemUnmap(p, a->bytes);
    }
    w->cu.cuMemAddressFree(p, a->bytes);
    return rc;
}

/*
 * What was there before may have been another tenant's. The client knows the address, so
 * its next message must find zeros: this one waits. *ret_kept: so many of the N mappings have
 * the access that IN asks for.
 */
static CUresult clear(struct worker *w, const struct idm_cuMemSetAccess_in *in,
                      const struct range *first, uint32_t n, uint32_t *ret_kept)
{
    struct worker_object *context;
    CUdevice dev;
    WORKER_TRY(scrubbing_context(w, &context, &dev));
    bool keep = in->w.dev == dev && in->w.flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    for (uint32_t i = 0; i < n; i++) {
        if (first[i].memory->cleared >= first[i].bytes)
            continue;
        WORKER_TRY(clear_one(w, &first[i], context, dev, keep));
        *ret_kept += keep;
    }
    return CUDA_SUCCESS;
}

static bool all_cleared(const struct range *first, uint32_t n)
{
    while (n && first[n - 1].memory->cleared >= first[n - 1].bytes)
        n--;
    return n == 0;
}

static bool is_access(uint32_t flags)
{
    return flags == CU_MEM_ACCESS_FLAGS_PROT_NONE || flags == CU_MEM_ACCESS_FLAGS_PROT_READ ||
           flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
}

CUresult worker_cuMemSetAccess(struct worker *w, const struct idm_cuMemSetAccess_in *in,
                               struct idm_cuMemSetAccess_out *out)
{
    uint32_t n = 0, kept = 0;
    const struct range *first = mappings(w, in->w.ptr, in->w.size, &n);
    (void)out;
    if (!first)
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "access to what isn't mapped");
    if (!is_access(in->w.flags))
        return CUDA_ERROR_INVALID_VALUE;
    if (in->w.dev < 0 || in->w.dev >= w->n_devices)
        return CUDA_ERROR_INVALID_DEVICE;
    if (in->w.flags != CU_MEM_ACCESS_FLAGS_PROT_NONE && !all_cleared(first, n))
        WORKER_TRY(clear(w, in, first, n, &kept));
    return kept == n
               ? CUDA_SUCCESS
               : set_access(w, in->w.ptr, in->w.size, in->w.dev, (CUmemAccess_flags)in->w.flags);
}

CUresult worker_cuMemGetAllocationGranularity(struct worker *w,
                                              const struct idm_cuMemGetAllocationGranularity_in *in,
                                              struct idm_cuMemGetAllocationGranularity_out *out)
{
    const CUmemAllocationProp prop = prop_of(in->w.dev, CU_MEM_HANDLE_TYPE_NONE);
    size_t bytes = 0;
    if (!w->cu.cuMemGetAllocationGranularity)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (in->w.dev < 0 || in->w.dev >= w->n_devices)
        return CUDA_ERROR_INVALID_DEVICE;
    WORKER_TRY(w->cu.cuMemGetAllocationGranularity(&bytes, &prop,
                                                   (CUmemAllocationGranularity_flags)in->w.option));
    out->w.granularity = bytes;
    return CUDA_SUCCESS;
}

void worker_vmm_end(struct worker *w)
{
    for (uint32_t i = w->ranges.n; i-- > 0;) {
        struct range *r = &w->ranges.all[i];
        if (r->kind != RANGE_MAPPED)
            continue;
        w->cu.cuMemUnmap(r->base, r->bytes);
        put(w, r->memory);
        ranges_remove(&w->ranges, r);
    }
    for (uint32_t i = 0; i < w->objects.max && w->objects.used; i++) {
        const struct worker_object *o = &w->objects.places[i];
        if (!o->id || idm_handle_kind(o->id) != IDM_KIND_memory || o->failed)
            continue;
        struct allocation *a = o->driver;
        w->cu.cuMemRelease(a->driver);
        put(w, a);
        worker_gone(w, o->id);
    }
    for (uint32_t i = 0; i < w->reserved.n; i++)
        w->cu.cuMemAddressFree(w->reserved.all[i].base, w->reserved.all[i].bytes);
}
