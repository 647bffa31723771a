/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's end of the zone's shelf: asks the broker, and waits for its answer. */
#include <errno.h>
#include <poll.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "internal.h"

/* The broker answers at once: it does nothing that waits. */
#define PATIENCE_MS 5000

static bool ready(int socket, short events)
{
    struct pollfd p = {.fd = socket, .events = events};
    int n;
    do
        n = poll(&p, 1, PATIENCE_MS);
    while (n < 0 && errno == EINTR);
    return n == 1 && p.revents & events;
}

/* FD -1: none. */
static bool tell(int socket, const struct shelf_message *m, int fd)
{
    return ready(socket, POLLOUT) &&
           gi_send_fds(socket, m, sizeof(*m), &fd, fd >= 0) == (ssize_t)sizeof(*m);
}

static bool hear(int socket, struct shelf_message *ret_message, int *ret_fd)
{
    size_t nfds = 1;
    return ready(socket, POLLIN) && gi_recv_fds(socket, ret_message, sizeof(*ret_message), ret_fd,
                                                &nfds) == (ssize_t)sizeof(*ret_message);
}

/* M goes with FD, and becomes the answer with *RET_FD. */
static CUresult ask(struct worker *w, struct shelf_message *m, int fd, int *ret_fd)
{
    uint32_t op = m->op;
    if (w->shelf_lost)
        return CUDA_ERROR_OPERATING_SYSTEM;
    if (!tell(w->config->shelf, m, fd) || !hear(w->config->shelf, m, ret_fd) || m->op != op) {
        w->shelf_lost = true; /* a late answer must not be taken for the next one */
        return CUDA_ERROR_OPERATING_SYSTEM;
    }
    switch (m->code) {
    case GI_OK:
        return CUDA_SUCCESS;
    case GI_RESOURCE_EXHAUSTED:
        w->error = IDM_ERROR_QUOTA;
        worker_count(&w->counters->quota_refusals, 1);
        return CUDA_ERROR_OUT_OF_MEMORY;
    case GI_NOT_FOUND:
        return worker_refuse(w, IDM_ERROR_INVALID_HANDLE, "token of nothing its zone shares");
    default:
        return CUDA_ERROR_OPERATING_SYSTEM;
    }
}

CUresult shelf_put(struct worker *w, const struct shelf_item *item, int fd,
                   struct shelf_token *ret_token)
{
    struct shelf_message m = {.op = SHELF_PUT, .item = *item};
    cleanup_close int none = -1;
    WORKER_TRY(ask(w, &m, fd, &none));
    *ret_token = m.token;
    return CUDA_SUCCESS;
}

CUresult shelf_get(struct worker *w, const struct shelf_token *token, enum shelf_kind kind,
                   struct shelf_item *ret_item, int *ret_fd)
{
    struct shelf_message m = {.op = SHELF_GET, .token = *token, .item = {.kind = kind}};
    cleanup_close int fd = -1;
    WORKER_TRY(ask(w, &m, -1, &fd));
    /* Put there by another worker of the zone, which its client may have taken over. */
    if (m.item.dev < 0 || m.item.dev >= w->n_devices || (kind == SHELF_MEMORY && fd < 0)) {
        shelf_drop(w, token);
        return CUDA_ERROR_INVALID_VALUE;
    }
    *ret_item = m.item;
    *ret_fd = TAKE_FD(fd);
    return CUDA_SUCCESS;
}

void shelf_drop(struct worker *w, const struct shelf_token *token)
{
    /* Waited for: the client may count on what it gave back. */
    struct shelf_message m = {.op = SHELF_DROP, .token = *token};
    cleanup_close int none = -1;
    ask(w, &m, -1, &none);
}

void worker_uncharge(struct worker *w, uint64_t bytes, const struct shelf_token *shared)
{
    if (shelf_token_set(shared))
        shelf_drop(w, shared);
    else
        page_release(w->config->page, w->config->slot, bytes);
}
