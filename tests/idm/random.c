/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls at random, right ones and wrong ones, over a handful of memories, streams, events
 * and modules: every result code and every value that is no address or handle is written
 * down, and so is what is in memory. What it prints with a driver and through libvgpu must
 * be the same.
 *   random LIBCUDA SEED STEPS
 * What CUDA leaves open is left out: handles of what has been destroyed (their number may
 * be another's by now), and work in two streams on the same memory without waiting.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cu.h"
#include "demo/kernels.h"

#define SLOTS   8u
#define MAX_MEM (1u << 20)

static struct cu cu;
static uint64_t state;
static unsigned step;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below ? (state >> 11) % below : 0;
}

static bool one_in(unsigned n)
{
    return draw(n) == 0;
}

enum kind { EMPTY, DEVICE, PINNED, MANAGED, POOLED };

struct memory {
    CUdeviceptr p;
    size_t bytes;
    enum kind kind;
    unsigned stream; /* that used it last */
};

static struct memory memories[SLOTS];
static CUstream streams[SLOTS]; /* 0: the default one */
static CUevent events[SLOTS];
static bool recorded[SLOTS];
static CUmodule modules[SLOTS];
static CUfunction functions[SLOTS];
static uint8_t host[MAX_MEM];

/* --- What is written down ----------------------------------------------------------- */

static CUresult say(const char *call, unsigned slot, CUresult rc)
{
    printf("%u %s [%u]: %d\n", step, call, slot, (int)rc);
    return rc;
}

static void value(const char *what, uint64_t v)
{
    printf("  %s %" PRIu64 "\n", what, v);
}

static uint64_t sum(const uint8_t *p, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h;
}

static void show_memories(void)
{
    printf("%u synchronize: %d\n", step, (int)cu.cuCtxSynchronize());
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct memory *m = &memories[i];
        if (m->kind == EMPTY)
            continue;
        memset(host, 0xee, m->bytes);
        CUresult rc = cu.cuMemcpyDtoH_v2(host, m->p, m->bytes);
        printf("  memory %u: %d %016" PRIx64 "\n", i, (int)rc, sum(host, m->bytes));
    }
}

/* --- Choices -------------------------------------------------------------------------- */

/* What is wrong in this call: one thing at a time, for which of two is told is left open. */
static enum {
    NOTHING,
    NULL_ADDRESS,
    FAR_ADDRESS,
    NO_BYTES,
    MANY_BYTES,
    ODD_ADDRESS,
    BAD_STREAM,
    SPOILS = 40
} spoil;

/* A place in memory M for BYTES: now and then beside it. Nothing is allocated that far behind. */
static CUdeviceptr place(const struct memory *m, size_t bytes)
{
    if (spoil == NULL_ADDRESS)
        return 0;
    if (spoil == FAR_ADDRESS)
        return m->p + ((uint64_t)1 << 45);
    if (m->kind == EMPTY || bytes > m->bytes)
        return m->p;
    return m->p + draw(m->bytes - bytes + 1);
}

static size_t some_bytes(const struct memory *m)
{
    if (spoil == NO_BYTES)
        return 0;
    if (spoil == MANY_BYTES)
        return (size_t)1 << 44;
    return m->bytes ? 1 + draw(m->bytes) : 4;
}

/* A stream's slot; what used M in another one has ended. */
static unsigned stream_for(struct memory *m)
{
    unsigned s = (unsigned)draw(SLOTS);
    if (s && !streams[s])
        s = 0;
    if (m->stream != s)
        cu.cuStreamSynchronize(streams[m->stream]);
    m->stream = s;
    return s;
}

static CUstream bad_stream(void)
{
    if (one_in(2))
        return (CUstream)(uintptr_t)0x77777770;
    return modules[0] ? (CUstream)(void *)modules[0] : (CUstream)(uintptr_t)0x12340;
}

/* --- Memory ----------------------------------------------------------------------------- */

