/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes that share memory and events, in turns: each writes down what it sees, and hands
 * the word to the other.
 *   share LIBCUDA
 * What they print with a driver and through libvgpu must be the same. The second one is this
 * program executed again, with the socket between them as its second argument.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "cu.h"

#define MIB    (1u << 20)
#define MAPPED (4u * MIB)
#define PLAIN  (3u * MIB + 12345)

static struct cu cu;
static const char *who;
static int other;
static int n_devices;

static CUresult show(const char *what, CUresult rc)
{
    printf("%s %s: %d\n", who, what, (int)rc);
    return rc;
}
#define SHOW(call, ...) show(#call "(" #__VA_ARGS__ ")", cu.call(__VA_ARGS__))

/* --- Turns ------------------------------------------------------------------------------ */

/* Gives the other the word, with BYTES of DATA and FD (-1: none). */
static void say(const void *data, size_t bytes, int fd)
{
    fflush(stdout);
    if (gi_send_fds(other, data ? data : "", data ? bytes : 1, &fd, fd >= 0) < 0)
        exit(3);
}

/* Waits for the word; the descriptor that came with it is the caller's, -1: none. */
static int listen_to(void *data, size_t bytes)
{
    char nothing = 0;
    int fd = -1;
    size_t nfds = 1;
    if (!data) {
        data = &nothing;
        bytes = 1;
    }
    if (gi_recv_fds(other, data, bytes, &fd, &nfds) != (ssize_t)bytes)
        exit(4);
    return fd;
}

static void turn(void)
{
    say(NULL, 0, -1);
    listen_to(NULL, 0);
}

/* --- What both do ------------------------------------------------------------------------ */

static void show_data(CUdeviceptr p, size_t bytes)
{
    uint8_t *copy = malloc(bytes);
    if (!copy)
        abort();
    memset(copy, 0xee, bytes);
    CUresult rc = cu.cuMemcpyDtoH_v2(copy, p, bytes);
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ copy[i]) * 1099511628211u;
    printf("%s   data: %d %zu %016" PRIx64 "\n", who, (int)rc, bytes, h);
    free(copy);
}

/* to[i] = from[i] + 1 */
static const char add_ptx[] =
    ".version 7.0\n.target sm_50\n.address_size 64\n"
    ".visible .entry add(.param .u64 to, .param .u64 from)\n{\n"
    "  .reg .b64 %rd<5>;\n  .reg .b32 %r<5>;\n"
    "  ld.param.u64 %rd1, [to];\n  ld.param.u64 %rd2, [from];\n"
    "  mov.u32 %r1, %ctaid.x;\n  mov.u32 %r2, %ntid.x;\n  mov.u32 %r3, %tid.x;\n"
    "  mad.lo.u32 %r1, %r1, %r2, %r3;\n  mul.wide.u32 %rd3, %r1, 4;\n"
    "  add.u64 %rd1, %rd1, %rd3;\n  add.u64 %rd2, %rd2, %rd3;\n"
    "  ld.global.u32 %r4, [%rd2];\n  add.u32 %r4, %r4, 1;\n  st.global.u32 [%rd1], %r4;\n"
    "  ret;\n}\n";

static CUfunction load(void)
{
    CUmodule module = NULL;
    CUfunction fn = NULL;
    SHOW(cuModuleLoadData, &module, add_ptx);
    SHOW(cuModuleGetFunction, &fn, module, "add");
    return fn;
}

static void add(CUfunction fn, CUdeviceptr to, CUdeviceptr from, unsigned words, CUstream stream)
{
    void *params[] = {&to, &from};
    SHOW(cuLaunchKernel, fn, words / 128, 1, 1, 128, 1, 1, 0, stream, params, NULL);
}

static CUmemAllocationProp mapped_on(int dev, CUmemAllocationHandleType kinds)
{
    return (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .requestedHandleTypes = kinds,
                                 .location = {CU_MEM_LOCATION_TYPE_DEVICE, dev}};
}

static CUdeviceptr map(CUmemGenericAllocationHandle memory, int dev)
{
    CUdeviceptr p = 0;
    const CUmemAccessDesc access = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, dev},
                                    .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    SHOW(cuMemAddressReserve, &p, MAPPED, 0, 0, 0);
    SHOW(cuMemMap, p, MAPPED, 0, memory, 0);
    SHOW(cuMemSetAccess, p, MAPPED, &access, 1);
    return p;
}

