/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuLaunchHostFunc and cuStreamAddCallback. The worker answers when the stream
 * has got there; then one thread of ours runs the function and says so in the control
 * page, for which the stream waits. The thread is made when it is first needed. While functions
 * are outstanding it reads the completion ring as any thread that waits
 * does, so the program needs to wait for nothing; otherwise it sleeps.
 */
#include "host_function.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "handles.h"
#include "idm/graph/capture.h"

#define MAX_OUTSTANDING 2048 /* fewer than the worker takes: who adds more waits */

/* Libraries older than 2.34 have it in libpthread, which a program with one
 * thread may lack: hence weak, and by the name it has in all. */
#if defined(__x86_64__)
__asm__(".symver vg_thread_create, pthread_create@GLIBC_2.2.5");
#elif defined(__aarch64__)
__asm__(".symver vg_thread_create, pthread_create@GLIBC_2.17");
#endif
extern int vg_thread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                            void *arg) __attribute__((weak));

struct host_function {
    struct vg_ticket ticket;
    struct host_function *next;
    CUhostFn fn; /* or */
    CUstreamCallback callback;
    CUstream stream;
    void *data;
    void (*release)(void *owner); /* what FN needs is needed no more; NULL: nothing */
    void *owner;
    uint64_t order; /* what the stream waits for; 0: nothing */
};

/* With vg.lock held. */
static struct {
    pthread_cond_t begun;
    bool started;
    unsigned outstanding;               /* asked for and not run */
    struct host_function *first, *last; /* to be run, in the order the streams got there */
} host = {.begun = PTHREAD_COND_INITIALIZER};

static __thread bool running;

bool host_function_is_running(void)
{
    return running;
}

/* The child has no thread; the parent's functions are not its own. */
void host_function_forked(void)
{
    static const pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    memset(&host, 0, sizeof(host));
    memcpy(&host.begun, &cond, sizeof(cond));
    running = false;
}

static void push(struct host_function *f)
{
    f->next = NULL;
    *(host.last ? &host.last->next : &host.first) = f;
    host.last = f;
}

static void arrived(struct vg_ticket *ticket, const void *payload, uint32_t len)
{
    struct host_function *f = (struct host_function *)ticket;
    struct idm_host_function_out out; /* graph_host's is the same */
    _Static_assert(sizeof(struct idm_graph_host_out) == sizeof(out), "one for both");
    if (ticket->result == CUDA_SUCCESS) {
        if (idm_decode_host_function_out(payload, len, &out))
            f->order = out.w.order;
        else
            ticket->result = vg_nonsense();
    }
    push(f);
}

/* With the lock, given up meanwhile. */
static void run_first(void)
{
    struct host_function *f = host.first;
    host.first = f->next;
    if (!host.first)
        host.last = NULL;
    pthread_mutex_unlock(&vg.lock);
    running = true;
    if (!f->fn && !f->callback)
        ; /* a step that is switched off */
    else if (f->callback)
        f->callback(f->stream, f->ticket.result, f->data);
    else if (f->ticket.result == CUDA_SUCCESS)
        f->fn(f->data);
    running = false;
    pthread_mutex_lock(&vg.lock);
    if (f->order && vg.page)
        /* Release: the stream goes on, and sees what the function wrote. */
        atomic_store_explicit(&vg.page->host_done, f->order, memory_order_release);
    host.outstanding--;
    if (vg.waiting) /* for room */
        pthread_cond_broadcast(&vg.changed);
    if (f->release) {
        pthread_mutex_unlock(&vg.lock);
        f->release(f->owner);
        pthread_mutex_lock(&vg.lock);
    }
    free(f);
}

static void *run(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&vg.lock);
    for (;;) {
        struct vg_ticket *t;
        bool dead = atomic_load_explicit(&vg.state, memory_order_relaxed) != VG_OPEN;
        while (dead && (t = vg_withdraw(arrived)) != NULL) {
            t->result = CUDA_ERROR_DEVICE_UNAVAILABLE;
            push((struct host_function *)t);
        }
        if (host.first)
            run_first();
        else if (host.outstanding && !dead)
            vg_pump();
        else
            pthread_cond_wait(&host.begun, &vg.lock);
    }
    return NULL;
}

/* With the lock. Signals are for the program's threads. */
static CUresult start(void)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, old;
    if (host.started)
        return CUDA_SUCCESS;
    if (!vg_thread_create || pthread_attr_init(&attr) != 0)
        return CUDA_ERROR_OPERATING_SYSTEM;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    /* Of the calling thread alone, as pthread_sigmask, whose symbol is newer. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    host.started = vg_thread_create(&thread, &attr, run, NULL) == 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return host.started ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

/* One more is outstanding, or why not. */
static CUresult take_place(void)
{
    pthread_mutex_lock(&vg.lock);
    CUresult rc = start();
    while (rc == CUDA_SUCCESS && host.outstanding >= MAX_OUTSTANDING) {
        if (atomic_load_explicit(&vg.state, memory_order_relaxed) == VG_OPEN)
            vg_pump();
        else
            rc = CUDA_ERROR_DEVICE_UNAVAILABLE;
    }
    /* A context that has failed takes nothing more. */
    if (rc == CUDA_SUCCESS)
        rc = vg_sticky();
    if (rc == CUDA_SUCCESS && host.outstanding++ == 0)
        pthread_cond_signal(&host.begun);
    pthread_mutex_unlock(&vg.lock);
    return rc;
}

/* Takes F over. */
static CUresult send(struct host_function *f, uint16_t type, const struct idm_part *parts,
                     unsigned n)
{
    f->ticket.arrived = arrived;
    f->ticket.unwatched = !f->callback; /* which is told itself */
    CUresult rc = take_place();
    if (rc == CUDA_SUCCESS) {
        rc = vg_send(type, parts, n, &f->ticket);
        if (rc == CUDA_SUCCESS)
            return CUDA_SUCCESS; /* the thread's now */
        pthread_mutex_lock(&vg.lock);
        host.outstanding--;
        pthread_mutex_unlock(&vg.lock);
    }
    free(f);
    return rc;
}

CUresult host_function_send(uint16_t type, const struct idm_part *parts, unsigned n,
                            const struct host_call *call)
{
    struct host_function *f = calloc(1, sizeof(*f));
    if (!f)
        return CUDA_ERROR_OUT_OF_MEMORY;
    f->fn = call->fn;
    f->data = call->data;
    f->release = call->release;
    f->owner = call->owner;
    return send(f, type, parts, n);
}

static CUresult add(CUstream stream, CUhostFn fn, CUstreamCallback callback, void *data)
{
    struct idm_host_function_in in;
    struct idm_part parts[IDM_MAX_PARTS];
    memset(&in, 0, sizeof(in));
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!fn && !callback)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use_stream(stream, &in.w.stream));
    struct host_function *f = calloc(1, sizeof(*f));
    if (!f)
        return CUDA_ERROR_OUT_OF_MEMORY;
    f->fn = fn;
    f->callback = callback;
    f->stream = stream;
    f->data = data;
    return send(f, IDM_host_function, parts, idm_parts_host_function_in(&in, parts));
}

VG_EXPORT CUresult cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *data)
{
    CAPTURE_HOOK(cuLaunchHostFunc, stream, fn, data);
    return add(stream, fn, NULL, data);
}

VG_EXPORT CUresult cuStreamAddCallback(CUstream stream, CUstreamCallback callback, void *data,
                                       unsigned int flags)
{
    CAPTURE_HOOK(stream, stream);
    return add(stream, NULL, flags ? NULL : callback, data);
}