static void allocate(void)
{
    unsigned i = (unsigned)draw(SLOTS);
    struct memory *m = &memories[i];
    size_t bytes = one_in(10) ? 0 : one_in(15) ? (size_t)1 << 50 : 1 + draw(MAX_MEM);
    void *p = NULL;
    if (m->kind != EMPTY)
        return;
    enum kind kind = (enum kind)(1 + draw(4));
    CUdeviceptr d = 0;
    CUresult rc;
    unsigned s = 0;
    switch (kind) {
    case DEVICE:
        rc = say("cuMemAlloc", i, cu.cuMemAlloc_v2(&d, bytes));
        break;
    case PINNED:
        rc = say("cuMemHostAlloc", i,
                 cu.cuMemHostAlloc(&p, bytes, one_in(8) ? 0x80 : (unsigned)draw(8)));
        d = (uintptr_t)p;
        break;
    case MANAGED:
        rc = say("cuMemAllocManaged", i,
                 cu.cuMemAllocManaged(&d, bytes, one_in(8) ? 99 : 1 + (unsigned)draw(2)));
        break;
    default:
        s = (unsigned)draw(SLOTS);
        s = streams[s] ? s : 0;
        rc = say("cuMemAllocAsync", i, cu.cuMemAllocAsync(&d, bytes, streams[s]));
    }
    if (rc != CUDA_SUCCESS)
        return;
    *m = (struct memory){.kind = kind, .p = d, .bytes = bytes, .stream = s};
    /* Not what was there before: that is cleared for another client only. */
    cu.cuStreamSynchronize(streams[s]);
    value("filled", (uint64_t)cu.cuMemsetD8_v2(d, (unsigned char)i, bytes));
    cu.cuCtxSynchronize();
}

static void release(void)
{
    unsigned i = (unsigned)draw(SLOTS);
    struct memory *m = &memories[i];
    if (one_in(10)) {
        say("cuMemFree, inside", i, cu.cuMemFree_v2(m->p + (m->bytes > 1 ? 1 : 0x1000000000000)));
        return;
    }
    if (one_in(20)) {
        say("cuMemFreeHost, of nothing", i, cu.cuMemFreeHost(host));
        return;
    }
    if (m->kind == EMPTY)
        return;
    cu.cuCtxSynchronize();
    CUresult rc;
    if (m->kind == PINNED)
        rc = say("cuMemFreeHost", i, cu.cuMemFreeHost((void *)(uintptr_t)m->p));
    else if (m->kind == POOLED && one_in(2))
        rc = say("cuMemFreeAsync", i, cu.cuMemFreeAsync(m->p, streams[stream_for(m)]));
    else
        rc = say("cuMemFree", i, cu.cuMemFree_v2(m->p));
    if (rc == CUDA_SUCCESS)
        m->kind = EMPTY;
}

static void question(void)
{
    unsigned i = (unsigned)draw(SLOTS);
    const struct memory *m = &memories[i];
    CUdeviceptr base = 0, at = place(m, 1);
    size_t bytes = 0;
    uint64_t data[2] = {0};
    unsigned what = one_in(8) ? (unsigned)draw(40) : 1 + (unsigned)draw(21);
    if (m->kind == EMPTY)
        return;
    if (say("cuMemGetAddressRange", i, cu.cuMemGetAddressRange_v2(&base, &bytes, at)) ==
        CUDA_SUCCESS) {
        value("offset", at - base);
        value("bytes", bytes);
    }
    printf("  attribute %u\n", what);
    /* Identities and addresses are each side's own. */
    bool own =
        what == CU_POINTER_ATTRIBUTE_CONTEXT || what == CU_POINTER_ATTRIBUTE_DEVICE_POINTER ||
        what == CU_POINTER_ATTRIBUTE_HOST_POINTER || what == CU_POINTER_ATTRIBUTE_BUFFER_ID ||
        what == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR ||
        what == CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE ||
        what == CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR ||
        what == CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID ||
        what == CU_POINTER_ATTRIBUTE_MAPPING_SIZE; /* of a pool: its chunk's */
    if (say("cuPointerGetAttribute", i,
            cu.cuPointerGetAttribute(data, (CUpointer_attribute)what, at)) == CUDA_SUCCESS &&
        !own)
        value("is", data[0]);
}

/* --- Copies and fills ---------------------------------------------------------------- */

