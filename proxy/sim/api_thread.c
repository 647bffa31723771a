/* SPDX-License-Identifier: Apache-2.0 */
/* What belongs to a thread: its stack of contexts and its default streams. */
#include <pthread.h>
#include <stdlib.h>

#include "stream.h"

#define MAX_DEPTH   4096u
#define MAX_STREAMS 64u

struct thread {
    struct CUctx_st **stack;
    unsigned depth, room;
    struct CUstream_st *stream[MAX_STREAMS]; /* per-thread default ones, one a context */
    unsigned streams;
};

static __thread struct thread *self;
static pthread_key_t key;
static __thread bool in_callback;
static atomic_bool forked;

static void thread_free(void *data)
{
    struct thread *t = data;
    while (t->depth)
        object_put(&t->stack[--t->depth]->o);
    while (t->streams)
        object_put(&t->stream[--t->streams]->o);
    free(t->stack);
    free(t);
    self = NULL;
}

static void in_child(void)
{
    forked = true;
}

CUresult thread_init(void)
{
    if (pthread_key_create(&key, thread_free) != 0 || pthread_atfork(NULL, NULL, in_child) != 0)
        return CUDA_ERROR_OPERATING_SYSTEM;
    return CUDA_SUCCESS;
}

static struct thread *thread_self(void)
{
    if (self)
        return self;
    struct thread *t = calloc(1, sizeof(*t));
    if (!t || pthread_setspecific(key, t) != 0) {
        free(t);
        return NULL;
    }
    self = t;
    return t;
}

void sim_callback_begins(void)
{
    in_callback = true;
}

void sim_callback_ends(void)
{
    in_callback = false;
}

CUresult sim_enter(void)
{
    if (in_callback)
        return CUDA_ERROR_NOT_PERMITTED;
    return sim.ready && !forked ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

struct CUctx_st *thread_top(void)
{
    if (!self || !self->depth)
        return NULL;
    struct CUctx_st **top = &self->stack[self->depth - 1];
    if ((*top)->primary && (*top)->dead) { /* has it another life? */
        struct CUctx_st *life = context_life((*top)->device);
        if (life) {
            object_put(&(*top)->o);
            *top = life;
        }
    }
    return *top;
}

CUresult thread_push(struct CUctx_st *context)
{
    struct thread *t = thread_self();
    if (!t || t->depth == MAX_DEPTH)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (t->depth == t->room) {
        unsigned room = t->room ? t->room * 2 : 8;
        struct CUctx_st **grown = reallocarray(t->stack, room, sizeof(struct CUctx_st *));
        if (!grown)
            return CUDA_ERROR_OUT_OF_MEMORY;
        t->stack = grown;
        t->room = room;
    }
    object_hold(&context->o);
    t->stack[t->depth++] = context;
    return CUDA_SUCCESS;
}

void thread_pop(void)
{
    object_put(&self->stack[--self->depth]->o);
}

CUresult sim_context(struct CUctx_st **ret_context)
{
    TRY(sim_enter());
    struct CUctx_st *c = thread_top();
    if (!c)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (c->dead)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    TRY(c->error);
    *ret_context = c;
    return CUDA_SUCCESS;
}

static CUresult own_stream(struct CUctx_st *context, struct CUstream_st **ret_stream)
{
    struct thread *t = thread_self();
    if (!t)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (unsigned i = 0; i < t->streams;) {
        struct CUstream_st *s = t->stream[i];
        if (s->o.context == context) {
            object_hold(&s->o);
            *ret_stream = s;
            return CUDA_SUCCESS;
        }
        if (!s->o.context->dead) {
            i++;
            continue;
        }
        t->stream[i] = t->stream[--t->streams];
        object_put(&s->o);
    }
    if (t->streams == MAX_STREAMS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct CUstream_st *s = stream_new(context, CU_STREAM_DEFAULT, 0);
    if (!s)
        return CUDA_ERROR_OUT_OF_MEMORY;
    t->stream[t->streams++] = s;
    object_hold(&s->o);
    *ret_stream = s;
    return CUDA_SUCCESS;
}

CUresult sim_any_stream(CUstream stream, struct CUctx_st *context, struct CUstream_st **ret_stream)
{
    if (!stream || stream == CU_STREAM_LEGACY) {
        object_hold(&context->legacy->o);
        *ret_stream = context->legacy;
        return CUDA_SUCCESS;
    }
    if (stream == CU_STREAM_PER_THREAD)
        return own_stream(context, ret_stream);
    struct CUstream_st *s = object_find(OBJECT_STREAM, stream);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_stream = s;
    return CUDA_SUCCESS;
}

CUresult sim_stream(CUstream stream, struct CUctx_st *context, struct CUstream_st **ret_stream)
{
    struct CUstream_st *s;
    TRY(sim_any_stream(stream, context, &s));
    if (s->o.context != context) {
        object_put(&s->o);
        return CUDA_ERROR_INVALID_HANDLE;
    }
    *ret_stream = s;
    return CUDA_SUCCESS;
}
