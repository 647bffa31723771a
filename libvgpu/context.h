/* SPDX-License-Identifier: Apache-2.0 */
/* Each thread's stack of current contexts, and the primary contexts. */
#ifndef VG_CONTEXT_H
#define VG_CONTEXT_H

#include "connection.h"

/* SUCCESS when the calling thread has a current context that lives. */
CUresult context_check_current(void);
/* Empties the calling thread's stack. */
void context_forget_thread(void);
/* The current context's device; -1: there is none. */
int context_device(void);

#endif