static void fill(void)
{
    unsigned i = (unsigned)draw(SLOTS);
    struct memory *m = &memories[i];
    unsigned unit = 1u << draw(3);
    size_t n = some_bytes(m) / unit, bytes = n * unit;
    CUdeviceptr at = place(m, bytes);
    at -= at % unit;
    if (spoil == ODD_ADDRESS)
        at++;
    if (m->kind == EMPTY || at < m->p)
        return;
    unsigned s = stream_for(m);
    CUstream stream = spoil == BAD_STREAM ? bad_stream() : streams[s];
    bool async = one_in(2);
    if (!async) /* it is the default stream's, for which not all others wait */
        cu.cuStreamSynchronize(streams[s]);
    if (unit == 1)
        say("cuMemsetD8", i,
            async ? cu.cuMemsetD8Async(at, 0x5a, n, stream) : cu.cuMemsetD8_v2(at, 0xa5, n));
    else if (unit == 2)
        say("cuMemsetD16", i,
            async ? cu.cuMemsetD16Async(at, 0x1234, n, stream) : cu.cuMemsetD16_v2(at, 0x4321, n));
    else
        say("cuMemsetD32", i,
            async ? cu.cuMemsetD32Async(at, 77, n, stream) : cu.cuMemsetD32_v2(at, 88, n));
    if (!async)
        cu.cuCtxSynchronize();
}

static void copy_host(void)
{
    unsigned i = (unsigned)draw(SLOTS);
    struct memory *m = &memories[i];
    size_t bytes = some_bytes(m);
    CUdeviceptr at = place(m, bytes);
    if (m->kind == EMPTY || bytes > MAX_MEM)
        return;
    unsigned s = stream_for(m);
    CUstream stream = spoil == BAD_STREAM ? bad_stream() : streams[s];
    bool async = one_in(2), to = one_in(2);
    void *p = one_in(30) ? NULL : host;
    if (!async)
        cu.cuStreamSynchronize(streams[s]);
    /* Without memory of the host nothing may be touched: a driver would fault. */
    if (!p && bytes)
        return;
    for (size_t k = 0; to && k < bytes; k++)
        host[k] = (uint8_t)(k * 7 + step);
    if (!to)
        memset(host, 0, MAX_MEM);
    CUresult rc = to      ? async ? cu.cuMemcpyHtoDAsync_v2(at, p, bytes, stream)
                                  : cu.cuMemcpyHtoD_v2(at, p, bytes)
                       : async ? cu.cuMemcpyDtoHAsync_v2(p, at, bytes, stream)
                          : cu.cuMemcpyDtoH_v2(p, at, bytes);
    say(to ? "to the device" : "from the device", i, rc);
    cu.cuStreamSynchronize(streams[s]);
    if (!to)
        value("sum", sum(host, bytes));
}

static void copy_device(void)
{
    unsigned i = (unsigned)draw(SLOTS), k = (unsigned)draw(SLOTS);
    struct memory *to = &memories[i], *from = &memories[k];
    if (to->kind == EMPTY || from->kind == EMPTY || i == k)
        return;
    size_t bytes = some_bytes(from);
    if (bytes > to->bytes && spoil != MANY_BYTES)
        bytes = to->bytes;
    CUdeviceptr d = place(to, bytes), f = place(from, bytes);
    cu.cuStreamSynchronize(streams[from->stream]);
    unsigned s = stream_for(to);
    from->stream = s;
    cu.cuStreamSynchronize(streams[s]);
    if (one_in(2))
        say("cuMemcpyDtoD", i, cu.cuMemcpyDtoD_v2(d, f, bytes));
    else
        say("cuMemcpyDtoDAsync", i, cu.cuMemcpyDtoDAsync_v2(d, f, bytes, streams[s]));
    cu.cuStreamSynchronize(streams[s]);
    cu.cuCtxSynchronize();
}

static void copy_plane(void)
{
    unsigned i = (unsigned)draw(SLOTS);
    struct memory *m = &memories[i];
    if (m->kind == EMPTY)
        return;
    size_t pitch = 1 + draw(300), width = one_in(8) ? pitch + draw(4) : draw(pitch + 1);
    size_t height = draw(m->bytes / pitch + (one_in(10) ? 3 : 1));
    if (pitch * (height + 1) > MAX_MEM)
        return;
    CUDA_MEMCPY2D c = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                       .srcHost = host,
                       .srcPitch = one_in(5) ? 0 : pitch,
                       .dstMemoryType = one_in(20) ? (CUmemorytype)9 : CU_MEMORYTYPE_DEVICE,
                       .dstDevice = m->p,
                       .dstPitch = pitch,
                       .dstXInBytes = one_in(5) ? draw(4) : 0,
                       .WidthInBytes = width,
                       .Height = height};
    for (size_t k = 0; k < MAX_MEM; k++)
        host[k] = (uint8_t)(k + step);
    cu.cuCtxSynchronize();
    say("cuMemcpy2D", i, cu.cuMemcpy2D_v2(&c));
    cu.cuCtxSynchronize();
}

/* --- Streams and events ------------------------------------------------------------------ */

