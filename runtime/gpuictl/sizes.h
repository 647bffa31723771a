/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and limits as people type them. */
#ifndef GPUICTL_SIZES_H
#define GPUICTL_SIZES_H

#include "ctl.h"

/* "512", "64Ki", "4Gi", "1.5G" to bytes; false: no such number. */
bool sizes_bytes(const char *text, int64_t *ret);

/* --memory and --cpus, NULL: not given, into R, which has other fields left as they are.
 * EXIT_OK, or the exit code after what is wrong was said. */
int sizes_set(const struct command *self, const char *memory, const char *cpus,
              Runtime__V1__LinuxContainerResources *r);

#endif
