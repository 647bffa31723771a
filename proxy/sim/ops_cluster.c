/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters of blocks: their barrier, and each other's shared memory (PTX: mapa). */
#include "block.h"
#include "idm/cuda_abi.h"
#include "ops.h"

static void op_arrive(struct warp *w, const struct insn *in, uint32_t mask)
{
    (void)in;
    cluster_arrive(w, mask);
}

/* barrier.cluster.arrive, .wait; without either it is both. */
op_fn select_cluster_barrier(struct build *b)
{
    if (b->in->nsrc || has(b, M_ARRIVE) == has(b, M_WAIT))
        return NULL;
    return has(b, M_ARRIVE) ? op_arrive : cluster_wait;
}

/* mode: the address is a generic one. */
static void op_mapa(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *a = src_row(w, in, 0), *rank = src_row(w, in, 1);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, {
        uint64_t window = in->mode ? a[l] >> SIM_WINDOW_SHIFT : 0;
        uint64_t offset = a[l] & ((1u << SIM_RANK_SHIFT) - 1);
        if ((uint32_t)rank[l] >= w->b->cluster->n ||
            (in->mode && window != SIM_SHARED_BASE >> SIM_WINDOW_SHIFT)) {
            warp_fault(w, in, (int)l, CUDA_ERROR_ILLEGAL_ADDRESS,
                       "address 0x%llx of block %u of %u", (unsigned long long)a[l],
                       (uint32_t)rank[l], w->b->cluster->n);
            return;
        }
        d[l] = (window << SIM_WINDOW_SHIFT) | (((rank[l] & 0xff) + 1) << SIM_RANK_SHIFT) | offset;
    });
}

op_fn select_mapa(struct build *b)
{
    b->in->mode = b->in->space == SPACE_GENERIC;
    return b->in->nsrc == 2 && type_size(b->in->type) >= 4 &&
                   (!b->in->mode || type_size(b->in->type) == 8) &&
                   (b->in->mode || b->in->space == SPACE_SHARED)
               ? op_mapa
               : NULL;
}

static void op_getctarank(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *a = src_row(w, in, 0);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, {
        uint32_t named = (uint32_t)a[l] >> SIM_RANK_SHIFT;
        d[l] = named ? named - 1 : w->b->rank;
    });
}

op_fn select_getctarank(struct build *b)
{
    return b->in->nsrc == 1 ? op_getctarank : NULL;
}
