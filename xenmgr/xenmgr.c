/* SPDX-License-Identifier: Apache-2.0 */
/* Handles, references, and the thread that watches for death. */
#include "xenmgr.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "driver.h"

typedef void (*watch_fn)(void *data, struct machine *m, const char *reason);

struct machine {
    struct machine *next;
    struct xenmgr *mgr;
    char *id;
    struct machine_facts facts;
    pthread_mutex_t serial; /* one driver call at a time */
    /* under mgr->mu: */
    unsigned refs;
    watch_fn fn; /* NULL: not watched, or told already */
    void *data;
    bool calling; /* the watch thread is inside fn */
};

struct xenmgr {
    const struct driver *driver;
    void *state;
    pthread_t thread;
    int wake;
    pthread_mutex_t mu;
    pthread_cond_t called;
    struct machine *machines;
    bool stop;
};

bool machine_id_valid(const char *id)
{
    if (!id)
        return false;
    size_t n = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    return n > 0 && n <= 128 && id[n] == '\0' && id[0] != '.' && id[0] != '-';
}

static int check_id(const char *id, struct gi_error *err)
{
    return machine_id_valid(id) ? 0 : gi_fail(err, GI_INVALID_ARGUMENT, "bad machine id");
}

/* ---- the watch thread ---- */

static void wake(struct xenmgr *mgr)
{
    uint64_t one = 1;
    ssize_t n = write(mgr->wake, &one, sizeof(one));
    (void)n;
}

/* With mu held. */
static void unref(struct machine *m)
{
    if (--m->refs > 0)
        return;
    for (struct machine **at = &m->mgr->machines; *at; at = &(*at)->next) {
        if (*at == m) {
            *at = m->next;
            break;
        }
    }
    m->mgr->driver->release(m->mgr->state, &m->facts);
    pthread_mutex_destroy(&m->serial);
    free(m->facts.netns);
    free(m->id);
    free(m);
}

/* With mu held, which it drops while the callback runs. */
static void tell_death(struct machine *m)
{
    struct xenmgr *mgr = m->mgr;
    watch_fn fn = m->fn;
    void *data = m->data;
    m->fn = NULL;
    m->calling = true;
    m->refs++;
    pthread_mutex_unlock(&mgr->mu);
    char reason[MACHINE_REASON] = "its first process ended";
    if (mgr->driver->why_ended)
        mgr->driver->why_ended(mgr->state, &m->facts, reason);
    fn(data, m, reason);
    pthread_mutex_lock(&mgr->mu);
    m->calling = false;
    pthread_cond_broadcast(&mgr->called);
    unref(m);
}

/* With mu held: the descriptors to poll; the caller frees. */
static struct pollfd *watched(const struct xenmgr *mgr, nfds_t *ret_n)
{
    nfds_t n = 1;
    for (struct machine *m = mgr->machines; m; m = m->next)
        n += m->fn != NULL;
    struct pollfd *fds = calloc(n, sizeof(*fds));
    if (!fds)
        return NULL;
    n = 0;
    fds[n++] = (struct pollfd){.fd = mgr->wake, .events = POLLIN};
    for (struct machine *m = mgr->machines; m; m = m->next) {
        if (m->fn)
            fds[n++] = (struct pollfd){.fd = m->facts.death_fd, .events = POLLIN};
    }
    *ret_n = n;
    return fds;
}