static void stream_calls(void)
{
    unsigned i = 1 + (unsigned)draw(SLOTS - 1);
    unsigned flags = 0;
    int priority = 0;
    if (!streams[i]) {
        CUstream fresh = NULL;
        CUresult rc = one_in(2) ? cu.cuStreamCreate(&fresh, one_in(8) ? 7 : (unsigned)draw(2))
                                : cu.cuStreamCreateWithPriority(&fresh, (unsigned)draw(2),
                                                                (int)draw(20) - 10);
        if (say("cuStreamCreate", i, rc) == CUDA_SUCCESS)
            streams[i] = fresh;
        return;
    }
    switch (draw(5)) {
    case 0:
        for (unsigned k = 0; k < SLOTS; k++)
            memories[k].stream = memories[k].stream == i ? 0 : memories[k].stream;
        cu.cuStreamSynchronize(streams[i]);
        say("cuStreamDestroy", i, cu.cuStreamDestroy_v2(streams[i]));
        streams[i] = NULL;
        break;
    case 1:
        say("cuStreamSynchronize", i, cu.cuStreamSynchronize(streams[i]));
        say("cuStreamQuery", i, cu.cuStreamQuery(streams[i]));
        break;
    case 2:
        say("cuStreamGetFlags", i, cu.cuStreamGetFlags(streams[i], &flags));
        say("cuStreamGetPriority", i, cu.cuStreamGetPriority(streams[i], &priority));
        value("flags", flags);
        value("priority", (uint64_t)(unsigned)priority);
        break;
    case 3:
        say("cuStreamSynchronize, of no stream", i, cu.cuStreamSynchronize(bad_stream()));
        say("cuStreamGetFlags, nowhere", i, cu.cuStreamGetFlags(streams[i], NULL));
        break;
    default: { /* one wrong thing at a time: which of two is told is left open */
        unsigned e = (unsigned)draw(SLOTS), wrong = (unsigned)draw(8);
        say("cuStreamWaitEvent", i,
            cu.cuStreamWaitEvent(streams[i], wrong == 1 ? (CUevent)(void *)streams[i] : events[e],
                                 events[e] && wrong == 2 ? 5 : 0));
    }
    }
}

static void event_calls(void)
{
    unsigned i = (unsigned)draw(SLOTS), k = (unsigned)draw(SLOTS);
    float ms;
    if (!events[i]) {
        CUevent fresh = NULL;
        if (say("cuEventCreate", i, cu.cuEventCreate(&fresh, one_in(8) ? 64 : (unsigned)draw(4))) ==
            CUDA_SUCCESS) {
            events[i] = fresh;
            recorded[i] = false;
        }
        return;
    }
    switch (draw(5)) {
    case 0:
        say("cuEventDestroy", i, cu.cuEventDestroy_v2(events[i]));
        events[i] = NULL;
        break;
    case 1:
        recorded[i] |=
            say("cuEventRecord", i,
                cu.cuEventRecord(events[i], one_in(10) ? bad_stream() : streams[draw(SLOTS)])) ==
            CUDA_SUCCESS;
        break;
    case 2:
        say("cuEventSynchronize", i, cu.cuEventSynchronize(events[i]));
        say("cuEventQuery", i, cu.cuEventQuery(events[i]));
        break;
    case 3: /* how long it took is another matter */
        cu.cuCtxSynchronize();
        if (events[k])
            say("cuEventElapsedTime", i, cu.cuEventElapsedTime_v2(&ms, events[i], events[k]));
        break;
    default:
        say("cuEventQuery, of no event", i, cu.cuEventQuery((CUevent)(void *)streams[1]));
    }
}

/* --- Modules and launches --------------------------------------------------------------- */

static void module_calls(void)
{
    static const char *const images[] = {PTX_HEADER PTX_VEC_ADD, PTX_HEADER PTX_SAXPY,
                                         PTX_HEADER ".visible .entry k() { nonsense; }",
                                         "no image at all", PTX_HEADER PTX_SAXPY PTX_VEC_ADD};
    static const char *const names[] = {"vec_add", "saxpy", "nobody", ""};
    unsigned i = (unsigned)draw(SLOTS);
    if (!modules[i]) {
        CUmodule fresh = NULL;
        if (say("cuModuleLoadData", i, cu.cuModuleLoadData(&fresh, images[draw(5)])) ==
            CUDA_SUCCESS)
            modules[i] = fresh;
        return;
    }
    if (one_in(5)) {
        cu.cuCtxSynchronize();
        say("cuModuleUnload", i, cu.cuModuleUnload(modules[i]));
        modules[i] = NULL;
        functions[i] = NULL;
        return;
    }
    CUfunction fn = NULL;
    const char *name = names[draw(4)];
    CUmodule from = one_in(12) ? (CUmodule)(void *)streams[1] : modules[i];
    /* A name that is another one in this slot has other parameters: it is asked for only. */
    if (say("cuModuleGetFunction", i, cu.cuModuleGetFunction(&fn, from, name)) == CUDA_SUCCESS &&
        strcmp(name, "saxpy") == 0)
        functions[i] = fn;
}

