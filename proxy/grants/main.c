/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu-isolated-gpu-back: the driver domain's end of all GPU clients' channels.
 *   gpu-isolated-gpu-back ZONES-FOLDER
 *
 * gpu-proxy makes a socket ZONES-FOLDER/<zone>.sock for each zone that may have
 * clients; a zone offers each of its clients as a vchan below its own folder of
 * xenstore, readable by this domain. For each of both a child process maps what
 * the zone granted, hands it to gpu-proxy over that zone's socket, and carries
 * doorbells until either end goes.
 *
 * Invariants:
 *  B1  The zone of a client is the domain whose folder its vchan is in, which is
 *      the domain its pages are mapped from and the socket it is handed to.
 *  B2  What a zone writes is read by a child of its own; the parent reads names alone.
 *  B3  A zone has at most MAX_CLIENTS children, whatever it writes.
 *  B4  Each name is tried once: an offer that came to nothing is remembered until
 *      its node is gone. A zone that leaves more than MAX_NAMES gets no more.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xenstore.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "grants/grants.h"
#include "idm/handover_wire.h"

#define MAX_ZONES   1024u
#define MAX_CLIENTS 64u
#define MAX_NAMES   512u
#define STEP_MS     60000
#define SUFFIX      ".sock"

struct client {
    struct client *next;
    pid_t pid;          /* 0: it has ended, its node is still there */
    unsigned long name; /* its node in the zone's folder */
    bool seen;          /* in the listing that is being looked at */
};

struct zone {
    struct zone *next;
    uint32_t domid;
    struct client *clients;
    unsigned n_clients; /* with a process */
    unsigned n_names;   /* and without */
    bool seen;
};

static struct back {
    const char *folder;
    struct xs_handle *xs;
    struct zone *zones;
    unsigned n_zones;
} back;

/* ---- one client, in its own process ---- */

static int map_channel(uint32_t domid, const uint32_t *refs, struct handover_channel *ch,
                       struct gi_error *err)
{
    int rc = grants_map(domid, refs, ch->ring_bytes, &ch->ring, err);
    if (rc == 0)
        rc = grants_map(domid, refs + ch->ring_bytes / GRANTS_PAGE, ch->arena_bytes, &ch->arena,
                        err);
    ch->to_proxy = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ch->to_client = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rc == 0 && (ch->to_proxy < 0 || ch->to_client < 0))
        rc = gi_fail_errno(err, errno, "eventfd");
    return rc;
}

static int serve(uint32_t domid, unsigned long name, struct gi_error *err)
{
    char path[128], socket[PATH_MAX];
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    cleanup_free uint32_t *refs = NULL;
    cleanup_close int proxy = -1;
    snprintf(path, sizeof(path), "/local/domain/%u/" GRANTS_NODE "/%lu", domid, name);
    snprintf(socket, sizeof(socket), "%s/%u" SUFFIX, back.folder, domid);
    struct libxenvchan *chan = libxenvchan_client_init(NULL, (int)domid, path);
    if (!chan)
        return gi_fail_errno(err, errno, "vchan %s", path);
    int rc = grants_receive_offer(chan, &ch, &refs, STEP_MS, err);
    if (rc == 0)
        rc = map_channel(domid, refs, &ch, err);
    if (rc == 0)
        rc = handover_connect(socket, &proxy, err);
    if (rc == 0)
        rc = handover_offer(proxy, &ch, STEP_MS, err);
    struct gi_error why = GI_ERROR_INIT;
    int sent = grants_send_answer(chan, rc < 0 ? err : NULL, &ch, STEP_MS, rc < 0 ? &why : err);
    if (rc == 0 && sent == 0) {
        /* The worker has the memory; what we keep would outlive it. */
        gi_cleanup_closep(&ch.ring);
        gi_cleanup_closep(&ch.arena);
        ch.ring = ch.arena = -1;
        /* Whoever reads a doorbell here is the other side of the channel. */
        grants_pump(
            chan,
            &(struct grants_bells){.rings = ch.to_client, .bell = ch.to_proxy, .hangup = proxy},
            NULL);
    }
    handover_channel_close(&ch);
    libxenvchan_close(chan);
    return rc < 0 ? rc : sent;
}

static _Noreturn void child(uint32_t domid, unsigned long name, pid_t parent)
{
    struct gi_error err = GI_ERROR_INIT;
    char zone[16];
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
        _exit(1);
    snprintf(zone, sizeof(zone), "%u", domid);
    if (serve(domid, name, &err) < 0)
        gi_log(GI_LOG_WARNING, "GPU client refused", "zone", zone, "reason", err.message, NULL);
    _exit(0);
}

/* ---- what clients there are ---- */

static struct client *find_client(const struct zone *z, unsigned long name)
{
    for (struct client *c = z->clients; c; c = c->next)
        if (c->name == name)
            return c;
    return NULL;
}

/* It is there once the last of its two keys is. */
static bool is_offered(const struct zone *z, unsigned long name)
{
    char path[128];
    unsigned len;
    snprintf(path, sizeof(path), "/local/domain/%u/" GRANTS_NODE "/%lu/event-channel", z->domid,
             name);
    cleanup_free char *value = xs_read(back.xs, XBT_NULL, path, &len);
    return value != NULL;
}

static void start(struct zone *z, unsigned long name)
{
    struct client *c = calloc(1, sizeof(*c));
    pid_t parent = getpid();
    if (!c)
        return;
    c->name = name;
    c->seen = true;
    c->pid = fork();
    if (c->pid == 0)
        child(z->domid, name, parent);
    if (c->pid < 0) {
        free(c);
        return;
    }
    c->next = z->clients;
    z->clients = c;
    z->n_clients++;
    z->n_names++;
}

