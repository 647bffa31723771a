/* SPDX-License-Identifier: Apache-2.0 */
/* Memory by handle: what other processes get of ours, what is open here of theirs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "board.h"
#include "idm/cuda_abi_share.h"
#include "idm/export_tables.h"
#include "idm/pools.h"
#include "idm/share_table.h"
#include "mem.h"
#include "region.h"
#include "share.h"
#include "stream.h"

/* What a context has open, as often as it was opened. */
struct opened {
    struct opened *next;
    const struct CUctx_st *context;
    struct share_handle handle;
    uint64_t base;
    unsigned count;
};

static struct {
    pthread_mutex_t lock;
    struct opened *first;
    unsigned n;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr ptr)
{
    struct CUctx_st *c;
    struct mem_shared s;
    struct pool_place pooled;
    struct share_handle h;
    TRY(sim_context(&c));
    if (!handle || pools_at(ptr, &pooled))
        return CUDA_ERROR_INVALID_VALUE;
    int rc = mem_share(ptr, false, &s);
    if (rc == CUDA_ERROR_NOT_READY) {
        sched_still();
        rc = mem_share(ptr, true, &s);
        sched_go_on();
    }
    TRY((CUresult)rc);
    share_handle_init(&h, MEMFILE_REGION, sim.physical[s.device], s.fd);
    h.offset = s.offset;
    h.bytes = s.bytes;
    h.id = s.id;
    memcpy(handle, &h, sizeof(h));
    return CUDA_SUCCESS;
}

/* --- Opening ----------------------------------------------------------------------------- */

/* With the lock: where the pointer to it is. */
static struct opened **find(const struct CUctx_st *c, const struct share_handle *h)
{
    struct opened **at = &table.first;
    for (; *at; at = &(*at)->next) {
        const struct share_handle *is = &(*at)->handle;
        if ((*at)->context == c && is->process == h->process && is->device == h->device &&
            is->offset == h->offset && is->bytes == h->bytes && is->id == h->id)
            break;
    }
    return at;
}

static CUresult map(const struct CUctx_st *c, const struct share_handle *h, uint64_t *ret_base)
{
    struct memfile file;
    errno = 0;
    cleanup_close int fd = share_open(h, MEMFILE_REGION, &file);
    if (fd < 0)
        return errno == EMFILE ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_HANDLE;
    uint64_t first = h->offset / MEMFILE_PAGE * MEMFILE_PAGE, within = h->offset - first;
    uint64_t bytes = (within + h->bytes + MEMFILE_PAGE - 1) / MEMFILE_PAGE * MEMFILE_PAGE;
    uint8_t *p = memfile_map(fd, first, bytes);
    if (!p)
        return errno == ENOMEM ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_MAP_FAILED;
    uint64_t base = (uintptr_t)p + within;
    const int local = device_local(h->device);
    CUresult rc =
        (CUresult)mem_opened((void *)(uintptr_t)c, local < 0 ? c->device : local, base, h->bytes);
    if (rc != CUDA_SUCCESS)
        munmap(p, bytes);
    else
        *ret_base = base;
    return rc;
}

static CUresult open_first(const struct CUctx_st *c, const struct share_handle *h,
                           struct opened **at)
{
    if (table.n == SHARE_MAX_OPENED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    cleanup_free struct opened *o = calloc(1, sizeof(*o));
    if (!o)
        return CUDA_ERROR_OUT_OF_MEMORY;
    TRY(map(c, h, &o->base));
    o->context = c;
    o->handle = *h;
    table.n++;
    *at = TAKE_PTR(o);
    return CUDA_SUCCESS;
}

static CUresult check(const struct CUctx_st *c, const struct share_handle *h, unsigned flags)
{
    if (!share_handle_is(h, MEMFILE_REGION) || h->offset % REGION_GRANULE)
        return CUDA_ERROR_INVALID_HANDLE;
    if (share_handle_is_own(h))
        return CUDA_ERROR_INVALID_CONTEXT;
    /* Of another device, whose peer this context is then for this memory. */
    return h->device == c->device || (flags & CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags)
{
    struct CUctx_st *c;
    struct share_handle h;
    TRY(sim_context(&c));
    if (!ptr || (flags & ~(unsigned)CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS))
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&h, &handle, sizeof(h));
    TRY(check(c, &h, flags));
    GI_LOCK_SCOPE(&table.lock);
    if (c->dead) /* opened_end comes after that was said */
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    struct opened **at = find(c, &h);
    if (!*at)
        TRY(open_first(c, &h, at));
    (*at)->count++;
    *ptr = (*at)->base;
    return CUDA_SUCCESS;
}

/* The first form. */
__attribute__((visibility("default"))) CUresult
cuIpcOpenMemHandle(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags);
CUresult cuIpcOpenMemHandle(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags)
{
    return cuIpcOpenMemHandle_v2(ptr, handle, flags);
}

/* --- Closing ----------------------------------------------------------------------------- */

/* With the lock. */
static void drop(struct opened **at)
{
    struct opened *o = *at;
    *at = o->next;
    table.n--;
    free(o);
}

/* One opening less. *RET_LAST: now nobody has it open. */
static bool close_one(uint64_t base, bool *ret_last)
{
    GI_LOCK_SCOPE(&table.lock);
    struct opened **at = &table.first;
    while (*at && (*at)->base != base)
        at = &(*at)->next;
    if (!*at)
        return false;
    *ret_last = --(*at)->count == 0;
    if (*ret_last)
        drop(at);
    return true;
}

CUresult cuIpcCloseMemHandle(CUdeviceptr ptr)
{
    struct CUctx_st *c;
    struct mem_range r;
    bool last = false;
    TRY(sim_context(&c));
    if (!close_one(ptr, &last))
        return CUDA_ERROR_INVALID_VALUE;
    /* As cuMemFree does. */
    if (last && mem_at(ptr, &r)) {
        sched_drain(mem_is_shared(ptr) ? NULL : r.owner);
        mem_release(ptr, MEM_OPENED, r.owner);
    }
    return c->error;
}

void opened_end(const struct CUctx_st *c)
{
    GI_LOCK_SCOPE(&table.lock);
    for (struct opened **at = &table.first; *at;) {
        if ((*at)->context == c)
            drop(at); /* its memory goes with all that is C's */
        else
            at = &(*at)->next;
    }
}

/* --- What travels beside a handle ---------------------------------------------------------- */

static int descriptor(const void *handle)
{
    struct share_handle h;
    memcpy(&h, handle, sizeof(h));
    /* Its number in there may be anybody's invention. */
    if (!share_handle_is_own(&h))
        return -1;
    if (share_handle_is(&h, MEMFILE_REGION))
        return mem_shared_fd(device_local(h.device), h.offset, h.id);
    return share_handle_is(&h, MEMFILE_EVENTS) ? board_fd(&h) : -1;
}

static void replace(void *handle, int fd)
{
    struct share_handle h;
    memcpy(&h, handle, sizeof(h));
    h.fd = fd;
    h.replaced = 1;
    memcpy(handle, &h, sizeof(h));
}

const void *export_own_table(const CUuuid *id)
{
    static const CUuuid own = SHARE_TABLE_ID;
    static const struct share_table share = {sizeof(share), descriptor, replace};
    return memcmp(id, &own, sizeof(own)) == 0 ? &share : NULL;
}