static void attributes(void)
{
    unsigned i = (unsigned)draw(SLOTS);
    int v = 0;
    if (!functions[i])
        return;
    CUfunction_attribute what = (CUfunction_attribute)draw(one_in(6) ? 30 : 16);
    if (one_in(3)) {
        int to = one_in(4) ? -5 : one_in(4) ? 1 << 20 : (int)draw(100000);
        printf("  attribute %d to %d\n", (int)what, to);
        say("cuFuncSetAttribute", i, cu.cuFuncSetAttribute(functions[i], what, to));
    }
    printf("  attribute %d\n", (int)what);
    if (say("cuFuncGetAttribute", i, cu.cuFuncGetAttribute(&v, what, functions[i])) == CUDA_SUCCESS)
        value("is", (uint64_t)(unsigned)v);
    int blocks = 0;
    if (say("cuOccupancy", i,
            cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                &blocks, functions[i], (int)draw(1200) - 50, draw(60000))) == CUDA_SUCCESS)
        value("blocks", (uint64_t)(unsigned)blocks);
}

static void launch(void)
{
    unsigned i = (unsigned)draw(SLOTS);
    unsigned x = (unsigned)draw(SLOTS), y = (unsigned)draw(SLOTS);
    struct memory *mx = &memories[x], *my = &memories[y];
    if (!functions[i] || mx->kind == EMPTY || my->kind == EMPTY || x == y)
        return;
    size_t n = (mx->bytes < my->bytes ? mx->bytes : my->bytes) / 4;
    if (mx->p % 4 || my->p % 4)
        return;
    float a = 1;
    CUdeviceptr px = mx->p, py = my->p;
    uint32_t count = (uint32_t)n;
    void *params[] = {&a, &px, &py, &count};
    unsigned wrong = (unsigned)draw(24);
    unsigned block = wrong == 1 ? 0 : wrong == 2 ? 2000 : 32 * (1 + (unsigned)draw(8));
    unsigned grid = wrong == 3 ? 0 : block ? (count + block - 1) / block + (unsigned)draw(2) : 1;
    unsigned shared = wrong == 4 ? 300000 : one_in(4) ? (unsigned)draw(49152) : 0;
    cu.cuStreamSynchronize(streams[mx->stream]);
    unsigned s = stream_for(my);
    mx->stream = s;
    CUfunction fn = wrong == 5 ? (CUfunction)(void *)streams[1] : functions[i];
    say("cuLaunchKernel", i,
        cu.cuLaunchKernel(fn, grid, 1, 1, block, 1, 1, shared,
                          wrong == 6 ? bad_stream() : streams[s], wrong == 7 ? NULL : params,
                          NULL));
}

/* --- All of it ------------------------------------------------------------------------------ */

static void (*const calls[])(void) = {
    allocate,  allocate,  release,      question,     fill,         fill,
    copy_host, copy_host, copy_device,  copy_plane,   stream_calls, event_calls,
    launch,    launch,    module_calls, module_calls, attributes};

int main(int argc, char **argv)
{
    CUcontext context;
    if (argc != 4 || !cu_load(&cu, argv[1]))
        return 2;
    state = 0x9e3779b97f4a7c15u * (strtoull(argv[2], NULL, 10) + 1);
    unsigned long steps = strtoul(argv[3], NULL, 10);
    if (cu.cuInit(0) != CUDA_SUCCESS || cu.cuCtxCreate_v2(&context, 0, 0) != CUDA_SUCCESS)
        return 1;
    for (step = 0; step < steps; step++) {
        spoil = draw(SPOILS);
        calls[draw(sizeof(calls) / sizeof(calls[0]))]();
        if (step % 64 == 63)
            show_memories();
    }
    show_memories();
    printf("end: %d\n", (int)cu.cuCtxDestroy_v2(context));
    return 0;
}
