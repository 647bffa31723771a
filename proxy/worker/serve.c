/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: take a record, execute it, answer if an answer is wanted; look at
 * what waits for the GPU; sleep when there is nothing. */
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "internal.h"

/* How long to look for the next record before sleeping: a wake-up costs what
 * hundreds of spinning round trips do. */
#define SPIN_NS (50 * 1000)
/* With answers outstanding: look without pause this long after something
 * happened, then in naps. */
#define EAGER_NS    (200 * 1000)
#define NAP_NS      (30 * 1000)
#define LONG_NS     (20 * 1000 * 1000)
#define LONG_NAP_NS (200 * 1000)
/* Messages between looks at stop_fd. */
#define STOP_EVERY 1024

/* Errors after which the context, or the whole device, answers nothing else. */
static bool is_sticky(CUresult rc)
{
    return rc == CUDA_ERROR_ILLEGAL_ADDRESS || rc == CUDA_ERROR_LAUNCH_TIMEOUT ||
           rc == CUDA_ERROR_ASSERT || rc == CUDA_ERROR_ECC_UNCORRECTABLE ||
           rc == CUDA_ERROR_CONTAINED ||
           (rc >= CUDA_ERROR_HARDWARE_STACK_ERROR && rc <= CUDA_ERROR_LAUNCH_FAILED);
}

static void note_sticky(struct worker *w, CUresult rc)
{
    struct idm_ring_page *page = w->ring;
    if (!is_sticky(rc))
        return;
    atomic_store_explicit(&page->sticky_context,
                          rc == CUDA_ERROR_ECC_UNCORRECTABLE ? 0 : w->context,
                          memory_order_relaxed);
    atomic_store_explicit(&page->sticky, (uint32_t)rc, memory_order_release);
}

bool worker_should_stop(struct worker *w)
{
    struct pollfd p = {.fd = w->config->stop_fd, .events = POLLIN};
    return w->config->stop_fd >= 0 && poll(&p, 1, 0) > 0;
}

/* Says it at the 1st, 2nd, 4th, 8th ... time: a hostile client writes no log. */
static void say(struct worker *w, const char *what, uint64_t times)
{
    char zone[24], client[24], count[24];
    if (times & (times - 1))
        return;
    snprintf(zone, sizeof(zone), "%" PRIu32, w->config->zone);
    snprintf(client, sizeof(client), "%" PRIu32, w->config->client);
    snprintf(count, sizeof(count), "%" PRIu64, times);
    const char *call = idm_message_name(w->type);
    gi_log(GI_LOG_WARNING, "refused", "zone", zone, "client", client, "what", what, "call",
           call ? call : "unknown", "times", count, NULL);
}

CUresult worker_refuse(struct worker *w, enum idm_error error, const char *what)
{
    _Atomic uint64_t *counter = error == IDM_ERROR_INVALID_ADDRESS ? &w->counters->refused_addresses
                                                                   : &w->counters->refused_handles;
    worker_count(counter, 1);
    say(w, what, atomic_load_explicit(counter, memory_order_relaxed));
    w->error = error;
    return error == IDM_ERROR_INVALID_ADDRESS ? CUDA_ERROR_INVALID_VALUE
                                              : CUDA_ERROR_INVALID_HANDLE;
}

CUresult worker_malformed(struct worker *w)
{
    worker_count(&w->counters->protocol_errors, 1);
    say(w, "malformed message",
        atomic_load_explicit(&w->counters->protocol_errors, memory_order_relaxed));
    w->error = IDM_ERROR_MALFORMED;
    return CUDA_ERROR_INVALID_VALUE;
}

/* A client that doesn't read its answers waits for itself. */
static void *reserve(struct worker *w, uint32_t len)
{
    void *payload;
    int rc;
    while ((rc = idm_reserve(&w->out, len, &payload)) == -IDM_FULL) {
        struct timespec nap = {.tv_nsec = NAP_NS};
        if (worker_should_stop(w))
            return NULL;
        nanosleep(&nap, NULL);
    }
    return rc == 0 ? payload : NULL;
}

bool worker_publish(struct worker *w, uint64_t seq, uint16_t type, const struct idm_reply *head,
                    const struct idm_part *parts, unsigned n)
{
    struct idm_part only = {head, sizeof(*head)};
    if (n == 0 || head->result != CUDA_SUCCESS) {
        parts = &only;
        n = 1;
    }
    uint32_t len = idm_parts_len(parts, n, idm_max_payload(w->out.size));
    uint8_t *payload = len ? reserve(w, len) : NULL;
    if (!payload)
        return false;
    idm_write_parts(payload, parts, n);
    memcpy(payload, head, sizeof(*head));
    note_sticky(w, (CUresult)head->result);
    idm_publish(&w->out, type, seq, IDM_FLAG_REPLY, len);
    return true;
}

