/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a graph that a client wants executable: what the decoder lets through keeps
 * to what the client has, and to its bytes. */
#include <stdlib.h>
#include <string.h>

#include "graph_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TAG         7u
#define ARENA_BYTES (1u << 20)
#define MEMORY      0x100000ull
#define MEMORY_END  0x200000ull
#define PARAMS      16u /* bytes that the function's launch must bring */

static struct zone_page page;
static struct page_slot slot;
static const struct worker_config config = {.arena_bytes = ARENA_BYTES, .tag = TAG, .page = &page};
static struct worker w = {.config = &config, .counters = &slot};
static char driver_function, driver_kernel, driver_event, driver_array;

static void own(enum idm_kind kind, uint32_t index, void *driver, uint32_t value)
{
    w.objects.places[index] = (struct worker_object){
        .id = idm_handle(kind, TAG, 1, index), .driver = driver, .value = value};
}

static void start(void)
{
    static uint8_t arena[1];
    const struct range memory = {
        .base = MEMORY, .bytes = MEMORY_END - MEMORY, .kind = RANGE_ALLOCATION};
    if (objects_init(&w.objects, 8) < 0)
        abort();
    own(IDM_KIND_function, 1, &driver_function, PARAMS);
    own(IDM_KIND_kernel, 2, &driver_kernel, PARAMS);
    own(IDM_KIND_event, 3, &driver_event, 0);
    own(IDM_KIND_array, 4, &driver_array, 0);
    w.arena = arena; /* its addresses are looked at, not what is there */
    w.ranges.max = 8;
    if (ranges_add(&w.ranges, &memory) < 0)
        abort();
}

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static bool within(const void *p, size_t bytes, const uint8_t *data, size_t size)
{
    const uint8_t *at = p;
    return bytes == 0 || (at >= data && at <= data + size && bytes <= (size_t)(data + size - at));
}

/* One side of a copy, by arithmetic that can't overflow. */
static void check_box(bool host, uint64_t at, uint64_t pitch, uint64_t rows, const CUDA_MEMCPY3D *c)
{
    unsigned __int128 end = at, plane = (unsigned __int128)pitch * rows;
    end += plane * (c->Depth - 1) + (unsigned __int128)pitch * (c->Height - 1) + c->WidthInBytes;
    HOLDS(c->Depth == 1 || rows >= c->Height);
    HOLDS(host ? end <= ARENA_BYTES : at >= MEMORY && end <= MEMORY_END);
}

static void check_copy(const CUDA_MEMCPY3D *c)
{
    const bool to_host = c->dstMemoryType == CU_MEMORYTYPE_HOST;
    const bool from_host = c->srcMemoryType == CU_MEMORYTYPE_HOST;
    const bool to_array = c->dstMemoryType == CU_MEMORYTYPE_ARRAY;
    const bool from_array = c->srcMemoryType == CU_MEMORYTYPE_ARRAY;
    const uintptr_t arena = (uintptr_t)w.arena;
    HOLDS(c->WidthInBytes && c->Height && c->Depth);
    HOLDS(c->dstArray == (to_array ? (void *)&driver_array : NULL));
    HOLDS(c->srcArray == (from_array ? (void *)&driver_array : NULL));
    if (!to_array)
        check_box(to_host, to_host ? (uintptr_t)c->dstHost - arena : c->dstDevice, c->dstPitch,
                  c->dstHeight, c);
    if (!from_array)
        check_box(from_host, from_host ? (uintptr_t)c->srcHost - arena : c->srcDevice, c->srcPitch,
                  c->srcHeight, c);
}

static void check_fill(const CUDA_MEMSET_NODE_PARAMS *f)
{
    unsigned __int128 end = f->dst, pitch = f->height > 1 ? f->pitch : 0;
    end += pitch * (f->height - 1) + (unsigned __int128)f->width * f->elementSize;
    HOLDS(f->dst >= MEMORY && end <= MEMORY_END && f->dst % f->elementSize == 0);
}

static void check_ops(const CUDA_BATCH_MEM_OP_NODE_PARAMS *o)
{
    HOLDS(o->count >= 1 && o->count <= IDM_MAX_MEMORY_OPS);
    for (unsigned i = 0; i < o->count; i++) {
        const CUstreamBatchMemOpParams *op = &o->paramArray[i];
        if (op->operation != CU_STREAM_MEM_OP_BARRIER &&
            op->operation != CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES)
            HOLDS(op->waitValue.address >= MEMORY && op->waitValue.address <= MEMORY_END - 4);
    }
}

static void check(const struct graph_step *s, uint32_t index, const uint8_t *data, size_t size)
{
    HOLDS(within(s->deps, s->n_deps * sizeof(uint32_t), data, size));
    for (uint32_t i = 0; i < s->n_deps; i++)
        HOLDS(s->deps[i] < index);
    switch (s->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        HOLDS((s->kernel.params.func == (void *)&driver_function && !s->kernel.params.kern) ||
              (s->kernel.params.kern == (void *)&driver_kernel && !s->kernel.params.func));
        HOLDS(s->kernel.params_bytes >= PARAMS && s->kernel.n_attributes <= IDM_MAX_ATTRIBUTES);
        HOLDS(within(s->kernel.extra[1], s->kernel.params_bytes, data, size));
        break;
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        check_copy(&s->copy);
        break;
    case CU_GRAPH_NODE_TYPE_MEMSET:
        check_fill(&s->fill);
        break;
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
        HOLDS(s->event == (void *)&driver_event);
        break;
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
        check_ops(&s->ops.params);
        break;
    default:
        HOLDS(s->type == CU_GRAPH_NODE_TYPE_HOST || s->type == CU_GRAPH_NODE_TYPE_EMPTY);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct graph_step s;
    struct idm_cursor c = {data, (uint32_t)size};
    if (!w.objects.places)
        start();
    for (uint32_t i = 0; worker_graph_step(&w, &c, i, &s) == CUDA_SUCCESS; i++)
        check(&s, i, data, size);
    return 0;
}
