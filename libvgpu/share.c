/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What processes of a zone share. The proxy gives a token for it; a program gets the token in what
 * CUDA has for the purpose, a descriptor or 64 bytes, and passes it on as it likes. Whoever
 * brings it back need not have got it from us: the proxy knows its tokens, and their zones.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "client_calls.h"
#include "handles.h"
#include "idm/pools.h"
#include "memory.h"

#ifndef SYS_memfd_create
#if defined(__x86_64__)
#define SYS_memfd_create 319
#else
#define SYS_memfd_create 279
#endif
#endif

enum note_kind { NOTE_MEMORY = 1, NOTE_RANGE, NOTE_EVENT };

/* What a descriptor's file and the beginning of a handle say. */
struct note {
    char magic[8];
    uint32_t version;
    uint32_t kind;
    uint64_t token[2];
};

static const char magic[8] = {'v', 'g', 'p', 'u', 's', 'h', 'r', 'd'};

static struct note note_of(enum note_kind kind, uint64_t low, uint64_t high)
{
    struct note n = {.version = 1, .kind = kind, .token = {low, high}};
    memcpy(n.magic, magic, sizeof(magic));
    return n;
}

static bool is_note(const struct note *n, enum note_kind kind)
{
    return memcmp(n->magic, magic, sizeof(magic)) == 0 && n->version == 1 &&
           n->kind == (uint32_t)kind;
}

/* --- By descriptor -------------------------------------------------------------------- */

/* A file of memory with N in it, whoever has it open; nobody can change it. */
static CUresult to_descriptor(const struct note *n, int *ret_fd)
{
    const unsigned cloexec = 1, sealing = 2; /* MFD_*, which older headers lack */
    const int seals = 0xf;                   /* F_SEAL_SEAL, SHRINK, GROW, WRITE */
    cleanup_close int fd = (int)syscall(SYS_memfd_create, "vgpu-memory", cloexec | sealing);
    if (fd < 0 || write(fd, n, sizeof(*n)) != (ssize_t)sizeof(*n) ||
        fcntl(fd, 1033 /* F_ADD_SEALS */, seals) < 0)
        return CUDA_ERROR_OPERATING_SYSTEM;
    *ret_fd = TAKE_FD(fd);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMemExportToShareableHandle(void *shareable,
                                                CUmemGenericAllocationHandle handle,
                                                CUmemAllocationHandleType type,
                                                unsigned long long flags)
{
    struct idm_cuMemExportToShareableHandle_in in;
    struct idm_cuMemExportToShareableHandle_out out;
    struct vg_answer answer;
    CUmemAllocationProp prop;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!shareable || flags)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vmm_use(handle, &in.w.handle, &prop));
    if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!(prop.requestedHandleTypes & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_ask_cuMemExportToShareableHandle(&in, &out, &answer));
    const struct note n = note_of(NOTE_MEMORY, out.w.token_low, out.w.token_high);
    return to_descriptor(&n, shareable);
}

VG_EXPORT CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle,
                                                  void *shareable, CUmemAllocationHandleType type)
{
    struct idm_cuMemImportFromShareableHandle_in in;
    struct idm_cuMemImportFromShareableHandle_out out;
    struct vg_answer answer;
    struct note n;
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (pread((int)(intptr_t)shareable, &n, sizeof(n), 0) != (ssize_t)sizeof(n) ||
        !is_note(&n, NOTE_MEMORY))
        return CUDA_ERROR_INVALID_VALUE;
    in.w.token_low = n.token[0];
    in.w.token_high = n.token[1];
    VG_TRY(vmm_new(&prop, &in.w.handle));
    CUresult rc = vg_ask_cuMemImportFromShareableHandle(&in, &out, &answer);
    if (rc == CUDA_SUCCESS && (out.w.dev < 0 || out.w.dev >= vg.n_devices))
        rc = vg_nonsense();
    if (rc != CUDA_SUCCESS) {
        vg_forget(in.w.handle);
        return rc;
    }
    vmm_place(in.w.handle, out.w.dev);
    *handle = in.w.handle;
    return CUDA_SUCCESS;
}

/* --- By handle ------------------------------------------------------------------------ */

/* One at a time, so that memory is opened in the worker once. */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

void share_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&opening, &mutex, sizeof(mutex));
}