static void unmap(CUdeviceptr p)
{
    SHOW(cuMemUnmap, p, MAPPED);
    SHOW(cuMemAddressFree, p, MAPPED);
}

static CUcontext start(CUdevice dev)
{
    CUcontext context = NULL;
    SHOW(cuInit, 0);
    SHOW(cuDeviceGetCount, &n_devices);
    SHOW(cuCtxCreate_v2, &context, 0, dev);
    return context;
}

/* --- The first ---------------------------------------------------------------------------- */

#define DESCRIPTOR CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR

static void give_by_descriptor(void)
{
    CUmemGenericAllocationHandle memory = 0, kept = 0, virgin = 0;
    CUmemAllocationProp prop = mapped_on(0, CU_MEM_HANDLE_TYPE_NONE);
    unsigned long long kinds = 99;
    int ipc = 9;
    int fd = -1, again = -1, unseen = -1;
    SHOW(cuMemCreate, &kept, MAPPED, &prop, 0);
    SHOW(cuMemExportToShareableHandle, &fd, kept, DESCRIPTOR, 0);
    SHOW(cuMemRelease, kept);
    prop = mapped_on(0, DESCRIPTOR);
    SHOW(cuMemCreate, &memory, MAPPED, &prop, 0);
    CUdeviceptr p = map(memory, 0);
    SHOW(cuMemsetD32_v2, p, 0x12345678, MAPPED / 4);
    SHOW(cuCtxSynchronize);
    SHOW(cuPointerGetAttribute, &kinds, CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES, p);
    SHOW(cuPointerGetAttribute, &ipc, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, p);
    printf("%llu %d\n", kinds, ipc);
    SHOW(cuMemExportToShareableHandle, NULL, memory, DESCRIPTOR, 0);
    SHOW(cuMemExportToShareableHandle, &fd, memory, DESCRIPTOR, 1);
    SHOW(cuMemExportToShareableHandle, &fd, memory, (CUmemAllocationHandleType)2, 0);
    SHOW(cuMemExportToShareableHandle, &fd, 12345, DESCRIPTOR, 0);
    SHOW(cuMemExportToShareableHandle, &fd, memory, DESCRIPTOR, 0);
    SHOW(cuMemExportToShareableHandle, &again, memory, DESCRIPTOR, 0);
    printf("different descriptors: %d\n", fd >= 0 && again >= 0 && fd != again);
    close(again);
    say(NULL, 0, fd);
    listen_to(NULL, 0);
    show_data(p, MAPPED); /* with what the other did */
    unmap(p);
    SHOW(cuMemRelease, memory);
    close(fd);
    /* The other still has it. */
    turn();
    /* Given away before it was ever mapped. */
    SHOW(cuMemCreate, &virgin, MAPPED, &prop, 0);
    SHOW(cuMemExportToShareableHandle, &unseen, virgin, DESCRIPTOR, 0);
    say(NULL, 0, unseen);
    listen_to(NULL, 0);
    SHOW(cuMemRelease, virgin);
    close(unseen);
}

