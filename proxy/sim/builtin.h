/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of the device runtime that a module only declares: vprintf, __assertfail. */
#ifndef SIM_BUILTIN_H
#define SIM_BUILTIN_H

#include "warp.h"

void sim_builtin(struct warp *w, const struct insn *in, const struct sim_func *f, uint32_t mask);

#endif
