/* SPDX-License-Identifier: Apache-2.0 */
/* The table behind cuGetProcAddress; generated from cuda.calls. */
#ifndef VG_PROCADDR_H
#define VG_PROCADDR_H

#include <stdbool.h>

struct vg_symbol {
    const char *name; /* without version suffix */
    unsigned since;   /* CUDA version that brought this form */
    bool per_thread;  /* has a form for the per-thread default stream */
    void (*fn)(void);
};

extern const struct vg_symbol vg_symbols[]; /* by name, then version */
extern const unsigned vg_n_symbols;

#endif