static void consider(struct zone *z, const char *node)
{
    char *end;
    unsigned long name = strtoul(node, &end, 10);
    if (!isdigit((unsigned char)node[0]) || *end)
        return;
    struct client *c = find_client(z, name);
    if (c)
        c->seen = true;
    else if (z->n_clients < MAX_CLIENTS && z->n_names < MAX_NAMES && is_offered(z, name))
        start(z, name);
}

/* B4: what has ended and is no longer offered. */
static void forget_ended(struct zone *z)
{
    for (struct client **at = &z->clients; *at;) {
        struct client *c = *at;
        if (c->pid || c->seen) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        z->n_names--;
        free(c);
    }
}

static void look_for_clients(struct zone *z)
{
    char path[96];
    unsigned n = 0;
    snprintf(path, sizeof(path), "/local/domain/%u/" GRANTS_NODE, z->domid);
    cleanup_free char **names = xs_directory(back.xs, XBT_NULL, path, &n);
    for (struct client *c = z->clients; c; c = c->next)
        c->seen = false;
    for (unsigned i = 0; names && i < n; i++)
        consider(z, names[i]);
    forget_ended(z);
}

static void reap(void)
{
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        for (struct zone *z = back.zones; z; z = z->next) {
            for (struct client *c = z->clients; c; c = c->next) {
                if (c->pid != pid)
                    continue;
                c->pid = 0;
                z->n_clients--;
                break;
            }
        }
    }
}

/* ---- what zones there are ---- */

static void zone_path(uint32_t domid, char out[96], char token[16])
{
    snprintf(out, 96, "/local/domain/%u/" GRANTS_NODE, domid);
    snprintf(token, 16, "%u", domid);
}

static struct zone *find_zone(uint32_t domid)
{
    for (struct zone *z = back.zones; z; z = z->next)
        if (z->domid == domid)
            return z;
    return NULL;
}

static void add_zone(uint32_t domid)
{
    char path[96], token[16];
    struct zone *z = find_zone(domid);
    if (z) {
        z->seen = true;
        return;
    }
    if (back.n_zones >= MAX_ZONES || !(z = calloc(1, sizeof(*z))))
        return;
    z->domid = domid;
    z->seen = true;
    zone_path(domid, path, token);
    /* The first event comes at once, whatever is there. */
    if (!xs_watch(back.xs, path, token))
        gi_log(GI_LOG_ERROR, "a zone can't be watched", "zone", token, NULL);
    z->next = back.zones;
    back.zones = z;
    back.n_zones++;
}

/* gpu-proxy has dropped it: its clients' sockets have ended with it. */
static void drop_zone(struct zone **at)
{
    struct zone *z = *at;
    char path[96], token[16];
    zone_path(z->domid, path, token);
    xs_unwatch(back.xs, path, token);
    *at = z->next;
    back.n_zones--;
    while (z->clients) {
        struct client *c = z->clients;
        z->clients = c->next;
        if (c->pid)
            kill(c->pid, SIGKILL);
        free(c);
    }
    free(z);
}

static void look_for_zones(void)
{
    cleanup_closedir DIR *d = opendir(back.folder);
    struct dirent *e;
    for (struct zone *z = back.zones; z; z = z->next)
        z->seen = false;
    while (d && (e = readdir(d))) {
        char *end;
        unsigned long domid = strtoul(e->d_name, &end, 10);
        if (isdigit((unsigned char)e->d_name[0]) && strcmp(end, SUFFIX) == 0 && domid > 0 &&
            domid < DOMID_FIRST_RESERVED)
            add_zone((uint32_t)domid);
    }
    for (struct zone **at = &back.zones; *at;) {
        if ((*at)->seen)
            at = &(*at)->next;
        else
            drop_zone(at);
    }
}

/* ---- the loop ---- */

static void on_watches(void)
{
    for (char **event; (event = xs_check_watch(back.xs)) != NULL; free(event)) {
        struct zone *z = find_zone((uint32_t)strtoul(event[XS_WATCH_TOKEN], NULL, 10));
        if (z)
            look_for_clients(z);
    }
}

static int run(int inotify, int signals)
{
    struct pollfd fds[3] = {
        {.fd = xs_fileno(back.xs), .events = POLLIN},
        {.fd = inotify, .events = POLLIN},
        {.fd = signals, .events = POLLIN},
    };
    char events[4096];
    struct signalfd_siginfo info;
    look_for_zones();
    for (;;) {
        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            return 1;
        if (fds[2].revents && read(signals, &info, sizeof(info)) == sizeof(info)) {
            if (info.ssi_signo != SIGCHLD)
                return 0; /* the children die with us */
            reap();
            for (struct zone *z = back.zones; z; z = z->next)
                look_for_clients(z); /* one may have waited for a place */
        }
        if (fds[1].revents && read(inotify, events, sizeof(events)) > 0)
            look_for_zones();
        if (fds[0].revents)
            on_watches();
    }
}

int main(int argc, char **argv)
{
    sigset_t set;
    gi_log_init("gpu-isolated-gpu-back", GI_LOG_INFO);
    if (argc != 2 || argv[1][0] != '/') {
        fputs("usage: gpu-isolated-gpu-back ZONES-FOLDER\n", stderr);
        return 2;
    }
    back.folder = argv[1];
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    cleanup_close int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    cleanup_close int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    back.xs = xs_open(0);
    if (signals < 0 || inotify < 0 || !back.xs ||
        inotify_add_watch(inotify, back.folder, IN_CREATE | IN_DELETE | IN_MOVED_TO) < 0) {
        gi_log(GI_LOG_ERROR, "can't start", "reason", strerror(errno), "folder", back.folder, NULL);
        return 1;
    }
    int rc = run(inotify, signals);
    xs_close(back.xs);
    return rc;
}