static void give_by_handle(void)
{
    CUipcMemHandle handle, none;
    CUdeviceptr p = 0, pooled = 0, mine = 0, beside = 0;
    void *pinned = NULL;
    int ipc = 9;
    SHOW(cuMemAlloc_v2, &beside, 4096); /* neighbours */
    SHOW(cuMemsetD8_v2, beside, 0x77, 4096);
    SHOW(cuMemAlloc_v2, &p, PLAIN);
    SHOW(cuMemsetD8_v2, p, 0xab, PLAIN);
    SHOW(cuMemAllocHost_v2, &pinned, 4096);
    SHOW(cuMemAllocAsync, &pooled, 4096, NULL);
    SHOW(cuPointerGetAttribute, &ipc, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, p);
    printf("%d\n", ipc);
    SHOW(cuIpcGetMemHandle, NULL, p);
    SHOW(cuIpcGetMemHandle, &none, 4096);
    SHOW(cuIpcGetMemHandle, &none, pooled);
    SHOW(cuIpcGetMemHandle, &none, (CUdeviceptr)(uintptr_t)pinned);
    SHOW(cuIpcGetMemHandle, &handle, p);
    SHOW(cuIpcOpenMemHandle_v2, &mine, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    show_data(p, PLAIN);
    say(&handle, sizeof(handle), -1);
    listen_to(NULL, 0);
    show_data(p, PLAIN);
    show_data(beside, 4096);
    SHOW(cuMemFree_v2, p);
    SHOW(cuMemAlloc_v2, &p, PLAIN);
    show_data(p, PLAIN); /* nobody's */
    turn();
    SHOW(cuMemFree_v2, p);
    SHOW(cuMemFree_v2, beside);
    SHOW(cuMemFree_v2, pooled);
    SHOW(cuMemFreeHost, pinned);
}

struct events {
    CUipcEventHandle event;
    CUipcMemHandle memory;
};

static void give_events(CUfunction fn)
{
    struct events e;
    CUipcEventHandle none;
    CUevent event = NULL, plain = NULL;
    CUstream a = NULL, b = NULL;
    CUdeviceptr p = 0;
    SHOW(cuStreamCreate, &a, CU_STREAM_NON_BLOCKING);
    SHOW(cuStreamCreate, &b, CU_STREAM_NON_BLOCKING);
    SHOW(cuMemAlloc_v2, &p, 8192);
    SHOW(cuMemsetD8_v2, p, 0, 8192);
    SHOW(cuEventCreate, &event, CU_EVENT_INTERPROCESS);
    SHOW(cuEventCreate, &event, CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING);
    SHOW(cuEventCreate, &plain, CU_EVENT_DISABLE_TIMING);
    SHOW(cuIpcGetEventHandle, &none, plain);
    SHOW(cuIpcGetEventHandle, NULL, event);
    SHOW(cuIpcGetEventHandle, &e.event, event);
    SHOW(cuIpcGetMemHandle, &e.memory, p);
    say(&e, sizeof(e), -1);
    listen_to(NULL, 0);
    /* Stream a stands until b writes the second word. */
    SHOW(cuStreamWaitValue32_v2, a, p + 4096, 1, CU_STREAM_WAIT_VALUE_EQ);
    add(fn, p, p, 128, a);
    SHOW(cuEventRecord, event, a);
    SHOW(cuEventQuery, event);
    turn();
    SHOW(cuStreamWriteValue32_v2, b, p + 4096, 1, 0);
    SHOW(cuStreamSynchronize, b);
    turn();
    /* Now the other has recorded it. */
    SHOW(cuStreamWaitEvent, a, event, 0);
    add(fn, p, p, 128, a);
    SHOW(cuStreamSynchronize, a);
    SHOW(cuEventSynchronize, event);
    show_data(p, 512);
    turn();
    SHOW(cuEventDestroy_v2, event);
    SHOW(cuEventDestroy_v2, plain);
    turn();
    SHOW(cuMemFree_v2, p);
}

/* To a process that has the other device's context. */
static void give_to_the_other_device(void)
{
    CUmemGenericAllocationHandle memory = 0;
    const CUmemAllocationProp prop = mapped_on(0, DESCRIPTOR);
    CUipcMemHandle handle;
    CUdeviceptr p = 0;
    int fd = -1;
    SHOW(cuMemCreate, &memory, MAPPED, &prop, 0);
    CUdeviceptr m = map(memory, 0);
    SHOW(cuMemsetD32_v2, m, 7, MAPPED / 4);
    SHOW(cuMemAlloc_v2, &p, MIB);
    SHOW(cuMemsetD32_v2, p, 70, MIB / 4);
    SHOW(cuCtxSynchronize);
    SHOW(cuIpcGetMemHandle, &handle, p);
    SHOW(cuMemExportToShareableHandle, &fd, memory, DESCRIPTOR, 0);
    say(&handle, sizeof(handle), fd);
    listen_to(NULL, 0);
    close(fd);
    show_data(m, MAPPED);
    show_data(p, MIB);
    unmap(m);
    SHOW(cuMemRelease, memory);
    SHOW(cuMemFree_v2, p);
}

static void first(void)
{
    CUcontext context = start(0);
    CUfunction fn = load();
    turn();
    give_by_descriptor();
    give_by_handle();
    give_events(fn);
    if (n_devices > 1)
        give_to_the_other_device();
    SHOW(cuCtxDestroy_v2, context);
    say(NULL, 0, -1);
}

/* --- The second --------------------------------------------------------------------------- */

static void wrong_descriptors(void)
{
    CUmemGenericAllocationHandle memory;
    int ends[2];
    if (pipe(ends) < 0 || write(ends[1], "vgpushrd", 8) != 8)
        exit(5);
    SHOW(cuMemImportFromShareableHandle, &memory, (void *)-1, DESCRIPTOR);
    SHOW(cuMemImportFromShareableHandle, &memory, (void *)12345, DESCRIPTOR);
    SHOW(cuMemImportFromShareableHandle, &memory, (void *)(intptr_t)ends[0], DESCRIPTOR); // NOLINT
    SHOW(cuMemImportFromShareableHandle, &memory, (void *)(intptr_t)other, DESCRIPTOR);   // NOLINT
    close(ends[0]);
    close(ends[1]);
}

static void take_by_descriptor(CUfunction fn, int dev)
{
    CUmemGenericAllocationHandle memory = 0, again = 0;
    CUmemAllocationProp prop;
    int fd = listen_to(NULL, 0);
    void *shared = (void *)(intptr_t)fd; // NOLINT
    wrong_descriptors();
    SHOW(cuMemImportFromShareableHandle, NULL, shared, DESCRIPTOR);
    SHOW(cuMemImportFromShareableHandle, &memory, shared, (CUmemAllocationHandleType)2);
    SHOW(cuMemImportFromShareableHandle, &memory, shared, DESCRIPTOR);
    SHOW(cuMemImportFromShareableHandle, &again, shared, DESCRIPTOR);
    SHOW(cuMemGetAllocationPropertiesFromHandle, &prop, memory);
    printf("%d %d %d %d\n", (int)prop.type, (int)prop.requestedHandleTypes, (int)prop.location.type,
           prop.location.id);
    CUdeviceptr p = map(memory, dev), q = map(again, dev);
    SHOW(cuMemRelease, again);
    show_data(p, MAPPED);
    SHOW(cuMemsetD32_v2, p, 5, 1024);
    SHOW(cuCtxSynchronize);
    add(fn, q + MAPPED / 2, q, 1024, NULL);
    SHOW(cuCtxSynchronize);
    show_data(p, MAPPED);
    unmap(q);
    close(fd);
    turn();
    /* Whose it was has none of it any more. */
    SHOW(cuMemsetD8_v2, p, 9, 4096);
    show_data(p, MAPPED);
    unmap(p);
    SHOW(cuMemRelease, memory);
    SHOW(cuMemRelease, memory);
    say(NULL, 0, -1);
    fd = listen_to(NULL, 0);
    SHOW(cuMemImportFromShareableHandle, &memory, (void *)(intptr_t)fd, DESCRIPTOR); // NOLINT
    p = map(memory, dev);
    show_data(p, MAPPED);
    unmap(p);
    SHOW(cuMemRelease, memory);
    close(fd);
    say(NULL, 0, -1);
}

static void take_by_handle(CUfunction fn)
{
    CUipcMemHandle handle, wrong = {{0}};
    CUdeviceptr p = 0, again = 0, base = 0;
    size_t bytes = 0;
    unsigned int type = 99;
    int ipc = 9;
    listen_to(&handle, sizeof(handle));
    SHOW(cuIpcOpenMemHandle_v2, &p, wrong, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    SHOW(cuIpcOpenMemHandle_v2, NULL, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    SHOW(cuIpcOpenMemHandle_v2, &p, handle, 2);
    SHOW(cuIpcOpenMemHandle_v2, &p, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    SHOW(cuIpcOpenMemHandle, &again, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    printf("the same: %d\n", p == again);
    SHOW(cuMemGetAddressRange_v2, &base, &bytes, p + 100);
    printf("%d %zu\n", base == p, bytes);
    SHOW(cuPointerGetAttribute, &type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p);
    SHOW(cuPointerGetAttribute, &ipc, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, p);
    printf("%u %d\n", type, ipc);
    SHOW(cuIpcGetMemHandle, &wrong, p);
    SHOW(cuMemFree_v2, p);
    show_data(p, PLAIN);
    SHOW(cuMemsetD32_v2, p, 40, 1024);
    add(fn, p + MIB, p, 1024, NULL);
    SHOW(cuCtxSynchronize);
    show_data(p, PLAIN);
    SHOW(cuIpcCloseMemHandle, p);
    show_data(p, 4096);
    turn();
    SHOW(cuIpcCloseMemHandle, p + 100);
    SHOW(cuIpcCloseMemHandle, p);
    SHOW(cuIpcCloseMemHandle, p);
    SHOW(cuMemcpyDtoH_v2, &type, p, 4);
    say(NULL, 0, -1);
}

static void take_events(CUfunction fn)
{
    struct events e;
    CUipcEventHandle wrong = {{0}};
    CUevent event = NULL;
    CUstream s = NULL;
    CUdeviceptr p = 0, mine = 0;
    listen_to(&e, sizeof(e));
    SHOW(cuIpcOpenMemHandle_v2, &p, e.memory, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    SHOW(cuMemAlloc_v2, &mine, 4096);
    SHOW(cuStreamCreate, &s, CU_STREAM_NON_BLOCKING);
    SHOW(cuIpcOpenEventHandle, &event, wrong);
    SHOW(cuIpcOpenEventHandle, NULL, e.event);
    SHOW(cuIpcOpenEventHandle, &event, e.event);
    SHOW(cuEventQuery, event);
    turn();
    SHOW(cuEventQuery, event);
    SHOW(cuStreamWaitEvent, s, event, 0);
    add(fn, mine, p, 128, s);
    SHOW(cuStreamQuery, s);
    turn();
    SHOW(cuStreamSynchronize, s);
    SHOW(cuEventSynchronize, event);
    SHOW(cuEventQuery, event);
    show_data(mine, 512);
    /* The other way. */
    add(fn, p, mine, 128, s);
    SHOW(cuEventRecord, event, s);
    turn();
    SHOW(cuEventQuery, event);
    turn();
    SHOW(cuEventQuery, event);
    SHOW(cuEventDestroy_v2, event);
    SHOW(cuIpcCloseMemHandle, p);
    say(NULL, 0, -1);
}

static void take_to_the_other_device(void)
{
    CUmemGenericAllocationHandle memory = 0;
    CUipcMemHandle handle;
    CUcontext context = NULL;
    CUdeviceptr p = 0;
    int fd = listen_to(&handle, sizeof(handle));
    SHOW(cuCtxCreate_v2, &context, 0, 1);
    CUfunction fn = load();
    SHOW(cuMemImportFromShareableHandle, &memory, (void *)(intptr_t)fd, DESCRIPTOR); // NOLINT
    CUdeviceptr m = map(memory, 1);
    add(fn, m, m, 1024, NULL);
    SHOW(cuCtxSynchronize);
    SHOW(cuIpcOpenMemHandle_v2, &p, handle, 0);
    SHOW(cuIpcOpenMemHandle_v2, &p, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    add(fn, p, p, 1024, NULL);
    SHOW(cuCtxSynchronize);
    show_data(p, 8192);
    SHOW(cuIpcCloseMemHandle, p);
    unmap(m);
    SHOW(cuMemRelease, memory);
    SHOW(cuCtxDestroy_v2, context);
    close(fd);
    say(NULL, 0, -1);
}

static void second(void)
{
    listen_to(NULL, 0);
    CUcontext context = start(0);
    CUfunction fn = load();
    say(NULL, 0, -1);
    take_by_descriptor(fn, 0);
    take_by_handle(fn);
    take_events(fn);
    if (n_devices > 1)
        take_to_the_other_device();
    listen_to(NULL, 0);
    SHOW(cuCtxDestroy_v2, context);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int pair[2];
    if (argc < 2 || !cu_load(&cu, argv[1]))
        return 2;
    if (argc > 2) {
        who = "  b";
        other = (int)strtol(argv[2], NULL, 10);
        second();
        return 0;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
        return 2;
    pid_t pid = fork();
    if (pid == 0) {
        char number[16];
        snprintf(number, sizeof(number), "%d", pair[1]);
        close(pair[0]);
        execl(argv[0], argv[0], argv[1], number, (char *)NULL);
        _exit(127);
    }
    close(pair[1]);
    who = "a";
    other = pair[0];
    first();
    fflush(stdout);
    int status = 1;
    waitpid(pid, &status, 0);
    return status == 0 ? 0 : 1;
}
