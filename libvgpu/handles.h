/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of the handle table: chooses ids, and tells a wrong handle
 * at once instead of from the next answer that happens to come. The worker
 * doesn't rely on it. Thread-safe; looking up takes no lock.
 */
#ifndef VG_HANDLES_H
#define VG_HANDLES_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "idm/handle.h"

/* Other processes have it, too, and are told by the program what it has done with it. */
#define VG_SHARED 1u

struct vg_object {
    _Atomic uint64_t id; /* 0: free */
    uint64_t context;    /* 0: no context's */
    uint64_t parent;     /* a function's module or library; a kernel's or a module's library */
    uint32_t generation;
    uint32_t next_free;
    _Atomic uint32_t value; /* context: device; stream: flags; event: VG_SHARED */
    void *data;             /* heap; goes with the object */
    _Atomic bool asleep;    /* a primary context that nobody retains */
};

int handles_open(uint32_t max, uint32_t tag);
void handles_close(void);
void handles_forked(void);

/* A fresh id in the caller's current context; contexts, libraries and kernels are in none. */
CUresult vg_new(enum idm_kind kind, uint64_t *ret_id);
/* What is known about a fresh object; before anybody else knows its id. */
void vg_describe(uint64_t id, uint64_t parent, uint32_t value, void *data);
/* A primary context nobody retains has its handle, and is of no use. */
void vg_sleep(uint64_t id, bool asleep);
void vg_forget(uint64_t id);
/* Forgets all whose context or parent is ID, and what is in modules among them. */
void vg_forget_orphans(uint64_t id);

/* NULL when ID is no living object of KIND. */
struct vg_object *vg_find(enum idm_kind kind, uint64_t id);

/* The id of PARENT's child of KIND in CONTEXT (0: no context's) whose data
 * MATCHES(data, arg); 0: none. */
uint64_t vg_find_child(enum idm_kind kind, uint64_t parent, uint64_t context,
                       bool (*matches)(const void *data, const void *arg), const void *arg);

/* A handle from a program, for the wire. NULL is the current context where
 * NULLABLE. */
CUresult vg_use(enum idm_kind kind, const void *handle, bool nullable, uint64_t *ret_id);
/* Also the default streams; the caller's own is made when it is first used (own_stream.c). */
CUresult vg_use_stream(CUstream stream, uint64_t *ret_id);
void own_stream_forked(void);
void own_stream_close(void);
CUresult vg_use_text(const char *text, uint32_t max, uint32_t *ret_len);

static inline void *vg_pointer(uint64_t id)
{
    return (void *)(uintptr_t)id;
}

#endif
