/* SPDX-License-Identifier: Apache-2.0 */
/* Requests into the submission ring, answers out of the completion ring. */
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "client_calls.h"
#include "connection.h"
#include "context.h"
#include "handles.h"
#include "mirror.h"

#define SPIN_NS (50 * 1000)
/* Queued calls between looks at the connection: each look is a system call. */
#define LOOK_EVERY 1024

static bool is_dead(void)
{
    return atomic_load_explicit(&vg.state, memory_order_relaxed) != VG_OPEN;
}

/* With the lock held. */
static void die(void)
{
    atomic_store(&vg.state, VG_DEAD);
    if (vg.waiting)
        pthread_cond_broadcast(&vg.changed);
}

/* The agent says nothing after the hand-over: whatever comes is the end. */
static bool look_at_socket(void)
{
    struct pollfd p = {.fd = vg.sock, .events = POLLIN};
    if (poll(&p, 1, 0) > 0)
        die();
    return !is_dead();
}

/* With the lock held; gives it up meanwhile: others' answers are read by whoever waits. */
static bool wait_for_room(void)
{
    struct timespec nap = {.tv_nsec = 20 * 1000};
    pthread_mutex_unlock(&vg.lock);
    nanosleep(&nap, NULL);
    pthread_mutex_lock(&vg.lock);
    return !is_dead() && look_at_socket();
}

static bool put(uint16_t type, uint32_t flags, const struct idm_part *parts, unsigned n,
                uint32_t len)
{
    void *payload;
    int rc = idm_reserve(&vg.out, len, &payload);
    if (rc == -IDM_BROKEN)
        die();
    if (rc < 0)
        return false;
    idm_write_parts(payload, parts, n);
    idm_publish(&vg.out, type, ++vg.seq, flags, len);
    return true;
}

/* The worker has one thread: tell it when the caller's context is another one
 * than the last call's. */
static bool select_context(void)
{
    uint64_t current = vg_current();
    if (current == vg.selected)
        return true;
    const struct vg_object *o = vg_find(IDM_KIND_context, current);
    if (o && o->asleep) /* the worker may not have heard of it yet */
        current = 0;
    if (current == vg.selected)
        return true;
    struct idm_select_context_in in;
    struct idm_part part[IDM_MAX_PARTS];
    memset(&in, 0, sizeof(in));
    in.w.context = current;
    unsigned n = idm_parts_select_context_in(&in, part);
    if (!put(IDM_select_context, 0, part, n, idm_parts_len(part, n, 4096)))
        return false;
    vg.selected = current;
    return true;
}

