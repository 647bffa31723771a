/* SPDX-License-Identifier: Apache-2.0 */
#include "graph_host.h"

#include <stdlib.h>

struct announced {
    struct announced *next;
    uint64_t seq;    /* of the message to answer */
    uint64_t launch; /* the how-manieth */
    CUstream stream; /* it goes to; set by the launch */
};

struct step {
    struct graph_functions *of;
    struct announced *first, *last;
};

/* All under the gate's lock. */
struct graph_functions {
    struct host_gate *gate; /* a reference */
    unsigned refs;          /* the graph's, and each launch's */
    uint64_t launches;
    uint32_t n;
    struct step steps[];
};

/* A launch, for what comes behind it. */
struct launch {
    struct graph_functions *of;
    uint64_t number;
};

struct graph_functions *graph_functions_new(struct worker *w, uint32_t n)
{
    struct graph_functions *f = calloc(1, sizeof(*f) + n * sizeof(f->steps[0]));
    if (!f)
        return NULL;
    f->gate = w->host;
    f->refs = 1;
    f->n = n;
    for (uint32_t i = 0; i < n; i++)
        f->steps[i].of = f;
    host_gate_lock(f->gate);
    bool room = host_gate_take(f->gate);
    host_gate_unlock(f->gate);
    if (room)
        return f;
    free(f);
    return NULL;
}

void *graph_function_step(struct graph_functions *f, uint32_t step)
{
    return &f->steps[step];
}

static struct announced *take(struct step *s)
{
    struct announced *a = s->first;
    s->first = a->next;
    if (!s->first)
        s->last = NULL;
    return a;
}

/* With the lock. Answers with RC, and waits for the client if that is a success. */
static void answer(struct graph_functions *f, struct announced *a, CUresult rc)
{
    struct host_gate *g = f->gate;
    host_gate_answer(g, a->seq, IDM_graph_host, a->stream, rc);
    free(a);
    host_gate_release(g);
}

/* Those of launches up to NUMBER, or beyond it, that nobody will come for. */
static void give_up(struct graph_functions *f, uint64_t number, bool beyond, CUresult rc)
{
    for (uint32_t i = 0; i < f->n; i++) {
        struct step *s = &f->steps[i];
        while (s->first && (beyond ? s->first->launch > number : s->first->launch <= number))
            answer(f, take(s), rc);
    }
}

/* With the lock, which it gives up. */
static void put(struct graph_functions *f)
{
    struct host_gate *g = f->gate;
    bool last = --f->refs == 0;
    if (!last) {
        host_gate_unlock(g);
        return;
    }
    free(f);
    host_gate_put(g);
}

void graph_functions_end(struct graph_functions *f)
{
    host_gate_lock(f->gate);
    for (uint32_t i = 0; i < f->n; i++) {
        /* In front may be those of launches under way. */
        struct step *s = &f->steps[i];
        struct announced **at = &s->first;
        s->last = NULL;
        while (*at) {
            struct announced *a = *at;
            if (a->launch > f->launches) {
                *at = a->next;
                answer(f, a, CUDA_ERROR_INVALID_HANDLE);
            } else {
                s->last = a;
                at = &a->next;
            }
        }
    }
    put(f);
}

void graph_function_reached(void *step)
{
    struct step *s = step;
    struct graph_functions *f = s->of;
    struct host_gate *g = f->gate;
    host_gate_lock(g);
    /* Nobody announced it: then nobody minds when the stream goes on. */
    if (s->first)
        answer(f, take(s), CUDA_SUCCESS);
    host_gate_unlock(g);
}

CUresult graph_function_announce(struct worker *w, struct graph_functions *f, uint32_t step)
{
    if (step >= f->n || !w->want_reply)
        return worker_malformed(w);
    struct announced *a = calloc(1, sizeof(*a));
    if (!a)
        return CUDA_ERROR_OUT_OF_MEMORY;
    host_gate_lock(f->gate);
    bool room = host_gate_take(f->gate);
    if (room) {
        struct step *s = &f->steps[step];
        a->seq = w->seq;
        a->launch = f->launches + 1;
        *(s->last ? &s->last->next : &s->first) = a;
        s->last = a;
    }
    host_gate_unlock(f->gate);
    if (room)
        return WORKER_ELSEWHERE;
    free(a);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* Everything the launch came to was called before. */
static void behind(CUstream stream, CUresult status, void *data)
{
    struct launch *l = data;
    struct graph_functions *f = l->of;
    (void)stream;
    host_gate_lock(f->gate);
    give_up(f, l->number, false, status != CUDA_SUCCESS ? status : CUDA_ERROR_UNKNOWN);
    put(f);
    free(l);
}

void graph_functions_launch(struct graph_functions *f, CUstream stream)
{
    host_gate_lock(f->gate);
    for (uint32_t i = 0; i < f->n; i++) {
        for (struct announced *a = f->steps[i].first; a; a = a->next) {
            if (a->launch > f->launches)
                a->stream = stream;
        }
    }
    host_gate_unlock(f->gate);
}

void graph_functions_launched(struct worker *w, struct graph_functions *f, CUstream stream,
                              CUresult rc)
{
    struct launch *l = rc == CUDA_SUCCESS ? calloc(1, sizeof(*l)) : NULL;
    host_gate_lock(f->gate);
    uint64_t number = ++f->launches;
    if (l) {
        *l = (struct launch){f, number};
        f->refs++;
    } else {
        give_up(f, number, false, rc != CUDA_SUCCESS ? rc : CUDA_ERROR_OUT_OF_MEMORY);
    }
    host_gate_unlock(f->gate);
    /* Without the lock: the driver may call at once. */
    if (!l || w->cu.cuStreamAddCallback(stream, behind, l, 0) == CUDA_SUCCESS)
        return;
    free(l);
    host_gate_lock(f->gate);
    put(f);
}
