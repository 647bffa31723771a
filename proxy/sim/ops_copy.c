/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cp.async: from global to shared memory. It may happen at any time before the
 * program waits for it (PTX: cp.async), so it happens at once, and there is
 * nothing to wait for. Bulk copies are beyond the simulator.
 */
#include <string.h>

#include "access.h"
#include "idm/cuda_abi.h"
#include "ops.h"

/* mode: the bytes; bool_op: the third source is a predicate, "copy zeros instead". */
static void op_cp_async(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *to = src_row(w, in, 0), *from = src_row(w, in, 1);
    const uint64_t *limit = in->nsrc > 3 ? src_row(w, in, 3) : NULL;
    unsigned size = in->mode;
    LANES(mask, {
        uint64_t at = to[l] + (uint64_t)in->offset;
        unsigned n = size;
        uint8_t bytes[16] = {0};
        if (in->src[0].narrow)
            at = (uint32_t)at;
        if (limit && in->bool_op)
            n = limit[l] & 1 ? 0 : size;
        else if (limit && (uint32_t)limit[l] < size)
            n = (uint32_t)limit[l];
        /* Aligned to the whole, even where less is read. */
        const uint8_t *source = bytes;
        if (n)
            source =
                sim_address(w, in, l, SPACE_GLOBAL, from[l] + (uint64_t)in->offset2, size, false);
        uint8_t *target = source ? sim_address(w, in, l, SPACE_SHARED, at, size, true) : NULL;
        if (!target)
            return;
        for (unsigned k = 0; source != bytes && k < n; k += 4) {
            uint32_t word = (uint32_t)sim_read(source + k, 4);
            memcpy(bytes + k, &word, n - k < 4 ? n - k : 4);
        }
        memcpy(target, bytes, size);
    });
}

op_fn select_cp(struct build *b)
{
    struct insn *in = b->in;
    if (!has(b, M_ASYNC))
        return NULL;
    if (has(b, M_COMMIT_GROUP) || has(b, M_WAIT_ALL))
        return in->nsrc ? NULL : select_nothing(b);
    if (has(b, M_WAIT_GROUP))
        return in->nsrc == 1 ? select_nothing(b) : NULL;
    if (has(b, M_MBARRIER))
        return b->addresses == 1 && in->space == SPACE_SHARED ? select_copies_arrive(b) : NULL;
    if (b->addresses != 2 || in->nsrc < 3 || in->nsrc > 4 || !has(b, M_GLOBAL) ||
        !(has(b, M_SHARED) || has(b, M_SHARED_CTA)) || in->src[2].kind != O_CONST)
        return NULL;
    uint64_t size = b->p->const_values[in->src[2].slot];
    if (size != 4 && size != 8 && size != 16)
        return NULL;
    in->mode = (uint8_t)size;
    in->bool_op = in->nsrc > 3 && in->src[3].predicate;
    return op_cp_async;
}
