/* SPDX-License-Identifier: Apache-2.0 */
#include "cu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

bool cu_load(struct cu *cu, const char *library)
{
    bool complete = true;
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        return false;
    }
#define LOAD(call)                                                                                 \
    {                                                                                              \
        void *p = dlsym(handle, #call);                                                            \
        memcpy(&cu->call, &p, sizeof(p));                                                          \
        if (!p) {                                                                                  \
            fprintf(stderr, "%s has no %s\n", library, #call);                                     \
            complete = false;                                                                      \
        }                                                                                          \
    }
    CU_CALLS(LOAD)
#undef LOAD
    return complete;
}
