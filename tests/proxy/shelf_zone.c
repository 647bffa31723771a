/* SPDX-License-Identifier: Apache-2.0 */
#include "shelf_zone.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/io.h"

static bool add_client(struct shelf_zone *s, unsigned i)
{
    int pair[2];
    struct client *c = calloc(1, sizeof(*c));
    if (!c || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        free(c);
        return false;
    }
    c->zone = &s->zone;
    c->id = i + 1;
    c->slot = i;
    c->handover = c->status = c->worker = c->log.source = SOURCE_OFF;
    c->log.loop = s->broker.loop;
    c->state = CLIENT_RUNNING;
    c->next = s->zone.clients;
    s->zone.clients = c;
    s->zone.n_clients++;
    s->broker.n_clients++;
    s->clients[i] = c;
    s->worker[i] = pair[1];
    return shelf_attend(c, pair[0], NULL) == 0;
}

bool shelf_zone_open(struct shelf_zone *s, uint32_t number)
{
    memset(s, 0, sizeof(*s));
    s->broker.options = &s->options;
    s->broker.signals = s->broker.control = s->broker.share.timer = SOURCE_OFF;
    s->broker.tick = SOURCE_OFF;
    s->broker.tick.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    s->broker.zones = &s->zone;
    s->zone.broker = &s->broker;
    s->zone.number = number;
    s->zone.audit.told.zone = number;
    s->zone.listener = s->zone.share.bell = SOURCE_OFF;
    bool good = s->broker.tick.fd >= 0 && loop_new(&s->broker.loop, NULL) == 0 &&
                page_create("shelf", 1 << 30, 1, &s->zone.page_fd, &s->zone.page, NULL) == 0;
    for (unsigned i = 0; good && i < SHELF_CLIENTS; i++)
        good = add_client(s, i);
    return good;
}

void shelf_zone_close(struct shelf_zone *s)
{
    for (unsigned i = 0; i < SHELF_CLIENTS; i++) {
        if (shelf_zone_has(s, i))
            client_end(s->clients[i], "the test is over");
        close(s->worker[i]);
    }
    page_unmap(s->zone.page);
    close(s->zone.page_fd);
    close(s->broker.tick.fd);
    loop_free(s->broker.loop);
}

bool shelf_zone_has(const struct shelf_zone *s, unsigned i)
{
    const struct client *c = s->zone.clients;
    while (c && c != s->clients[i])
        c = c->next;
    return c != NULL;
}

void shelf_zone_step(struct shelf_zone *s, unsigned i)
{
    if (shelf_zone_has(s, i) && s->clients[i]->shelf.fd >= 0)
        s->clients[i]->shelf.ready(&s->clients[i]->shelf, EPOLLIN);
}

bool shelf_send(struct shelf_zone *s, unsigned i, const void *bytes, size_t len, int fd,
                unsigned nfds)
{
    const int fds[4] = {fd, fd, fd, fd};
    return gi_send_fds(s->worker[i], bytes, len, fds, nfds) == (ssize_t)len;
}

bool shelf_answer(struct shelf_zone *s, unsigned i, struct shelf_message *ret_message, int *ret_fd)
{
    size_t nfds = 1;
    *ret_fd = -1;
    return gi_recv_fds(s->worker[i], ret_message, sizeof(*ret_message), ret_fd, &nfds) ==
           (ssize_t)sizeof(*ret_message);
}
