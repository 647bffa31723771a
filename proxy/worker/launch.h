/* SPDX-License-Identifier: Apache-2.0 */
/* What launches and memory operations are made of, checked (calls_launch.c). */
#ifndef WORKER_LAUNCH_H
#define WORKER_LAUNCH_H

#include "internal.h"

/* DATA: struct idm_launch_attribute. RET_ATTRIBUTES: room for IDM_MAX_ATTRIBUTES. */
CUresult worker_launch_attributes(struct worker *w, const void *data, uint32_t len,
                                  CUlaunchAttribute *ret_attributes, uint32_t *ret_n);
/* DATA: struct idm_memory_op. RET_OPS: room for IDM_MAX_MEMORY_OPS. */
CUresult worker_memory_ops(struct worker *w, const void *data, uint32_t len,
                           CUstreamBatchMemOpParams *ret_ops, uint32_t *ret_n);

#endif
