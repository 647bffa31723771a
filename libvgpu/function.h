/* SPDX-License-Identifier: Apache-2.0 */
/* Functions and kernels, and what launches of them are. */
#ifndef VG_FUNCTION_H
#define VG_FUNCTION_H

#include "connection.h"
#include "idm/handle.h"

struct function {
    struct idm_function_facts facts;
    uint64_t id;
    uint32_t n_params;
    uint32_t param_bytes;      /* of the whole block */
    struct idm_param params[]; /* then the name, with its NUL */
};

void function_forked(void);
/* A function's or a kernel's handle from a program. */
CUresult function_use(enum idm_kind kind, const void *handle, struct function **ret_function,
                      uint64_t *ret_id);

/* Are a block of threads and so much dynamic shared memory what F may have? Of a kernel, whose
 * attributes are each device's, nothing is known here. No lock: launches ask. */
bool function_may_have(const struct function *f, const uint32_t block[3], uint32_t shared);
/* It may, the driver says: cuKernelSetAttribute has changed it since. */
void function_has(struct function *f, const uint32_t block[3], uint32_t shared);

/* For the wire: the attributes of a launch, without those that are nothing. RET_ATTRIBUTES: room
 * for IDM_MAX_ATTRIBUTES. NOT_SUPPORTED: the device, or this library, hasn't what one asks for. */
CUresult launch_attributes(const CUlaunchAttribute *all, unsigned n,
                           struct idm_launch_attribute *ret_attributes, uint32_t *ret_n);

#endif