static bool is_dead(const struct machine *m)
{
    struct pollfd p = {.fd = m->facts.death_fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

/* With mu held. From the start again after each: the list may have changed. */
static void tell_all(struct xenmgr *mgr)
{
    struct machine *m = mgr->machines;
    while (m) {
        if (m->fn && is_dead(m)) {
            tell_death(m);
            m = mgr->machines;
        } else {
            m = m->next;
        }
    }
}

static void *watch_thread(void *data)
{
    struct xenmgr *mgr = data;
    pthread_mutex_lock(&mgr->mu);
    while (!mgr->stop) {
        nfds_t n = 0;
        struct pollfd *fds = watched(mgr, &n);
        pthread_mutex_unlock(&mgr->mu);
        if (fds)
            poll(fds, n, -1);
        else
            usleep(100000);
        uint64_t count;
        if (fds && fds[0].revents && read(mgr->wake, &count, sizeof(count)) < 0)
            usleep(1000);
        free(fds);
        pthread_mutex_lock(&mgr->mu);
        tell_all(mgr);
    }
    pthread_mutex_unlock(&mgr->mu);
    return NULL;
}

/* ---- manager ---- */

static int choose_driver(const char *name, const struct driver **ret, struct gi_error *err)
{
    if (name && strcmp(name, "local") == 0) {
        *ret = &local_driver;
        return 0;
    }
    if (name && strcmp(name, "xen") == 0) {
#ifdef GI_HAVE_XEN
        *ret = &xen_driver;
        return 0;
#else
        return gi_fail(err, GI_UNIMPLEMENTED,
                       "driver \"xen\" is not in this build; driver \"local\" runs pods in Linux "
                       "namespaces, without a security boundary");
#endif
    }
    return gi_fail(err, GI_INVALID_ARGUMENT, "unknown machine driver \"%.40s\"", name ? name : "");
}

static int check_config(const struct xenmgr_config *c, struct gi_error *err)
{
    if (!c->run_dir || c->run_dir[0] != '/' || !c->state_dir || c->state_dir[0] != '/')
        return gi_fail(err, GI_INVALID_ARGUMENT, "run_dir and state_dir must be absolute paths");
    return 0;
}

int xenmgr_open(const struct xenmgr_config *config, struct xenmgr **ret_mgr, struct gi_error *err)
{
    const struct driver *driver = NULL;
    int rc = choose_driver(config->driver, &driver, err);
    if (rc == 0)
        rc = check_config(config, err);
    if (rc < 0)
        return rc;
    struct xenmgr *mgr = calloc(1, sizeof(*mgr));
    if (!mgr)
        return gi_fail_errno(err, ENOMEM, "xenmgr");
    mgr->driver = driver;
    mgr->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = mgr->wake < 0 ? gi_fail_errno(err, errno, "eventfd")
                       : driver->open(config, &mgr->state, err);
    if (rc < 0) {
        gi_cleanup_closep(&mgr->wake);
        free(mgr);
        return rc;
    }
    pthread_mutex_init(&mgr->mu, NULL);
    pthread_cond_init(&mgr->called, NULL);
    rc = pthread_create(&mgr->thread, NULL, watch_thread, mgr);
    if (rc) {
        driver->close(mgr->state);
        close(mgr->wake);
        free(mgr);
        return gi_fail_errno(err, rc, "watch thread");
    }
    *ret_mgr = mgr;
    return 0;
}

void xenmgr_close(struct xenmgr *mgr)
{
    if (!mgr)
        return;
    pthread_mutex_lock(&mgr->mu);
    mgr->stop = true;
    pthread_mutex_unlock(&mgr->mu);
    wake(mgr);
    pthread_join(mgr->thread, NULL);
    mgr->driver->close(mgr->state);
    close(mgr->wake);
    pthread_cond_destroy(&mgr->called);
    pthread_mutex_destroy(&mgr->mu);
    free(mgr);
}

bool xenmgr_shares_host(const struct xenmgr *mgr)
{
    return mgr->driver->shares_host;
}

const char *xenmgr_describe(const struct xenmgr *mgr)
{
    return mgr->driver->describe(mgr->state);
}

int xenmgr_draw_zone(struct xenmgr *mgr, uint32_t *ret_zone, struct gi_error *err)
{
    return mgr->driver->draw_zone(mgr->state, ret_zone, err);
}

int xenmgr_sweep(struct xenmgr *mgr, bool (*keep)(void *data, const char *id), void *data,
                 struct gi_error *err)
{
    return mgr->driver->sweep(mgr->state, keep, data, err);
}

/* ---- machines ---- */

static struct machine *find(struct xenmgr *mgr, const char *id)
{
    struct machine *m = mgr->machines;
    while (m && strcmp(m->id, id) != 0)
        m = m->next;
    return m;
}

/* Takes FACTS. */
static int new_handle(struct xenmgr *mgr, const char *id, struct machine_facts *facts,
                      struct machine **ret, struct gi_error *err)
{
    struct machine *m = calloc(1, sizeof(*m));
    char *copy = strdup(id);
    if (!m || !copy) {
        free(m);
        free(copy);
        mgr->driver->release(mgr->state, facts);
        free(facts->netns);
        return gi_fail_errno(err, ENOMEM, "machine");
    }
    m->mgr = mgr;
    m->id = copy;
    m->facts = *facts;
    m->refs = 1;
    pthread_mutex_init(&m->serial, NULL);
    GI_LOCK_SCOPE(&mgr->mu);
    m->next = mgr->machines;
    mgr->machines = m;
    *ret = m;
    return 0;
}

int machine_create(struct xenmgr *mgr, const struct machine_config *config, int timeout_ms,
                   struct machine **ret_machine, struct gi_error *err)
{
    struct machine_facts facts = {.death_fd = -1};
    int rc = check_id(config->id, err);
    if (rc == 0)
        rc = mgr->driver->create(mgr->state, config, timeout_ms, &facts, err);
    if (rc == 0)
        rc = new_handle(mgr, config->id, &facts, ret_machine, err);
    return rc;
}

int machine_list(struct xenmgr *mgr, char ***ret_ids, size_t *ret_n, struct gi_error *err)
{
    return mgr->driver->list(mgr->state, ret_ids, ret_n, err);
}

int machine_adopt(struct xenmgr *mgr, const char *id, struct machine **ret_machine,
                  struct gi_error *err)
{
    int rc = check_id(id, err);
    if (rc < 0)
        return rc;
    {
        GI_LOCK_SCOPE(&mgr->mu);
        struct machine *m = find(mgr, id);
        if (m && !is_dead(m)) {
            m->refs++;
            *ret_machine = m;
            return 0;
        }
    }
    struct machine_facts facts = {.death_fd = -1};
    rc = mgr->driver->adopt(mgr->state, id, &facts, err);
    return rc < 0 ? rc : new_handle(mgr, id, &facts, ret_machine, err);
}

int machine_connect_agent(struct machine *m, int timeout_ms, int *ret_fd, struct gi_error *err)
{
    return m->mgr->driver->connect_agent(m->mgr->state, m->id, &m->facts, timeout_ms, ret_fd, err);
}

int machine_share_image(struct machine *m, const char *host_rootfs, char **ret_name,
                        struct gi_error *err)
{
    GI_LOCK_SCOPE(&m->serial);
    return m->mgr->driver->share_image(m->mgr->state, m->id, &m->facts, host_rootfs, ret_name, err);
}

int machine_unshare_image(struct machine *m, const char *host_rootfs, machine_let_go let_go,
                          void *data, struct gi_error *err)
{
    const struct driver *d = m->mgr->driver;
    if (!d->unshare_image)
        return 0;
    GI_LOCK_SCOPE(&m->serial);
    return d->unshare_image(m->mgr->state, m->id, &m->facts, host_rootfs, let_go, data, err);
}

int machine_share_device(struct machine *m, const char *host_path, bool writable, dev_t *ret_number,
                         struct gi_error *err)
{
    const struct driver *d = m->mgr->driver;
    if (!d->share_device) {
        *ret_number = 0;
        return 0;
    }
    GI_LOCK_SCOPE(&m->serial);
    return d->share_device(m->mgr->state, m->id, &m->facts, host_path, writable, ret_number, err);
}

int machine_unshare_device(struct machine *m, const char *host_path, bool writable,
                           struct gi_error *err)
{
    const struct driver *d = m->mgr->driver;
    if (!d->unshare_device)
        return 0;
    GI_LOCK_SCOPE(&m->serial);
    return d->unshare_device(m->mgr->state, m->id, &m->facts, host_path, writable, err);
}

uint32_t machine_zone_id(const struct machine *m)
{
    return m->facts.zone;
}

const char *machine_id(const struct machine *m)
{
    return m->id;
}

int machine_pid(const struct machine *m)
{
    return m->facts.pid;
}

const char *machine_netns(const struct machine *m)
{
    return m->facts.netns;
}

int machine_watch(struct machine *m, watch_fn fn, void *data, struct gi_error *err)
{
    {
        GI_LOCK_SCOPE(&m->mgr->mu);
        if (m->fn)
            return gi_fail(err, GI_ALREADY_EXISTS, "machine %s is watched", m->id);
        m->fn = fn;
        m->data = data;
    }
    wake(m->mgr);
    return 0;
}

bool machine_alive(struct machine *m)
{
    return !is_dead(m);
}

int machine_destroy(struct machine *m, int grace_ms, struct gi_error *err)
{
    GI_LOCK_SCOPE(&m->serial);
    return m->mgr->driver->destroy(m->mgr->state, m->id, &m->facts, grace_ms, err);
}

int machine_info(struct machine *m, struct machine_info *ret, struct gi_error *err)
{
    const struct driver *d = m->mgr->driver;
    if (d->info)
        return d->info(m->mgr->state, &m->facts, ret, err);
    *ret = (struct machine_info){.kind = d->name};
    return 0;
}

int machine_resize(struct machine *m, uint64_t memory_bytes, unsigned vcpus, struct gi_error *err)
{
    const struct driver *d = m->mgr->driver;
    if (!d->resize)
        return gi_fail(err, GI_UNIMPLEMENTED,
                       "a machine of driver \"%s\" keeps the size it was made with; containers' "
                       "limits can change",
                       d->name);
    GI_LOCK_SCOPE(&m->serial);
    return d->resize(m->mgr->state, m->id, memory_bytes, vcpus, err);
}

static int set_paused(struct machine *m, bool paused, struct gi_error *err)
{
    const struct driver *d = m->mgr->driver;
    if (!d->pause)
        return gi_fail(err, GI_UNIMPLEMENTED, "a machine of driver \"%s\" can't be paused",
                       d->name);
    GI_LOCK_SCOPE(&m->serial);
    return d->pause(m->mgr->state, m->id, paused, err);
}

int machine_pause(struct machine *m, struct gi_error *err)
{
    return set_paused(m, true, err);
}

int machine_unpause(struct machine *m, struct gi_error *err)
{
    return set_paused(m, false, err);
}

void machine_info_free(struct machine_info *info)
{
    free(info->console);
    info->console = NULL;
}

struct machine *machine_ref(struct machine *m)
{
    GI_LOCK_SCOPE(&m->mgr->mu);
    m->refs++;
    return m;
}

void machine_put(struct machine *m)
{
    if (!m)
        return;
    struct xenmgr *mgr = m->mgr;
    GI_LOCK_SCOPE(&mgr->mu);
    if (m->refs == 1)
        m->fn = NULL;
    /* The callback may use the handle and its data until it returns; called
     * from within it, this is its own last use. */
    while (m->calling && !pthread_equal(pthread_self(), mgr->thread))
        pthread_cond_wait(&mgr->called, &mgr->mu);
    unref(m);
}
