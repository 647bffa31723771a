/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instructions that compute each lane for itself: EXPR sees a, b, c, read as S,
 * and its value is written as U.
 */
#ifndef SIM_LANES_H
#define SIM_LANES_H

#include "warp.h"

#define BINARY(name, S, U, expr)                                                                   \
    static void name(struct warp *w, const struct insn *in, uint32_t mask)                         \
    {                                                                                              \
        const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1);                             \
        uint64_t *d = dst_row(w, in, 0);                                                           \
        LANES(mask, {                                                                              \
            S a = (S)x[l], b = (S)y[l];                                                            \
            d[l] = (U)(expr);                                                                      \
        });                                                                                        \
    }

#define TERNARY(name, S, U, expr)                                                                  \
    static void name(struct warp *w, const struct insn *in, uint32_t mask)                         \
    {                                                                                              \
        const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1), *z = src_row(w, in, 2);     \
        uint64_t *d = dst_row(w, in, 0);                                                           \
        LANES(mask, {                                                                              \
            S a = (S)x[l], b = (S)y[l], c = (S)z[l];                                               \
            d[l] = (U)(expr);                                                                      \
        });                                                                                        \
    }

#define UNARY(name, S, U, expr)                                                                    \
    static void name(struct warp *w, const struct insn *in, uint32_t mask)                         \
    {                                                                                              \
        const uint64_t *x = src_row(w, in, 0);                                                     \
        uint64_t *d = dst_row(w, in, 0);                                                           \
        LANES(mask, {                                                                              \
            S a = (S)x[l];                                                                         \
            d[l] = (U)(expr);                                                                      \
        });                                                                                        \
    }

#endif