void worker_answer(struct worker *w, uint64_t seq, uint16_t type, CUresult result,
                   const struct idm_part *parts, unsigned n)
{
    const struct idm_reply head = {
        .result = (int32_t)result, .late = (int32_t)w->late, .error = (uint32_t)w->error};
    if (w->dead)
        return;
    host_gate_lock(w->host);
    w->dead = !worker_publish(w, seq, type, &head, parts, n);
    host_gate_unlock(w->host);
    w->late = CUDA_SUCCESS;
}

static void settle(struct worker *w, const struct worker_result *r)
{
    if (r->result == WORKER_LATER) {
        worker_keep_answer(w, &r->parts[0]);
        return;
    }
    if (r->result == WORKER_ELSEWHERE)
        return;
    if (w->want_reply) {
        worker_answer(w, w->seq, w->type, r->result, r->parts, r->n_parts);
        return;
    }
    /* What ends a context every call in it says, and no call in another one. */
    if (r->result != CUDA_SUCCESS && w->late == CUDA_SUCCESS && !is_sticky(r->result))
        w->late = r->result;
    note_sticky(w, r->result);
}

static void execute(struct worker *w, const struct idm_header *h)
{
    struct worker_result r = {.result = CUDA_ERROR_INVALID_VALUE};
    const bool wanted = (h->flags & IDM_FLAG_WANT_REPLY) != 0;
    w->type = h->msg_type;
    w->seq = h->seq_num;
    w->want_reply = wanted;
    w->error = IDM_OK;
    worker_count(&w->counters->calls, 1);
    share_noted(w);
    if (h->src_zone != w->config->zone || (h->flags & IDM_FLAG_REPLY)) {
        /* Who it is, the channel says. */
        r.result = worker_malformed(w);
        w->error = IDM_ERROR_PERMISSION_DENIED;
    } else if (!w->greeted && h->msg_type != IDM_hello) {
        r.result = worker_malformed(w);
    } else {
        share_before(w, h->msg_type);
        if (!worker_dispatch(w, h->msg_type, w->record, h->payload_len, &r))
            r.result = worker_malformed(w);
    }
    w->want_reply = wanted; /* a handler may pretend, for worker_born */
    settle(w, &r);
}

/* Nothing to read, answers outstanding. */
static void linger(struct worker *w, int64_t *busy_since)
{
    int64_t now = gi_monotonic_ns();
    share_count(w, now);
    share_look(w);
    if (worker_poll_waits(w)) {
        *busy_since = now;
        return;
    }
    int64_t idle = now - *busy_since;
    if (idle < EAGER_NS) {
        /* The driver's threads, or the client, may wait for this processor. */
        sched_yield();
        for (int i = 0; i < 16 && !idm_ready(&w->in); i++)
            idm_relax();
        return;
    }
    struct idm_wait nap = {.spin_ns = 0,
                           .timeout_ns = idle < LONG_NS ? NAP_NS : LONG_NAP_NS,
                           .other_fd = w->config->stop_fd};
    idm_wait(&w->in, &nap);
}

/* The zone's share of the GPU is given back once nothing came for a while. */
static int sleep_until_message(struct worker *w)
{
    struct idm_wait wait = {.spin_ns = SPIN_NS, .timeout_ns = 0, .other_fd = w->config->stop_fd};
    if (share_wants(w)) {
        int rc = idm_wait(&w->in, &wait);
        if (rc != 0)
            return rc;
        share_leave(w);
        wait.spin_ns = 0;
    }
    wait.timeout_ns = -1;
    return idm_wait(&w->in, &wait);
}

int worker_serve(struct worker *w, struct gi_error *err)
{
    struct idm_header h;
    unsigned since_stop = 0;
    int64_t busy_since = 0;
    while (!w->goodbye && !w->dead) {
        if (++since_stop % STOP_EVERY == 0 && worker_should_stop(w))
            break;
        int rc = idm_next(&w->in, &h, w->record, w->record_room);
        if (rc < 0) {
            worker_count(&w->counters->protocol_errors, 1);
            return gi_fail(err, GI_INVALID_ARGUMENT, "the client broke its ring");
        }
        if (rc > 0) {
            execute(w, &h);
            busy_since = 0;
            if (w->waits.n_items && since_stop % 16 == 0)
                worker_poll_waits(w);
            continue;
        }
        share_rest(w);
        if (w->waits.n_items) {
            if (!busy_since)
                busy_since = gi_monotonic_ns();
            linger(w, &busy_since);
            continue;
        }
        if (sleep_until_message(w) == -IDM_GONE)
            break;
    }
    if (w->out.broken)
        return gi_fail(err, GI_INVALID_ARGUMENT, "the client broke its completion ring");
    return 0;
}
