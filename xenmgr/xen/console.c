/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What domains say on their consoles: the last KEEP bytes of each, for people
 * who want to know why one did not start, or died.
 *
 * xenconsoled gives every domain a pseudo terminal, whose name appears in
 * xenstore a moment after the domain is made. One thread reads them all, so
 * that a domain never waits for a reader and the ring has the newest bytes. A
 * domain says what it likes, as much as it likes: bytes are only kept, and what
 * leaves here is printable.
 *
 * Whoever else reads the terminal (xl console) takes bytes away from us, and we
 * from him.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "xen_driver.h"

#define KEEP       16384u
#define READ_CHUNK 4096u
/* A turn's bytes of one terminal: one that floods delays no other. */
#define TURN_CHUNKS 4
#define LOOK_MS     100
#define GIVE_UP_NS  30000000000

struct console {
    struct console *next;
    struct consoles *all;
    uint32_t domid;
    int fd;            /* -1: not there yet, or at its end */
    int64_t look_till; /* 0: it was found, or is looked for no more */
    size_t written;    /* in all; the ring has the last KEEP of it */
    char ring[KEEP];
};

struct consoles {
    pthread_t thread;
    int epoll;
    int wake; /* eventfd */
    struct xs_handle *xs;
    pthread_mutex_t lock; /* of what follows, and of every console */
    bool stop;
    struct console *first;
};

/* ---- reading ---- */

static void keep(struct console *c, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        c->ring[c->written++ % KEEP] = bytes[i];
}

/* With the lock held. */
static void read_console(struct console *c)
{
    char chunk[READ_CHUNK];
    for (int i = 0; c->fd >= 0 && i < TURN_CHUNKS; i++) {
        ssize_t n = read(c->fd, chunk, sizeof(chunk));
        if (n > 0) {
            keep(c, chunk, (size_t)n);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            close(c->fd); /* epoll forgets it */
            c->fd = -1;
        } else {
            return;
        }
    }
}

static bool is_terminal(const char *path)
{
    static const char folder[] = "/dev/pts/";
    const char *name = path + strlen(folder);
    return strncmp(path, folder, strlen(folder)) == 0 && *name && !name[strspn(name, "0123456789")];
}

/* Guests can't write this key (XSA-57), but a path is a path. With the lock held. */
static void look_for(struct console *c)
{
    char path[64];
    unsigned len;
    snprintf(path, sizeof(path), "/local/domain/%u/console/tty", c->domid);
    cleanup_free char *tty = xs_read(c->all->xs, XBT_NULL, path, &len);
    if (tty && is_terminal(tty)) {
        c->fd = open(tty, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        struct epoll_event ev = {.events = EPOLLIN};
        if (c->fd >= 0 && epoll_ctl(c->all->epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0)
            gi_cleanup_closep(&c->fd);
    }
    if (c->fd >= 0 || gi_monotonic_ns() > c->look_till)
        c->look_till = 0;
}

/* How long to wait; -1: for ever, -2: no more. */
static int one_turn(struct consoles *all)
{
    int wait = -1;
    GI_LOCK_SCOPE(&all->lock);
    if (all->stop)
        return -2;
    for (struct console *c = all->first; c; c = c->next) {
        if (c->look_till)
            look_for(c);
        if (c->look_till)
            wait = LOOK_MS;
        read_console(c);
    }
    return wait;
}

static void *consoles_main(void *arg)
{
    struct consoles *all = arg;
    struct epoll_event events[16];
    int wait;
    pthread_setname_np(pthread_self(), "consoles");
    while ((wait = one_turn(all)) != -2) {
        uint64_t n;
        if (epoll_wait(all->epoll, events, GI_ARRAY_SIZE(events), wait) < 0 && errno != EINTR)
            usleep(LOOK_MS * 1000);
        if (read(all->wake, &n, sizeof(n)) < 0 && errno != EAGAIN)
            usleep(LOOK_MS * 1000);
    }
    return NULL;
}

/* ---- all of them ---- */

static void consoles_free(struct consoles *all)
{
    while (all->first)
        console_close(all->first);
    if (all->xs)
        xs_close(all->xs);
    gi_cleanup_closep(&all->epoll);
    gi_cleanup_closep(&all->wake);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

int consoles_start(struct consoles **ret, struct gi_error *err)
{
    struct consoles *all = calloc(1, sizeof(*all));
    if (!all)
        return gi_fail_errno(err, ENOMEM, "consoles");
    pthread_mutex_init(&all->lock, NULL);
    all->epoll = epoll_create1(EPOLL_CLOEXEC);
    all->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    all->xs = xs_open(0);
    struct epoll_event ev = {.events = EPOLLIN};
    int rc = 0;
    if (all->epoll < 0 || all->wake < 0 || !all->xs ||
        epoll_ctl(all->epoll, EPOLL_CTL_ADD, all->wake, &ev) < 0)
        rc = gi_fail_errno(err, errno, "consoles");
    int why = rc < 0 ? 0 : pthread_create(&all->thread, NULL, consoles_main, all);
    if (why)
        rc = gi_fail_errno(err, why, "thread for consoles");
    if (rc < 0) {
        consoles_free(all);
        return rc;
    }
    *ret = all;
    return 0;
}

static void wake(const struct consoles *all)
{
    eventfd_write(all->wake, 1);
}

void consoles_stop(struct consoles *all)
{
    if (!all)
        return;
    {
        GI_LOCK_SCOPE(&all->lock);
        all->stop = true;
    }
    wake(all);
    pthread_join(all->thread, NULL);
    consoles_free(all);
}

/* ---- one ---- */

struct console *console_open(struct consoles *all, uint32_t domid)
{
    struct console *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->all = all;
    c->domid = domid;
    c->fd = -1;
    c->look_till = gi_monotonic_ns() + GIVE_UP_NS;
    {
        GI_LOCK_SCOPE(&all->lock);
        c->next = all->first;
        all->first = c;
    }
    wake(all);
    return c;
}

void console_close(struct console *c)
{
    if (!c)
        return;
    {
        GI_LOCK_SCOPE(&c->all->lock);
        for (struct console **at = &c->all->first; *at; at = &(*at)->next) {
            if (*at == c) {
                *at = c->next;
                break;
            }
        }
    }
    gi_cleanup_closep(&c->fd);
    free(c);
}

char *console_text(struct console *c)
{
    if (!c)
        return NULL;
    GI_LOCK_SCOPE(&c->all->lock);
    read_console(c);
    size_t n = c->written < KEEP ? c->written : KEEP;
    char *text = malloc(n + 1);
    size_t len = 0;
    for (size_t i = c->written - n; text && i < c->written; i++) {
        char b = c->ring[i % KEEP];
        if (b != '\r')
            text[len++] = (char)(b == '\n' || b == '\t' || (b >= ' ' && b <= '~') ? b : '?');
    }
    if (text)
        text[len] = '\0';
    return text;
}

void console_last_words(struct console *c, char out[CONSOLE_WORDS])
{
    cleanup_free char *text = console_text(c);
    const char *best = "";
    char *rest = text;
    out[0] = '\0';
    for (char *line; rest && (line = strsep(&rest, "\n"));) {
        /* What follows a panic is its trace. */
        bool panic = strstr(line, "Kernel panic") != NULL;
        if (line[strspn(line, " \t?")] && (panic || !strstr(best, "Kernel panic")))
            best = line;
    }
    snprintf(out, CONSOLE_WORDS, "%s", best);
}
