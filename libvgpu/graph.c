/* SPDX-License-Identifier: Apache-2.0 */
/* Executable graphs: made from descriptions (proto/idm/graph), launched, changed. */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "handles.h"
#include "host.h"
#include "host_function.h"
#include "load.h"
#include "memory.h"

struct vg_graph {
    atomic_uint refs; /* the executable's, and each function's of a launch under way */
    uint64_t id;
    uint64_t context;
    uint32_t n_steps;
    struct vg_step **steps;
    struct vg_step *retired;
    uint64_t launched; /* an event behind the last launch; 0: none was needed */
};

/* --- What is asked for ------------------------------------------------------------------ */

CUresult graph_enter(bool needs_context)
{
    return vg_enter(needs_context ? VG_CURRENT_CONTEXT : VG_ANY_CONTEXT);
}

CUresult graph_stream(CUstream stream, struct graph_stream *ret_stream)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(vg_use_stream(stream, &id));
    const struct vg_object *o = vg_find(IDM_KIND_stream, id);
    *ret_stream = (struct graph_stream){.key = id,
                                        .context = vg_pointer(o ? o->context : vg_current()),
                                        .legacy = !o,
                                        .blocking = !o || !(o->value & CU_STREAM_NON_BLOCKING)};
    return CUDA_SUCCESS;
}

bool graph_event(CUevent event)
{
    return vg_find(IDM_KIND_event, (uint64_t)(uintptr_t)event) != NULL;
}

/* --- Copies ------------------------------------------------------------------------------- */

enum where { NOWHERE, ON_DEVICE, IN_ARENA, PAGEABLE };

/* Pinned memory counts as the host's: then the worker knows it by its place. */
static enum where resolve(CUmemorytype type, uint64_t at, uint64_t bytes, uint64_t *ret_at)
{
    struct vg_memory m;
    const void *host = (const void *)(uintptr_t)at;
    *ret_at = at;
    if (type == CU_MEMORYTYPE_ARRAY)
        return ON_DEVICE;
    if (type != CU_MEMORYTYPE_HOST && memory_at(at, &m)) {
        if (bytes > m.bytes - (at - m.base))
            return NOWHERE;
        if (m.kind != VG_PINNED)
            return ON_DEVICE;
        host = (const char *)m.host + (at - m.base);
    } else if (type == CU_MEMORYTYPE_DEVICE) {
        return NOWHERE;
    }
    return host_in_arena(host, bytes, ret_at) ? IN_ARENA : PAGEABLE;
}

static void move(void *data)
{
    const struct graph_box *b = data;
    for (uint64_t z = 0; z < b->depth; z++) {
        for (uint64_t y = 0; y < b->height; y++)
            memmove((void *)(uintptr_t)(b->dst + z * b->dst_plane + y * b->dst_pitch),
                    (const void *)(uintptr_t)(b->src + z * b->src_plane + y * b->src_pitch),
                    b->width);
    }
}

/* The host's side of a copy through pages of the arena, in which rows are packed. */
static CUresult stage(struct vg_step *s, bool to_host)
{
    struct graph_box *b = &s->box, *h = &s->host_box;
    uint64_t plane, bytes, at;
    void *p;
    if (__builtin_mul_overflow(b->width, b->height, &plane) ||
        __builtin_mul_overflow(plane, b->depth, &bytes))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(host_stage(bytes, &p));
    s->stage = p;
    s->stage_bytes = bytes;
    *h = *b;
    at = (uint64_t)(s->stage - vg.arena);
    if (to_host) {
        h->src = (uintptr_t)p;
        b->dst = at;
        h->src_pitch = b->dst_pitch = b->width;
        h->src_plane = b->dst_plane = plane;
    } else {
        h->dst = (uintptr_t)p;
        b->src = at;
        h->dst_pitch = b->src_pitch = b->width;
        h->dst_plane = b->src_plane = plane;
    }
    s->fn = move;
    s->data = h;
    return CUDA_SUCCESS;
}

/* WAS: of the step it takes the place of. Pages that are there once stay in between: pinned
 * memory goes through them, too. */