/* With the lock held. */
static CUresult submit(uint16_t type, const struct idm_part *parts, unsigned n,
                       struct vg_ticket *ticket)
{
    uint32_t len = idm_parts_len(parts, n, idm_max_payload(vg.out.size));
    if (len == 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (++vg.since_look >= LOOK_EVERY) {
        vg.since_look = 0;
        look_at_socket();
    }
    for (;;) {
        if (is_dead())
            return CUDA_ERROR_DEVICE_UNAVAILABLE;
        if (select_context()) {
            if (ticket) {
                /* Before it is sent: another thread may read the answer. */
                ticket->seq = vg.seq + 1;
                ticket->done = false;
                ticket->next = vg.tickets;
                vg.tickets = ticket;
            }
            if (put(type, ticket ? IDM_FLAG_WANT_REPLY : 0, parts, n, len))
                return CUDA_SUCCESS;
            if (ticket)
                vg.tickets = ticket->next;
        }
        wait_for_room();
    }
}

/* With the lock held. */
static void deliver(const struct idm_header *h)
{
    struct idm_reply head;
    if (h->payload_len < sizeof(head)) {
        die();
        return;
    }
    memcpy(&head, vg.incoming.data, sizeof(head));
    if (head.late != CUDA_SUCCESS && vg.late == CUDA_SUCCESS)
        vg.late = (CUresult)head.late;
    for (struct vg_ticket **at = &vg.tickets; *at; at = &(*at)->next) {
        struct vg_ticket *t = *at;
        if (t->seq != h->seq_num)
            continue;
        *at = t->next;
        t->result = (CUresult)head.result;
        if (t->unwatched && t->result != CUDA_SUCCESS && vg.late == CUDA_SUCCESS)
            vg.late = t->result;
        if (t->answer) {
            t->answer->len = h->payload_len;
            memcpy(t->answer->data, vg.incoming.data, h->payload_len);
        }
        t->done = true;
        if (t->arrived)
            t->arrived(t, vg.incoming.data, h->payload_len);
        return;
    }
    die(); /* an answer to nothing */
}

/* With the lock held, which is given up while there is nothing to read. */
static void read_answers(void)
{
    struct idm_header h;
    const struct idm_wait how = {.spin_ns = SPIN_NS, .timeout_ns = -1, .other_fd = vg.sock};
    vg.reading = true;
    pthread_mutex_unlock(&vg.lock);
    int waited = idm_wait(&vg.in, &how);
    pthread_mutex_lock(&vg.lock);
    vg.reading = false;
    int rc = 1;
    while (!is_dead() &&
           (rc = idm_next(&vg.in, &h, vg.incoming.data, sizeof(vg.incoming.data))) > 0)
        deliver(&h);
    if (rc < 0 || waited == -IDM_GONE)
        die();
    if (vg.waiting)
        pthread_cond_broadcast(&vg.changed);
}

void vg_pump(void)
{
    if (!vg.reading) {
        read_answers();
        return;
    }
    vg.waiting++;
    pthread_cond_wait(&vg.changed, &vg.lock);
    vg.waiting--;
}

void vg_glance(void)
{
    if (!vg.reading && idm_ready(&vg.in))
        read_answers();
}

struct vg_ticket *vg_withdraw(void (*arrived)(struct vg_ticket *, const void *, uint32_t))
{
    for (struct vg_ticket **at = &vg.tickets; *at; at = &(*at)->next) {
        struct vg_ticket *t = *at;
        if (t->arrived != arrived)
            continue;
        *at = t->next;
        return t;
    }
    return NULL;
}

static CUresult await(struct vg_ticket *ticket)
{
    while (!ticket->done && !is_dead())
        vg_pump();
    if (ticket->done)
        return ticket->result;
    for (struct vg_ticket **at = &vg.tickets; *at; at = &(*at)->next) {
        if (*at == ticket) {
            *at = ticket->next;
            break;
        }
    }
    return CUDA_ERROR_DEVICE_UNAVAILABLE;
}

CUresult vg_await(struct vg_ticket *ticket)
{
    pthread_mutex_lock(&vg.lock);
    CUresult rc = await(ticket);
    pthread_mutex_unlock(&vg.lock);
    return rc;
}

CUresult vg_sticky(void)
{
    CUresult rc = (CUresult)atomic_load_explicit(&vg.page->sticky, memory_order_acquire);
    if (rc == CUDA_SUCCESS)
        return rc;
    uint64_t context = atomic_load_explicit(&vg.page->sticky_context, memory_order_relaxed);
    return context == 0 || context == vg_current() ? rc : CUDA_SUCCESS;
}

CUresult vg_queue(uint16_t type, const struct idm_part *parts, unsigned n)
{
    VG_TRY(mirror_before(type));
    pthread_mutex_lock(&vg.lock);
    CUresult rc = submit(type, parts, n, NULL);
    if (rc == CUDA_SUCCESS)
        rc = vg_sticky();
    pthread_mutex_unlock(&vg.lock);
    return rc;
}

CUresult vg_send(uint16_t type, const struct idm_part *parts, unsigned n, struct vg_ticket *ticket)
{
    VG_TRY(mirror_before(type));
    pthread_mutex_lock(&vg.lock);
    CUresult rc = submit(type, parts, n, ticket);
    pthread_mutex_unlock(&vg.lock);
    return rc;
}

CUresult vg_ask(uint16_t type, const struct idm_part *parts, unsigned n, struct vg_answer *answer)
{
    struct vg_ticket ticket = {.answer = answer};
    pthread_mutex_lock(&vg.lock);
    CUresult rc = submit(type, parts, n, &ticket);
    if (rc == CUDA_SUCCESS)
        rc = await(&ticket);
    pthread_mutex_unlock(&vg.lock);
    return rc;
}

CUresult vg_point(CUresult rc)
{
    if (rc != CUDA_SUCCESS && rc != CUDA_ERROR_NOT_READY)
        return rc;
    pthread_mutex_lock(&vg.lock);
    if (vg.late != CUDA_SUCCESS) {
        rc = vg.late;
        vg.late = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&vg.lock);
    return rc == CUDA_SUCCESS ? mirror_after() : rc;
}
