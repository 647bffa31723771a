/* SPDX-License-Identifier: Apache-2.0 */
/* The program's functions in streams' order, run by a thread of ours. */
#ifndef VG_HOST_FUNCTION_H
#define VG_HOST_FUNCTION_H

#include <stdbool.h>

/* Is the calling thread in one? CUDA's calls are forbidden there. */
bool host_function_is_running(void);
void host_function_forked(void);

#endif