VG_EXPORT CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr ptr)
{
    const struct idm_cuIpcGetMemHandle_in in = {.w = {.ptr = ptr}};
    struct idm_cuIpcGetMemHandle_out out;
    struct vg_answer answer;
    struct vg_memory m;
    struct pool_place pooled;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!handle || pools_at(ptr, &pooled) || !memory_at(ptr, &m) || m.kind != VG_DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_ask_cuIpcGetMemHandle(&in, &out, &answer));
    const struct note n = note_of(NOTE_RANGE, out.w.token_low, out.w.token_high);
    memset(handle, 0, sizeof(*handle));
    memcpy(handle->reserved, &n, sizeof(n));
    return CUDA_SUCCESS;
}

/* With `opening` locked. */
static CUresult open_memory(const struct note *n, unsigned flags, CUdeviceptr *ret_ptr)
{
    const struct idm_cuIpcOpenMemHandle_v2_in in = {
        .w = {.token_low = n->token[0], .token_high = n->token[1], .flags = flags}};
    struct idm_cuIpcOpenMemHandle_v2_out out;
    struct vg_answer answer;
    uint64_t at;
    if (memory_reopen(n->token, &at)) {
        *ret_ptr = at;
        return CUDA_SUCCESS;
    }
    VG_TRY(vg_ask_cuIpcOpenMemHandle_v2(&in, &out, &answer));
    const struct vg_memory m = {.base = out.w.ptr,
                                .bytes = out.w.bytes,
                                .context = vg_current(),
                                .kind = VG_OPENED,
                                .token = {n->token[0], n->token[1]},
                                .opens = 1};
    CUresult rc = memory_add(&m);
    if (rc == CUDA_SUCCESS) {
        *ret_ptr = out.w.ptr;
    } else {
        const struct idm_cuIpcCloseMemHandle_in back = {.w = {.ptr = out.w.ptr}};
        struct idm_cuIpcCloseMemHandle_out none;
        vg_ask_cuIpcCloseMemHandle(&back, &none, &answer);
    }
    return rc;
}

VG_EXPORT CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *ptr, CUipcMemHandle handle,
                                         unsigned int flags)
{
    struct note n;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    memcpy(&n, handle.reserved, sizeof(n));
    if (!ptr || flags & ~(unsigned)CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
        return CUDA_ERROR_INVALID_VALUE;
    if (!is_note(&n, NOTE_RANGE))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&opening);
    CUresult rc = open_memory(&n, flags, ptr);
    pthread_mutex_unlock(&opening);
    return rc;
}

VG_EXPORT CUresult cuIpcOpenMemHandle(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags)
{
    return cuIpcOpenMemHandle_v2(ptr, handle, flags);
}

VG_EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr ptr)
{
    const struct idm_cuIpcCloseMemHandle_in in = {.w = {.ptr = ptr}};
    struct idm_cuIpcCloseMemHandle_out out;
    struct vg_answer answer;
    bool last = false;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    pthread_mutex_lock(&opening);
    CUresult rc = memory_unopen(ptr, &last) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    if (rc == CUDA_SUCCESS && last)
        rc = vg_ask_cuIpcCloseMemHandle(&in, &out, &answer);
    pthread_mutex_unlock(&opening);
    return rc;
}

/* --- Events ----------------------------------------------------------------------------- */

static void share_event(uint64_t id)
{
    struct vg_object *o = vg_find(IDM_KIND_event, id);
    if (o)
        o->value = VG_SHARED;
}

VG_EXPORT CUresult cuIpcGetEventHandle(CUipcEventHandle *handle, CUevent event)
{
    struct idm_cuIpcGetEventHandle_in in;
    struct idm_cuIpcGetEventHandle_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_event, event, false, &in.w.event));
    VG_TRY(vg_ask_cuIpcGetEventHandle(&in, &out, &answer));
    share_event(in.w.event);
    const struct note n = note_of(NOTE_EVENT, out.w.token_low, out.w.token_high);
    memset(handle, 0, sizeof(*handle));
    memcpy(handle->reserved, &n, sizeof(n));
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuIpcOpenEventHandle(CUevent *event, CUipcEventHandle handle)
{
    struct idm_cuIpcOpenEventHandle_in in;
    struct idm_cuIpcOpenEventHandle_out out;
    struct vg_answer answer;
    struct note n;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    memcpy(&n, handle.reserved, sizeof(n));
    if (!event)
        return CUDA_ERROR_INVALID_VALUE;
    if (!is_note(&n, NOTE_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    in.w.token_low = n.token[0];
    in.w.token_high = n.token[1];
    VG_TRY(vg_new(IDM_KIND_event, &in.w.event));
    CUresult rc = vg_ask_cuIpcOpenEventHandle(&in, &out, &answer);
    if (rc != CUDA_SUCCESS) {
        vg_forget(in.w.event);
        return rc;
    }
    share_event(in.w.event);
    *event = vg_pointer(in.w.event);
    return CUDA_SUCCESS;
}
