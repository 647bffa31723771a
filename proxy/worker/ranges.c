/* SPDX-License-Identifier: Apache-2.0 */
/* Device addresses that are this client's: a sorted array, searched by
 * bisection. Insertion moves memory, which for the few thousand allocations of
 * a large program is less than the allocation itself costs. */
#include <stdlib.h>

#include "internal.h"

/* Index of the first range whose base is beyond ADDRESS. */
static uint32_t after(const struct ranges *r, uint64_t address)
{
    uint32_t low = 0, high = r->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (r->all[mid].base <= address)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct range *ranges_at(const struct ranges *r, uint64_t address)
{
    uint32_t i = after(r, address);
    if (i == 0)
        return NULL;
    struct range *range = &r->all[i - 1];
    return address - range->base < range->bytes ? range : NULL;
}

static int grow(struct ranges *r)
{
    uint32_t room = r->room ? r->room * 2 : 64;
    if (r->n >= r->max)
        return -1;
    struct range *all = realloc(r->all, room * sizeof(*all));
    if (!all)
        return -1;
    r->all = all;
    r->room = room;
    return 0;
}

int ranges_add(struct ranges *r, const struct range *range)
{
    uint32_t i = after(r, range->base);
    if (range->bytes == 0 || range->base > UINT64_MAX - range->bytes)
        return -1;
    if (i > 0) {
        const struct range *before = &r->all[i - 1];
        if (before->base == range->base && before->bytes == range->bytes &&
            before->kind == range->kind)
            return 0;
        if (range->base - before->base < before->bytes)
            return -1;
    }
    if (i < r->n && r->all[i].base - range->base < range->bytes)
        return -1;
    if ((r->n == r->room || r->n >= r->max) && grow(r) < 0)
        return -1;
    memmove(&r->all[i + 1], &r->all[i], (r->n - i) * sizeof(*r->all));
    r->all[i] = *range;
    r->n++;
    return 0;
}

void ranges_remove(struct ranges *r, struct range *range)
{
    uint32_t i = (uint32_t)(range - r->all);
    r->n--;
    memmove(range, range + 1, (r->n - i) * sizeof(*range));
}

CUresult worker_check_memory(struct worker *w, uint64_t address, uint64_t count, uint32_t unit)
{
    uint64_t bytes;
    if (count == 0)
        return CUDA_SUCCESS;
    const struct range *range = ranges_at(&w->ranges, address);
    bool good = range && !__builtin_mul_overflow(count, unit, &bytes);
    while (good && bytes > range->bytes - (address - range->base)) {
        uint64_t here = range->bytes - (address - range->base);
        address += here;
        bytes -= here;
        good = range->kind == RANGE_MAPPED && ++range < w->ranges.all + w->ranges.n &&
               range->base == address && range->kind == RANGE_MAPPED;
    }
    return good ? CUDA_SUCCESS
                : worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "address that isn't the client's");
}

void worker_ranges_gone(struct worker *w, uint64_t context_or_module)
{
    struct ranges *r = &w->ranges;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct range *range = &r->all[i];
        bool gone = range->context == context_or_module ||
                    (range->kind == RANGE_GLOBAL && range->owner == context_or_module);
        if (gone && (range->kind == RANGE_ALLOCATION || range->kind == RANGE_OPENED))
            worker_uncharge(w, range->bytes, &range->shared);
        if (!gone)
            r->all[kept++] = *range;
    }
    r->n = kept;
}
