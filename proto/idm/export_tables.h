/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuGetExportTable: the tables of functions that CUDA's runtime and libraries
 * take from a driver, known by the names public projects gave them. All of it is
 * answered in the process. libvgpu and the simulated driver share it; they say
 * when a context ends.
 */
#ifndef GI_IDM_EXPORT_TABLES_H
#define GI_IDM_EXPORT_TABLES_H

#include "idm/cuda_abi.h"

/* CTX is about to end: whoever kept something with it is told. With no lock held: they
 * may call the driver. Thread-safe. */
void export_context_ends(CUcontext ctx);
/* After a fork, in the child: nothing is kept with any context. */
void export_forget(void);

/* The libcuda's own: the handle DEV's primary context has, or will have when it is retained. */
CUresult export_primary_context(CUcontext *ctx, CUdevice dev);

/* A table that only this libcuda has; NULL: there is none of that id, as in a libcuda that doesn't
 * define this. */
const void *export_own_table(const CUuuid *id);

/* What a table has where nobody is known to need anything. */
typedef void export_slot(void);

/* The runtime's self-test (self_test.c). TABLE, RUNTIME_TABLE: as handed out. Without
 * GI_CUDART_INTEROP it has no answer and says so on stderr, once. Thread-safe. */
CUresult self_test_answer(uint32_t version, uint64_t seconds, const export_slot *const *table,
                          const export_slot *const *runtime_table, uint8_t ret_answer[16]);

#endif
