/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrices in a warp's registers (ops_matrix.c, ops_wmma.c).
 *
 *      registers of 32 lanes          plain arrays           registers
 *   A  --- matrix_unpack() --->  a[m][k] \
 *   B  --- matrix_unpack() --->  b[k][n]  > multiply --> c[m][n] -- pack --> D
 *   C  --- matrix_unpack() --->  c[m][n] /
 *
 * Where an element lies in the registers is a struct place's to say, one for
 * each register: mma's are the PTX ISA's, wmma's are ours.
 */
#ifndef SIM_MATRIX_H
#define SIM_MATRIX_H

#include "build.h"
#include "warp.h"

#define MATRIX_REALS    512u  /* elements at most: m16n8k32 of eight bits, m32n8k16 */
#define MATRIX_INTEGERS 1024u /* m16n8k64 of four bits */
#define MATRIX_REGS     8u    /* registers of a fragment at most */

struct matrix {
    uint16_t m, n, k;       /* k: of one bit elements, words of 32 */
    uint8_t a, b, c, d;     /* types */
    uint8_t na, nb, nc, nd; /* registers */
    uint8_t per;            /* elements of A, and of B, in a register */
    uint8_t role;           /* wmma.load and wmma.store: 'a' to 'd' */
    bool a_col, b_col;
    bool satfinite, and_bits;
};

/* The first element of one register in each lane; the others follow at distances of step. */
struct place {
    uint32_t first[SIM_WARP];
    uint32_t step;
};

/* Elements as numbers: doubles, or integers of eight bits and less (bits: words of them). */
union matrix_values {
    double real[MATRIX_REALS];
    int32_t integer[MATRIX_INTEGERS];
};

/* All lanes of the warp are here, as .sync.aligned promises. False: they are waited for, or a
 * fault. */
bool matrix_all_here(struct warp *w, const struct insn *in, uint32_t mask);
/* Puts what ROW (a register of elements of TYPE) holds to its PLACE in V. */
void matrix_unpack(union matrix_values *v, uint8_t type, const uint64_t *row,
                   const struct place *place);
/* The other way, to ROW; TYPE is an accumulator's: f16, f32, f64, s32. */
void matrix_pack(const union matrix_values *v, uint8_t type, uint64_t *row,
                 const struct place *place);
/* Where register R of ROLE ('a' to 'd') has its elements. */
typedef void matrix_place_fn(const struct matrix *x, uint8_t role, unsigned r, struct place *ret);
/* D = A x B + C of IN's registers, which are PLACEd so. Integers that don't fit are cut, or
 * limited, as in->matrix says. */
void matrix_mma(struct warp *w, const struct insn *in, uint32_t mask, matrix_place_fn *place);
/* in->round; false: not one of TYPE's. */
bool matrix_rounding(struct build *b, uint8_t type);

/* Whether A of one type goes with B of the other; whether a product of TYPE adds to ACCUMULATOR. */
bool matrix_partners(uint8_t a, uint8_t b);
bool matrix_accumulates(uint8_t type, uint8_t accumulator);

/* Whether elements of A and B are multiplied as integers (also single bits). */
static inline bool matrix_integer(uint8_t type)
{
    return type == T_S8 || type == T_U8 || type == T_S4 || type == T_U4 || type == T_B1;
}

static inline unsigned matrix_bits(uint8_t type)
{
    unsigned bytes = type_size(type);
    return type == T_B1 ? 1 : type == T_S4 || type == T_U4 ? 4 : bytes ? 8 * bytes : 8;
}

#endif
