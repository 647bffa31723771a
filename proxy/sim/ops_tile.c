/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ldmatrix, stmatrix, movmatrix (PTX ISA, "Warp-level matrix load/store
 * instructions"): tiles of 8x8 elements of 16 bits between shared memory and
 * the registers mma wants. Lane 8 t + i has the address of row i of tile t; of
 * a tile in a register lane l holds two neighbours in row l / 4.
 */
#include "access.h"
#include "matrix.h"
#include "ops.h"

#define EDGE      8u
#define ROW_BYTES 16u

typedef uint16_t tile[EDGE][EDGE];

static void tile_to_row(const tile *t, bool transposed, uint64_t *row)
{
    for (unsigned l = 0; l < SIM_WARP; l++) {
        unsigned i = l / 4, j = l % 4 * 2;
        row[l] = transposed ? (*t)[j][i] | (uint32_t)(*t)[j + 1][i] << 16
                            : (*t)[i][j] | (uint32_t)(*t)[i][j + 1] << 16;
    }
}

static void row_to_tile(const uint64_t *row, bool transposed, tile *ret)
{
    for (unsigned l = 0; l < SIM_WARP; l++) {
        unsigned i = l / 4, j = l % 4 * 2;
        for (unsigned k = 0; k < 2; k++) {
            uint16_t v = (uint16_t)(row[l] >> (16 * k));
            if (transposed)
                (*ret)[j + k][i] = v;
            else
                (*ret)[i][j + k] = v;
        }
    }
}

static uint8_t *row_address(struct warp *w, const struct insn *in, unsigned lane, bool write)
{
    uint64_t a = sim_lane_address(in, src_row(w, in, 0)[lane]);
    return sim_address(w, in, lane, in->space, a, ROW_BYTES, write);
}

static void op_ldmatrix(struct warp *w, const struct insn *in, uint32_t mask)
{
    tile tiles[4];
    if (!matrix_all_here(w, in, mask))
        return;
    for (unsigned l = 0; l < EDGE * in->ndst; l++) {
        const uint8_t *from = row_address(w, in, l, false);
        if (!from)
            return;
        for (unsigned j = 0; j < EDGE; j++)
            tiles[l / EDGE][l % EDGE][j] = (uint16_t)sim_read(from + (size_t)2 * j, 2);
    }
    for (unsigned t = 0; t < in->ndst; t++)
        tile_to_row(&tiles[t], in->mode, dst_row(w, in, t));
}

static void op_stmatrix(struct warp *w, const struct insn *in, uint32_t mask)
{
    tile t;
    if (!matrix_all_here(w, in, mask))
        return;
    for (unsigned n = 0; n + 1 < in->nsrc; n++) {
        row_to_tile(src_row(w, in, n + 1), in->mode, &t);
        for (unsigned i = 0; i < EDGE; i++) {
            uint8_t *to = row_address(w, in, n * EDGE + i, true);
            if (!to)
                return;
            for (unsigned j = 0; j < EDGE; j++)
                sim_write(to + (size_t)2 * j, t[i][j], 2);
        }
    }
}

static void op_movmatrix(struct warp *w, const struct insn *in, uint32_t mask)
{
    tile t;
    if (!matrix_all_here(w, in, mask))
        return;
    row_to_tile(src_row(w, in, 0), false, &t);
    tile_to_row(&t, true, dst_row(w, in, 0));
}

static bool tiles_of_16_bits(struct build *b)
{
    b->in->mode = has(b, M_TRANS);
    return has(b, M_SYNC) && has(b, M_ALIGNED) && b->shape[0] == EDGE && b->shape[1] == EDGE &&
           !b->shape[2] && b->ntypes == 1 && b->in->type == T_B16;
}

/* How many tiles .x1, .x2, .x4 says; 0: none of them. */
static unsigned count(const struct build *b)
{
    return has(b, M_X4) ? 4 : has(b, M_X2) ? 2 : has(b, M_X1) ? 1 : 0;
}

static bool in_shared(const struct build *b)
{
    return b->in->space == SPACE_SHARED || b->in->space == SPACE_GENERIC;
}

op_fn select_ldmatrix(struct build *b)
{
    struct insn *in = b->in;
    return tiles_of_16_bits(b) && in_shared(b) && in->nsrc == 1 && count(b) && in->ndst == count(b)
               ? op_ldmatrix
               : NULL;
}

op_fn select_stmatrix(struct build *b)
{
    struct insn *in = b->in;
    return tiles_of_16_bits(b) && in_shared(b) && count(b) && in->nsrc == 1 + count(b) ? op_stmatrix
                                                                                       : NULL;
}

op_fn select_movmatrix(struct build *b)
{
    struct insn *in = b->in;
    return tiles_of_16_bits(b) && in->mode && in->nsrc == 1 && in->ndst == 1 ? op_movmatrix : NULL;
}