static CUresult make_copy(const CUDA_MEMCPY3D *copy, enum vg_step_kind was, struct vg_step *s)
{
    struct graph_box *b = &s->box;
    uint64_t to_bytes, from_bytes, dst, src;
    VG_TRY(graph_box(copy, b));
    if (!graph_extent(b->dst_pitch, b->dst_plane, b, &to_bytes) ||
        !graph_extent(b->src_pitch, b->src_plane, b, &from_bytes))
        return CUDA_ERROR_INVALID_VALUE;
    enum where to = resolve(b->dst_type, b->dst, to_bytes, &dst);
    enum where from = resolve(b->src_type, b->src, from_bytes, &src);
    if (to == NOWHERE || from == NOWHERE)
        return CUDA_ERROR_INVALID_VALUE;
    if (to != ON_DEVICE && from != ON_DEVICE) {
        s->kind = VG_STEP_MOVE;
        s->host_box = *b;
        s->fn = move;
        s->data = &s->host_box;
        if (to == IN_ARENA)
            s->host_box.dst = (uintptr_t)(vg.arena + dst);
        if (from == IN_ARENA)
            s->host_box.src = (uintptr_t)(vg.arena + src);
        return CUDA_SUCCESS;
    }
    if (to == IN_ARENA && was == VG_STEP_TO_HOST) {
        b->dst = (uintptr_t)(vg.arena + dst);
        to = PAGEABLE;
    }
    if (from == IN_ARENA && was == VG_STEP_FROM_HOST) {
        b->src = (uintptr_t)(vg.arena + src);
        from = PAGEABLE;
    }
    s->dst_arena = to != ON_DEVICE;
    s->src_arena = from != ON_DEVICE;
    s->kind = to == PAGEABLE     ? VG_STEP_TO_HOST
              : from == PAGEABLE ? VG_STEP_FROM_HOST
                                 : VG_STEP_PLAIN;
    if (s->kind != VG_STEP_PLAIN)
        VG_TRY(stage(s, to == PAGEABLE));
    if (to == IN_ARENA)
        b->dst = dst;
    if (from == IN_ARENA)
        b->src = src;
    return CUDA_SUCCESS;
}

/* --- Life ------------------------------------------------------------------------------------ */

static void step_free(struct vg_step *s)
{
    if (s && s->stage)
        host_unstage(s->stage, s->stage_bytes);
    free(s);
}

static CUresult make_step(const struct graph_params *p, enum vg_step_kind was,
                          struct vg_step **ret_step)
{
    struct vg_step *s = calloc(1, sizeof(*s));
    CUresult rc = CUDA_SUCCESS;
    if (!s)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (p->type == CU_GRAPH_NODE_TYPE_HOST) {
        s->kind = VG_STEP_HOST;
        s->fn = p->host.fn;
        s->data = p->host.userData;
    } else if (p->type == CU_GRAPH_NODE_TYPE_MEMCPY) {
        rc = make_copy(&p->copy, was, s);
    }
    if (rc == CUDA_SUCCESS)
        *ret_step = s;
    else
        step_free(s);
    return rc;
}

static void free_retired(struct vg_graph *g)
{
    while (g->retired) {
        struct vg_step *s = g->retired;
        g->retired = s->retired;
        step_free(s);
    }
}

static void put(void *owner)
{
    struct vg_graph *g = owner;
    if (atomic_fetch_sub(&g->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < g->n_steps; i++)
        step_free(g->steps[i]);
    free_retired(g);
    free(g->steps);
    free(g);
}

static CUresult ask_for_graph(const struct load_request *r, struct load_answer *a)
{
    const struct idm_graph_make_in in = {.w = {.exec = r->id, .image = r->image}};
    struct idm_graph_make_out out;
    a->info_log_len = a->error_log_len = 0;
    a->info_log = a->error_log = NULL;
    a->result = vg_ask_graph_make(&in, &out, &a->answer);
    return a->result;
}

static CUresult make_steps(struct CUgraphExec_st *x, struct vg_graph *g)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < x->n_steps; i++) {
        VG_TRY(make_step(&x->steps[i].params, VG_STEP_PLAIN, &g->steps[i]));
        x->steps[i].own = g->steps[i];
        g->steps[i]->first = at;
        at += step_width(g->steps[i]);
    }
    return CUDA_SUCCESS;
}

CUresult graph_backend_make(struct CUgraphExec_st *x)
{
    const struct load_options none = {.n = 0};
    struct blob b = {.len = 0};
    struct vg_graph *g = calloc(1, sizeof(*g));
    if (!g)
        return CUDA_ERROR_OUT_OF_MEMORY;
    x->own = g;
    g->refs = 1;
    g->context = vg_current();
    g->steps = calloc(x->n_steps + 1, sizeof(struct vg_step *));
    if (!g->steps)
        return CUDA_ERROR_OUT_OF_MEMORY;
    g->n_steps = x->n_steps;
    CUresult rc = make_steps(x, g);
    if (rc == CUDA_SUCCESS)
        rc = graph_write(x, &b);
    if (rc == CUDA_SUCCESS)
        rc = load_image(IDM_KIND_graph, b.data, b.len, &none, ask_for_graph, &g->id);
    free(b.data);
    return rc;
}

static bool is_staged(const struct vg_graph *g)
{
    for (uint32_t i = 0; i < g->n_steps; i++) {
        if (g->steps[i] && g->steps[i]->stage)
            return true;
    }
    return false;
}

/* Waits until no copy is under way to or from pages of the arena that are ours. */
static void wait_for_launches(const struct vg_graph *g)
{
    const struct idm_cuEventSynchronize_in in = {.w = {.event = g->launched}};
    const struct idm_cuEventDestroy_v2_in end = {.w = {.event = g->launched}};
    struct idm_cuEventSynchronize_out out;
    struct vg_answer answer;
    if (!g->launched || !vg_find(IDM_KIND_event, g->launched))
        return; /* the context's end was theirs */
    (void)vg_ask_cuEventSynchronize(&in, &out, &answer);
    (void)vg_queue_cuEventDestroy_v2(&end);
    vg_forget(g->launched);
}

