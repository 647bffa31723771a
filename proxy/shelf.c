/* SPDX-License-Identifier: Apache-2.0 */
#include "shelf.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "broker.h"

/* Requests of one worker before others get their turn. */
#define BURST 8

struct shelf_entry {
    struct shelf_entry *next;
    struct shelf_token token;
    struct shelf_item item;
    int fd;               /* -1: none */
    struct client *owner; /* who put it; NULL: gone */
    uint32_t total;       /* holds */
    uint16_t holds[PAGE_SLOTS];
};

/*
 * May Z's shelf have one more? Half of the descriptors that the broker may have are for shelves,
 * and no shelf has more than half of what the others leave of them: however many a zone takes,
 * there are some for the next one, and for new clients.
 */
static bool has_room(const struct zone *z)
{
    struct rlimit r;
    if (z->shelf.n >= SHELF_MAX_ITEMS || getrlimit(RLIMIT_NOFILE, &r) < 0)
        return false;
    uint64_t left = r.rlim_cur / 2, others = 0;
    for (const struct zone *other = z->broker->zones; other; other = other->next)
        others += other == z ? 0 : other->shelf.n;
    return others < left && z->shelf.n < (left - others) / 2;
}

static struct shelf_entry **bucket(struct zone *z, const struct shelf_token *token)
{
    return &z->shelf.buckets[token->word[1] % SHELF_BUCKETS];
}

static struct shelf_entry *find(struct zone *z, const struct shelf_token *token)
{
    struct shelf_entry *e = *bucket(z, token);
    while (e && !shelf_token_is(&e->token, token))
        e = e->next;
    return e;
}

static void charge(struct zone *z)
{
    page_share(z->page, z->shelf.bytes > UINT64_MAX ? UINT64_MAX : (uint64_t)z->shelf.bytes);
}

static void free_entry(struct zone *z, struct shelf_entry *e)
{
    struct shelf_entry **at = bucket(z, &e->token);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    z->shelf.n--;
    z->shelf.bytes -= e->item.bytes;
    charge(z);
    if (e->fd >= 0)
        close(e->fd);
    free(e);
}

/* N holds of C's less. */
static void let_go(struct shelf_entry *e, struct client *c, uint16_t n)
{
    e->holds[c->slot] -= n;
    e->total -= n;
    if (e->owner == c && !e->holds[c->slot])
        e->owner = NULL;
    if (!e->total)
        free_entry(c->zone, e);
}

static enum gi_code put(struct client *c, struct shelf_message *m, int *fd)
{
    struct zone *z = c->zone;
    bool memory = m->item.kind == SHELF_MEMORY;
    if (m->item.kind < SHELF_MEMORY || m->item.kind > SHELF_EVENT || (memory && *fd < 0))
        return GI_INVALID_ARGUMENT;
    struct shelf_entry *e = has_room(z) ? calloc(1, sizeof(*e)) : NULL;
    if (!e) {
        z->broker_quota_refusals++;
        audit_refused(&z->audit, z->number, z->label, "the zone shares its limit of objects");
        return GI_RESOURCE_EXHAUSTED;
    }
    if (getrandom(&e->token, sizeof(e->token), 0) != (ssize_t)sizeof(e->token)) {
        free(e);
        return GI_INTERNAL;
    }
    e->token.word[0] |= 1; /* not none */
    e->item = m->item;
    e->fd = TAKE_FD(*fd);
    e->owner = c;
    e->holds[c->slot] = 1;
    e->total = 1;
    e->next = *bucket(z, &e->token);
    *bucket(z, &e->token) = e;
    z->shelf.n++;
    z->shelf.bytes += e->item.bytes;
    /* Before the worker gives up its own charge: never is it charged to nobody. */
    charge(z);
    m->token = e->token;
    return GI_OK;
}

/* *ret_fd stays the shelf's. */
static enum gi_code get(struct client *c, struct shelf_message *m, int *ret_fd)
{
    struct shelf_entry *e = find(c->zone, &m->token);
    if (!e || e->item.kind != m->item.kind || (e->item.kind != SHELF_MEMORY && !e->owner))
        return GI_NOT_FOUND;
    if (e->holds[c->slot] == UINT16_MAX)
        return GI_RESOURCE_EXHAUSTED;
    e->holds[c->slot]++;
    e->total++;
    m->item = e->item;
    *ret_fd = e->fd;
    return GI_OK;
}

static void drop(struct client *c, const struct shelf_token *token)
{
    struct shelf_entry *e = find(c->zone, token);
    if (e && e->holds[c->slot])
        let_go(e, c, 1);
}

void shelf_client_gone(struct client *c)
{
    for (unsigned i = 0; i < SHELF_BUCKETS; i++) {
        struct shelf_entry *next;
        for (struct shelf_entry *e = c->zone->shelf.buckets[i]; e; e = next) {
            next = e->next;
            if (e->holds[c->slot])
                let_go(e, c, e->holds[c->slot]);
        }
    }
}

/* FD -1: none. */
static bool answer(int socket, const struct shelf_message *m, int fd)
{
    return gi_send_fds(socket, m, sizeof(*m), &fd, fd >= 0) == (ssize_t)sizeof(*m);
}

/* One message, *ret_fd is the caller's. 1: there is one; 0: not now; -1: none will come;
 * -2: it is none. */
static int receive(int socket, struct shelf_message *ret_message, int *ret_fd)
{
    size_t nfds = 1;
    ssize_t n = gi_recv_fds(socket, ret_message, sizeof(*ret_message), ret_fd, &nfds);
    if (n == -EAGAIN)
        return 0;
    if (n == -EMSGSIZE) /* longer, with more descriptors, or none was free to receive one in */
        return -2;
    if (n <= 0)
        return -1;
    return n == (ssize_t)sizeof(*ret_message) ? 1 : -2;
}

static void end(struct client *c, const char *why)
{
    struct zone *z = c->zone;
    z->broker_protocol_errors++;
    audit_refused(&z->audit, z->number, z->label, why);
    client_end(c, why);
}

/* False: C is on its way out. */
static bool serve(struct client *c, struct shelf_message *m, int *fd)
{
    int answered = -1;
    switch (m->op) {
    case SHELF_PUT:
        m->code = put(c, m, fd);
        break;
    case SHELF_GET:
        m->code = get(c, m, &answered);
        break;
    case SHELF_DROP:
        drop(c, &m->token);
        m->code = GI_OK;
        break;
    default:
        end(c, "its worker asks the shelf for nonsense");
        return false;
    }
    if (answer(c->shelf.fd, m, answered))
        return true;
    end(c, "its worker takes no answers from the shelf");
    return false;
}

static void on_request(struct source *s, uint32_t events)
{
    struct client *c = s->owner;
    bool more = true;
    for (int i = 0; more && i < BURST; i++) {
        struct shelf_message m;
        cleanup_close int fd = -1;
        int got = receive(s->fd, &m, &fd);
        if (got == -1)
            loop_drop(c->zone->broker->loop, s); /* the worker ends: its pidfd tells */
        if (got == -2)
            end(c, "its worker says no sentence to the shelf");
        more = got == 1 && serve(c, &m, &fd);
    }
}

int shelf_attend(struct client *c, int fd, struct gi_error *err)
{
    return loop_add(c->zone->broker->loop, &c->shelf, fd, EPOLLIN, on_request, c, err);
}
