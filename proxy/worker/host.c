/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions of the client's in a stream's order. The driver calls `reached` on a
 * thread of its own when the stream has got there; that tells the client and
 * waits until the client says it has run the function, and so the stream waits.
 *
 * The worker's thread has no part in that: it may be in a call of the driver's
 * that waits for the stream (a free, a full queue). So the answer goes into
 * the ring from here, and the client says in the control page how many it has run.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/io.h"
#include "internal.h"

/* As the worker itself looks for what the GPU has done. */
#define NAP_NS      (30 * 1000)
#define LONG_NS     (20 * 1000 * 1000)
#define LONG_NAP_NS (200 * 1000)

#define MAX_HELD    16

struct host_gate {
    pthread_mutex_t lock;
    struct worker *w; /* NULL: it has ended */
    uint64_t order;   /* functions the client was told of */
    unsigned refs;    /* the worker's, and each function's */
    atomic_uint n_held;
    CUstream held[MAX_HELD]; /* streams that wait for the client; others beyond aren't known */
};

struct host_function {
    struct host_gate *gate;
    CUstream stream;
    uint64_t seq;
};

struct host_gate *host_gate_new(struct worker *w)
{
    struct host_gate *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    pthread_mutex_init(&g->lock, NULL);
    g->w = w;
    g->refs = 1;
    return g;
}

void host_gate_lock(struct host_gate *g)
{
    pthread_mutex_lock(&g->lock);
}

void host_gate_unlock(struct host_gate *g)
{
    pthread_mutex_unlock(&g->lock);
}

bool host_gate_take(struct host_gate *g)
{
    bool room = g->refs <= MAX_HOST_FUNCTIONS;
    g->refs += room;
    return room;
}

void host_gate_release(struct host_gate *g)
{
    g->refs--;
}

void host_gate_put(struct host_gate *g)
{
    bool last = --g->refs == 0;
    pthread_mutex_unlock(&g->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&g->lock);
    free(g);
}

void host_gate_close(struct host_gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->w = NULL;
    host_gate_put(g);
}

/* With the lock. The client counts up only; whatever it says concerns its own streams. */
static bool has_run(const struct host_gate *g, uint64_t order)
{
    const struct idm_ring_page *page = g->w->ring;
    return atomic_load_explicit(&page->host_done, memory_order_acquire) >= order;
}

/* With the lock, given up meanwhile. */
static void wait_for_client(struct host_gate *g, uint64_t order)
{
    int64_t since = gi_monotonic_ns();
    while (g->w && !has_run(g, order)) {
        bool is_long = gi_monotonic_ns() - since > LONG_NS;
        struct timespec nap = {.tv_nsec = is_long ? LONG_NAP_NS : NAP_NS};
        pthread_mutex_unlock(&g->lock);
        nanosleep(&nap, NULL);
        pthread_mutex_lock(&g->lock);
    }
}

/* With the lock. */
static void hold(struct host_gate *g, CUstream stream)
{
    if (g->n_held < MAX_HELD)
        g->held[g->n_held++] = stream;
}

static void let_go(struct host_gate *g, CUstream stream)
{
    for (unsigned i = 0; i < g->n_held; i++) {
        if (g->held[i] == stream) {
            g->held[i] = g->held[g->n_held - 1];
            g->n_held--;
            return;
        }
    }
}

static bool holds(const struct host_gate *g, CUstream stream)
{
    for (unsigned i = 0; i < g->n_held; i++) {
        if (g->held[i] == stream)
            return true;
    }
    return false;
}

bool host_gate_holds(struct host_gate *g, const CUstream *streams, uint32_t n)
{
    bool all = n > 0;
    if (!atomic_load_explicit(&g->n_held, memory_order_relaxed))
        return false;
    host_gate_lock(g);
    for (uint32_t i = 0; i < n; i++)
        all = all && holds(g, streams[i]);
    host_gate_unlock(g);
    return all;
}

void host_gate_answer(struct host_gate *g, uint64_t seq, uint16_t type, CUstream stream,
                      CUresult status)
{
    struct idm_host_function_out out; /* graph_host's is the same */
    struct idm_part parts[IDM_MAX_PARTS];
    if (!g->w)
        return;
    memset(&out, 0, sizeof(out));
    const struct idm_reply head = {.result = (int32_t)status};
    out.w.order = g->order + (status == CUDA_SUCCESS);
    bool told =
        worker_publish(g->w, seq, type, &head, parts, idm_parts_host_function_out(&out, parts));
    /* After an error nothing in the stream runs any more: nothing waits. */
    if (!told || status != CUDA_SUCCESS)
        return;
    hold(g, stream);
    wait_for_client(g, ++g->order);
    let_go(g, stream);
}

static void reached(CUstream stream, CUresult status, void *data)
{
    struct host_function *f = data;
    struct host_gate *g = f->gate;
    (void)stream;
    pthread_mutex_lock(&g->lock);
    host_gate_answer(g, f->seq, IDM_host_function, f->stream, status);
    host_gate_put(g);
    free(f);
}

CUresult worker_host_function(struct worker *w, const struct idm_host_function_in *in,
                              struct idm_host_function_out *out)
{
    CUstream stream;
    (void)out;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    if (!w->want_reply) /* nobody would run it */
        return worker_malformed(w);
    if (!w->cu.cuStreamAddCallback)
        return CUDA_ERROR_NOT_SUPPORTED;
    struct host_function *f = malloc(sizeof(*f));
    if (!f)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *f = (struct host_function){w->host, stream, w->seq};
    host_gate_lock(w->host);
    bool room = host_gate_take(w->host);
    host_gate_unlock(w->host);
    CUresult rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (room)
        rc = w->cu.cuStreamAddCallback(stream, reached, f, 0);
    if (rc == CUDA_SUCCESS)
        return WORKER_ELSEWHERE;
    free(f);
    if (room) {
        host_gate_lock(w->host);
        host_gate_put(w->host);
    }
    return rc;
}