void graph_backend_end(struct CUgraphExec_st *x)
{
    struct vg_graph *g = x->own;
    if (!g)
        return;
    wait_for_launches(g);
    if (g->id && vg_find(IDM_KIND_graph, g->id)) {
        const struct idm_graph_end_in in = {.w = {.exec = g->id}};
        (void)vg_queue_graph_end(&in);
        vg_forget(g->id);
    }
    put(g);
}

/* --- Running ------------------------------------------------------------------------------------
 */

/* The worker is told of each function before the launch that comes to it. */
static CUresult announce(struct vg_graph *g, const struct vg_step *s, bool enabled)
{
    const struct idm_graph_host_in in = {.w = {.exec = g->id, .step = step_host_part(s)}};
    const struct host_call call = {
        .fn = enabled ? s->fn : NULL, .data = s->data, .release = put, .owner = g};
    struct idm_part parts[IDM_MAX_PARTS];
    atomic_fetch_add(&g->refs, 1);
    CUresult rc =
        host_function_send(IDM_graph_host, parts, idm_parts_graph_host_in(&in, parts), &call);
    if (rc != CUDA_SUCCESS)
        atomic_fetch_sub(&g->refs, 1);
    return rc;
}

/* An event behind the launch, for whoever gives the pages back. */
static CUresult mark(struct vg_graph *g, uint64_t stream)
{
    if (!g->launched) {
        struct idm_cuEventCreate_in in = {.w = {.flags = CU_EVENT_DISABLE_TIMING}};
        VG_TRY(vg_new(IDM_KIND_event, &in.w.event));
        CUresult rc = vg_queue_cuEventCreate(&in);
        if (rc != CUDA_SUCCESS) {
            vg_forget(in.w.event);
            return rc;
        }
        g->launched = in.w.event;
    }
    const struct idm_cuEventRecord_in in = {.w = {.event = g->launched, .stream = stream}};
    return vg_queue_cuEventRecord(&in);
}

CUresult graph_backend_launch(struct CUgraphExec_st *x, CUstream stream)
{
    struct vg_graph *g = x->own;
    struct idm_graph_launch_in in = {.w = {.exec = g->id}};
    VG_TRY(vg_use_stream(stream, &in.w.stream));
    if (!vg_find(IDM_KIND_graph, g->id) || vg_current() != g->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    for (uint32_t i = 0; i < g->n_steps; i++) {
        if (g->steps[i]->kind != VG_STEP_PLAIN)
            VG_TRY(announce(g, g->steps[i], x->steps[i].enabled));
    }
    VG_TRY(vg_queue_graph_launch(&in));
    return is_staged(g) ? mark(g, in.w.stream) : CUDA_SUCCESS;
}

CUresult graph_backend_upload(struct CUgraphExec_st *x, CUstream stream)
{
    const struct vg_graph *g = x->own;
    struct idm_graph_upload_in in = {.w = {.exec = g->id}};
    VG_TRY(vg_use_stream(stream, &in.w.stream));
    if (!vg_find(IDM_KIND_graph, g->id) || vg_current() != g->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    return vg_queue_graph_upload(&in);
}

/* --- Changes
 * --------------------------------------------------------------------------------------- */

static CUresult send_change(const struct vg_graph *g, const struct vg_step *s,
                            const struct graph_params *p, bool enabled)
{
    struct idm_graph_change_in in = {
        .w = {.exec = g->id, .step = step_main_part(s), .enabled = enabled}};
    struct idm_graph_change_out out;
    struct vg_answer answer;
    struct blob b = {.len = 0};
    CUresult rc = graph_write_step(p, s, &b);
    in.record = b.data;
    in.w.record_len = (uint32_t)b.len;
    if (rc == CUDA_SUCCESS)
        rc = vg_ask_graph_change(&in, &out, &answer);
    free(b.data);
    return rc;
}

CUresult graph_backend_change(struct CUgraphExec_st *x, uint32_t step,
                              const struct graph_params *params, bool enabled)
{
    struct vg_graph *g = x->own;
    struct vg_step *old = g->steps[step], *s = NULL;
    if (!vg_find(IDM_KIND_graph, g->id))
        return CUDA_ERROR_INVALID_CONTEXT;
    VG_TRY(make_step(params, old->kind, &s));
    s->first = old->first;
    CUresult rc = CUDA_SUCCESS;
    if (s->kind != old->kind) /* memory of another kind than before */
        rc = CUDA_ERROR_INVALID_VALUE;
    else if (s->kind != VG_STEP_HOST && s->kind != VG_STEP_MOVE &&
             params->type != CU_GRAPH_NODE_TYPE_EMPTY)
        rc = send_change(g, s, params, enabled);
    if (rc != CUDA_SUCCESS) {
        step_free(s);
        return rc;
    }
    if (old->stage) {
        wait_for_launches(g);
        g->launched = 0;
    }
    g->steps[step] = s;
    x->steps[step].own = s;
    old->retired = g->retired;
    g->retired = old;
    if (atomic_load(&g->refs) == 1) /* no function of a launch under way may need them */
        free_retired(g);
    return CUDA_SUCCESS;
}
