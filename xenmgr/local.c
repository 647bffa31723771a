/* SPDX-License-Identifier: Apache-2.0 */
/* The `local` driver: see local.h. */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/io.h"
#include "base/log.h"

#define KILL_WAIT_MS 10000

/* ---- open, close ---- */

static void local_close(void *driver)
{
    struct local *l = driver;
    free(l->zones);
    free(l->scratch);
    free(l->counter);
    free(l->agent);
    free(l->libvgpu);
    pthread_mutex_destroy(&l->mu);
    free(l);
}

static const char *local_describe(const void *driver)
{
    return ((const struct local *)driver)->text;
}

static void describe(struct local *l)
{
    char cg[40] = "no cgroups";
    if (l->oci.cgroup)
        snprintf(cg, sizeof(cg), "cgroup v%d%s", l->oci.cgroup, l->cgroups.hybrid ? " hybrid" : "");
    snprintf(l->text, sizeof(l->text), "local: %s, %s, NOT a security boundary", l->oci.version,
             cg);
    static atomic_flag said = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&said))
        return;
    gi_log(GI_LOG_WARNING,
           "machine driver local: pods are NOT isolated from this host or from each other; "
           "for trying out and testing only",
           "driver", l->text, NULL);
}

static int make_paths(struct local *l, const struct xenmgr_config *c, struct gi_error *err)
{
    if (asprintf(&l->zones, "%s/zones", c->run_dir) < 0 ||
        asprintf(&l->scratch, "%s/zones", c->state_dir) < 0 ||
        asprintf(&l->counter, "%s/zone-counter", c->run_dir) < 0)
        return gi_fail_errno(err, ENOMEM, "xenmgr");
    l->agent = strdup(c->agent_path);
    l->libvgpu = c->libvgpu_path && *c->libvgpu_path ? strdup(c->libvgpu_path) : NULL;
    if (strlen(l->zones) > PATH_MAX / 2 || strlen(l->scratch) > PATH_MAX / 2 ||
        strpbrk(l->scratch, ":,\\\n"))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "run_dir or state_dir is too long or has one of "
                       "':', ',', '\\' in it");
    int rc = gi_mkdir_p(l->zones, 0700, err);
    return rc < 0 ? rc : gi_mkdir_p(l->scratch, 0700, err);
}

static int local_open(const struct xenmgr_config *c, void **ret_driver, struct gi_error *err)
{
    if (!c->agent_path || c->agent_path[0] != '/' || access(c->agent_path, X_OK) < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "no agent at \"%.200s\"",
                       c->agent_path ? c->agent_path : "");
    struct local *l = calloc(1, sizeof(*l));
    if (!l)
        return gi_fail_errno(err, ENOMEM, "xenmgr");
    pthread_mutex_init(&l->mu, NULL);
    cgroup_probe(&l->cgroups);
    int rc = make_paths(l, c, err);
    if (rc == 0)
        rc = oci_choose(c->oci_runtime, &l->cgroups, &l->oci, err);
    if (rc < 0) {
        local_close(l);
        return rc;
    }
    describe(l);
    *ret_driver = l;
    return 0;
}

/* ---- names ---- */

static void zone_dir(const struct local *l, const char *id, char *out)
{
    snprintf(out, PATH_MAX, "%s/%s", l->zones, id);
}

static void scratch_dir(const struct local *l, const char *id, char *out)
{
    snprintf(out, PATH_MAX, "%s/%s", l->scratch, id);
}

/* One create or destroy an id at a time; a sweep leaves busy ones alone. */
static bool begin(struct local *l, struct making *mk, const char *id)
{
    GI_LOCK_SCOPE(&l->mu);
    for (struct making *m = l->making; m; m = m->next) {
        if (strcmp(m->id, id) == 0)
            return false;
    }
    mk->id = id;
    mk->next = l->making;
    l->making = mk;
    return true;
}

static void end(struct local *l, const struct making *mk)
{
    GI_LOCK_SCOPE(&l->mu);
    for (struct making **at = &l->making; *at; at = &(*at)->next) {
        if (*at == mk) {
            *at = mk->next;
            return;
        }
    }
}

static bool zone_in_use(const struct local *l, uint32_t zone)
{
    cleanup_closedir DIR *d = opendir(l->zones);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char dir[PATH_MAX];
        struct record r;
        if (e->d_name[0] == '.')
            continue;
        zone_dir(l, e->d_name, dir);
        if (record_read(dir, &r, NULL) == 0 && r.zone == zone)
            return true;
    }
    return false;
}

/* The next number, as Xen counts domids up; never 0, never one in use. */
static int draw_zone(void *driver, uint32_t *ret_zone, struct gi_error *err)
{
    const struct local *l = driver;
    cleanup_close int fd = open(l->counter, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        return gi_fail_errno(err, errno, "%s", l->counter);
    char text[16] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    uint32_t zone = n > 0 ? (uint32_t)strtoul(text, NULL, 10) : 0;
    do {
        zone = zone >= UINT32_MAX - 1 ? 1 : zone + 1;
    } while (zone_in_use(l, zone));
    /* Of one length, so that a shorter number leaves nothing behind. */
    snprintf(text, sizeof(text), "%010u\n", zone);
    if (pwrite(fd, text, strlen(text), 0) < 0)
        return gi_fail_errno(err, errno, "%s", l->counter);
    *ret_zone = zone;
    return 0;
}

/* ---- cleaning ---- */

/* Everything but processes. The folder with the record goes last. */
static int clean(struct local *l, const char *id, struct gi_error *err)
{
    char dir[PATH_MAX];
    char scratch[PATH_MAX];
    struct record r = {.cgroup = ""};
    int rc = 0;
    zone_dir(l, id, dir);
    scratch_dir(l, id, scratch);
    if (record_read(dir, &r, NULL) == 0 && r.cgroup[0])
        rc = cgroup_remove(&l->cgroups, r.cgroup, err);
    GI_FAILPOINT(rc, "local_cgroup_removed", err);
    if (gi_remove_tree_at(AT_FDCWD, scratch, rc ? NULL : err) < 0)
        rc = -GI_INTERNAL;
    GI_FAILPOINT(rc, "local_scratch_removed", err);
    if (rc == 0)
        rc = gi_remove_tree_at(AT_FDCWD, dir, err);
    GI_FAILPOINT(rc, "local_folder_removed", err);
    return rc;
}

static bool wait_death(int pidfd, int ms)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int64_t deadline = gi_monotonic_ns() + (int64_t)ms * 1000000;
    for (;;) {
        int64_t left = (deadline - gi_monotonic_ns()) / 1000000;
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

/* SIGTERM asks the agent to end the zone; the death of a pid namespace's init
 * takes all its processes with it. */
static int end_process(int pidfd, int grace_ms, struct gi_error *err)
{
    if (grace_ms > 0 && pidfd_send_signal(pidfd, SIGTERM, NULL, 0) == 0 &&
        wait_death(pidfd, grace_ms))
        return 0;
    if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
        return gi_fail_errno(err, errno, "kill the machine");
    if (!wait_death(pidfd, KILL_WAIT_MS))
        return gi_fail(err, GI_DEADLINE_EXCEEDED, "the machine survives SIGKILL");
    return 0;
}

/* ---- create ---- */

/* Other sysctls aren't the zone's own here, they would be set on the host. */
static int check_sysctl(const char *s, struct gi_error *err)
{
    static const char *const prefixes[] = {"net.", "kernel.shm", "kernel.msg",
                                           "kernel.sem=", "fs.mqueue."};
    const char *eq = strchr(s, '=');
    for (size_t i = 0; eq && i < GI_ARRAY_SIZE(prefixes); i++) {
        if (strncmp(s, prefixes[i], strlen(prefixes[i])) == 0 &&
            !memmem(s, (size_t)(eq - s), "..", 2))
            return 0;
    }
    return gi_fail(err, GI_INVALID_ARGUMENT, "sysctl \"%.100s\" is not one of a zone", s);
}

static int check_machine(const struct machine_config *c, struct gi_error *err)
{
    size_t n = 0;
    if (c->hostname && strlen(c->hostname) > 64)
        return gi_fail(err, GI_INVALID_ARGUMENT, "hostname longer than 64 bytes");
    if (c->netns_path && (strlen(c->netns_path) >= PATH_MAX || strchr(c->netns_path, '\n')))
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad network namespace path");
    for (; c->sysctls && c->sysctls[n]; n++) {
        if (n == LOCAL_MAX_SYSCTLS)
            return gi_fail(err, GI_INVALID_ARGUMENT, "more than %u sysctls", LOCAL_MAX_SYSCTLS);
        if (check_sysctl(c->sysctls[n], err) < 0)
            return -GI_INVALID_ARGUMENT;
    }
    return 0;
}

static void close_building(struct building *b)
{
    const int *fds[] = {&b->dirfd,   &b->listen_fd, &b->log_fd, &b->ready_r,
                        &b->ready_w, &b->netns_fd,  &b->pidfd};
    for (size_t i = 0; i < GI_ARRAY_SIZE(fds); i++)
        gi_cleanup_closep(fds[i]);
    for (unsigned i = 0; i < b->n_cgroup_fds; i++)
        close(b->cgroup_fds[i]);
}

/* The record first: whatever is made after it, a sweep finds through it. */
static int make_places(struct local *l, const struct machine_config *c, struct building *b,
                       struct gi_error *err)
{
    int rc = 0;
    b->record.zone = c->zone_id;
    if (!c->zone_id)
        rc = draw_zone(l, &b->record.zone, err);
    if (rc == 0 && l->cgroups.version)
        rc = cgroup_machine_path(c->cgroup_parent, c->id, b->record.cgroup,
                                 sizeof(b->record.cgroup), err);
    if (rc == 0 && c->netns_path)
        snprintf(b->record.netns, sizeof(b->record.netns), "%s", c->netns_path);
    if (rc == 0)
        rc = record_write(b->dir, &b->record, err);
    GI_FAILPOINT(rc, "local_record_written", err);
    if (rc == 0 && mkdir(b->scratch, 0700) < 0 && errno != EEXIST)
        rc = gi_fail_errno(err, errno, "mkdir %s", b->scratch);
    GI_FAILPOINT(rc, "local_scratch_made", err);
    if (rc == 0)
        rc = cgroup_make(&l->cgroups, b->record.cgroup, c->memory_bytes, c->vcpus, b->cgroup_fds,
                         &b->n_cgroup_fds, err);
    GI_FAILPOINT(rc, "local_cgroup_made", err);
    return rc;
}

static int make_facts(const struct record *r, int pidfd, struct machine_facts *ret,
                      struct gi_error *err)
{
    struct machine_facts f = {.zone = r->zone, .pid = r->pid, .death_fd = pidfd};
    int n = r->netns[0] ? asprintf(&f.netns, "%s", r->netns)
                        : asprintf(&f.netns, "/proc/%d/ns/net", r->pid);
    if (n < 0)
        return gi_fail_errno(err, ENOMEM, "machine");
    *ret = f;
    return 0;
}

static int build(struct local *l, const struct machine_config *c, struct building *b,
                 int timeout_ms, struct machine_facts *ret_facts, struct gi_error *err)
{
    int rc = make_places(l, c, b, err);
    if (rc == 0)
        rc = local_open_ends(c, b, err);
    GI_FAILPOINT(rc, "local_ends_open", err);
    if (rc == 0)
        rc = local_start_agent(l, c, b, timeout_ms, err);
    GI_FAILPOINT(rc, "local_agent_ready", err);
    if (rc == 0)
        rc = make_facts(&b->record, b->pidfd, ret_facts, err);
    if (rc == 0) {
        b->pidfd = -1;
        return 0;
    }
    struct gi_error ignored;
    if (b->pidfd >= 0)
        end_process(b->pidfd, 0, &ignored);
    if (clean(l, c->id, &ignored) < 0)
        gi_log(GI_LOG_WARNING, "leftovers of a failed machine", "id", c->id, "reason",
               ignored.message, NULL);
    return rc;
}

/* Claims <zones>/<id>; what a dead machine of this id left goes first. */
static int claim(struct local *l, const char *id, const char *dir, struct gi_error *err)
{
    if (mkdir(dir, 0700) == 0)
        return 0;
    if (errno != EEXIST)
        return gi_fail_errno(err, errno, "mkdir %s", dir);
    struct record r;
    cleanup_close int pidfd = record_read(dir, &r, NULL) == 0 ? record_open_process(&r) : -1;
    if (pidfd >= 0)
        return gi_fail(err, GI_ALREADY_EXISTS, "machine %s exists", id);
    int rc = clean(l, id, err);
    if (rc == 0 && mkdir(dir, 0700) < 0)
        rc = gi_fail_errno(err, errno, "mkdir %s", dir);
    return rc;
}

static int local_create(void *driver, const struct machine_config *c, int timeout_ms,
                        struct machine_facts *ret_facts, struct gi_error *err)
{
    struct local *l = driver;
    struct making mk;
    int rc = check_machine(c, err);
    if (rc < 0)
        return rc;
    if (!begin(l, &mk, c->id))
        return gi_fail(err, GI_ALREADY_EXISTS, "machine %s is being made or destroyed", c->id);
    struct building *b = calloc(1, sizeof(*b));
    if (!b) {
        end(l, &mk);
        return gi_fail_errno(err, ENOMEM, "machine");
    }
    b->dirfd = b->listen_fd = b->log_fd = b->ready_r = b->ready_w = b->netns_fd = b->pidfd = -1;
    zone_dir(l, c->id, b->dir);
    scratch_dir(l, c->id, b->scratch);
    rc = claim(l, c->id, b->dir, err);
    GI_FAILPOINT_HERE("local_folder_made"); /* what fails from here on cleans it */
    if (rc == 0)
        rc = build(l, c, b, timeout_ms, ret_facts, err);
    close_building(b);
    free(b);
    end(l, &mk);
    return rc;
}

/* ---- the others ---- */

static int local_adopt(void *driver, const char *id, struct machine_facts *ret_facts,
                       struct gi_error *err)
{
    char dir[PATH_MAX];
    struct record r;
    zone_dir(driver, id, dir);
    int rc = record_read(dir, &r, err);
    if (rc < 0)
        return rc;
    cleanup_close int pidfd = record_open_process(&r);
    if (pidfd < 0)
        return gi_fail(err, GI_NOT_FOUND, "machine %s is gone", id);
    rc = make_facts(&r, pidfd, ret_facts, err);
    if (rc == 0)
        TAKE_FD(pidfd);
    return rc;
}

/* Calls FN for each folder in DIR. */
static int each_id(const char *dir, int (*fn)(void *data, const char *id), void *data,
                   struct gi_error *err)
{
    cleanup_closedir DIR *d = opendir(dir);
    if (!d)
        return gi_fail_errno(err, errno, "open %s", dir);
    struct dirent *e;
    int rc = 0;
    while (rc == 0 && (e = readdir(d))) {
        if (machine_id_valid(e->d_name))
            rc = fn(data, e->d_name);
    }
    return rc;
}

struct listing {
    const struct local *l;
    char **ids;
    size_t n;
};

static int add_live(void *data, const char *id)
{
    struct listing *li = data;
    char dir[PATH_MAX];
    struct record r;
    zone_dir(li->l, id, dir);
    cleanup_close int pidfd = record_read(dir, &r, NULL) == 0 ? record_open_process(&r) : -1;
    if (pidfd < 0)
        return 0;
    char **more = realloc(li->ids, (li->n + 1) * sizeof(*more));
    if (!more)
        return -GI_RESOURCE_EXHAUSTED;
    li->ids = more;
    more[li->n] = strdup(id);
    return more[li->n++] ? 0 : -GI_RESOURCE_EXHAUSTED;
}

static int local_list(void *driver, char ***ret_ids, size_t *ret_n, struct gi_error *err)
{
    struct listing li = {.l = driver};
    int rc = each_id(li.l->zones, add_live, &li, err);
    if (rc < 0) {
        for (size_t i = 0; i < li.n; i++)
            free(li.ids[i]);
        free(li.ids);
        return gi_prefix(err, "list machines");
    }
    *ret_ids = li.ids;
    *ret_n = li.n;
    return 0;
}

static int local_connect(void *driver, const char *id, const struct machine_facts *m,
                         int timeout_ms, int *ret_fd, struct gi_error *err)
{
    char dir[PATH_MAX];
    struct sockaddr_un addr;
    zone_dir(driver, id, dir);
    cleanup_close int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return gi_fail(err, GI_UNAVAILABLE, "machine %s is gone", id);
    local_socket_address(dirfd, &addr);
    int64_t deadline = gi_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    for (;;) {
        cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            return gi_fail_errno(err, errno, "socket");
        if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
            *ret_fd = TAKE_FD(fd);
            return 0;
        }
        /* EAGAIN: the agent hasn't accepted those before us. */
        if (errno != EAGAIN && errno != EINTR)
            return gi_fail(err, GI_UNAVAILABLE, "agent of machine %s: %s", id, strerror(errno));
        if (gi_monotonic_ns() >= deadline)
            return gi_fail(err, GI_DEADLINE_EXCEEDED, "agent of machine %s is too busy", id);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

/* The zone sees the host's files: nothing to do but to look. */
static int local_share_image(void *driver, const char *id, const struct machine_facts *m,
                             const char *host_rootfs, char **ret_name, struct gi_error *err)
{
    struct stat st;
    if (!host_rootfs || host_rootfs[0] != '/' || strpbrk(host_rootfs, ":,\\"))
        return gi_fail(err, GI_INVALID_ARGUMENT, "unusable image path");
    if (stat(host_rootfs, &st) < 0)
        return gi_fail_errno(err, errno, "image %s", host_rootfs);
    if (!S_ISDIR(st.st_mode))
        return gi_fail(err, GI_INVALID_ARGUMENT, "image %s is no folder", host_rootfs);
    char *name = strdup(host_rootfs);
    if (!name)
        return gi_fail_errno(err, ENOMEM, "image");
    *ret_name = name;
    return 0;
}

static int local_resize(void *driver, const char *id, uint64_t memory_bytes, unsigned vcpus,
                        struct gi_error *err)
{
    const struct local *l = driver;
    char dir[PATH_MAX];
    struct record r;
    zone_dir(l, id, dir);
    int rc = record_read(dir, &r, err);
    return rc < 0 ? rc : cgroup_resize(&l->cgroups, r.cgroup, memory_bytes, vcpus, err);
}

static int local_destroy(void *driver, const char *id, const struct machine_facts *m, int grace_ms,
                         struct gi_error *err)
{
    struct local *l = driver;
    struct making mk;
    int rc = end_process(m->death_fd, grace_ms, err);
    GI_FAILPOINT(rc, "local_process_ended", err);
    if (rc < 0)
        return rc;
    if (!begin(l, &mk, id))
        return gi_fail(err, GI_ABORTED, "machine %s is being made or destroyed", id);
    /* Unless the id is already another machine's. */
    char dir[PATH_MAX];
    struct record r;
    zone_dir(l, id, dir);
    if (record_read(dir, &r, NULL) < 0 || r.zone == m->zone)
        rc = clean(l, id, err);
    end(l, &mk);
    return rc;
}

static void local_release(void *driver, struct machine_facts *m)
{
    gi_cleanup_closep(&m->death_fd);
    m->death_fd = -1;
}

struct sweeping {
    struct local *l;
    bool (*keep)(void *data, const char *id);
    void *data;
    unsigned failed;
    struct gi_error why;
};

static int sweep_one(void *data, const char *id)
{
    struct sweeping *s = data;
    char dir[PATH_MAX];
    struct record r;
    struct making mk;
    if ((s->keep && s->keep(s->data, id)) || !begin(s->l, &mk, id))
        return 0;
    zone_dir(s->l, id, dir);
    int rc = record_read(dir, &r, &s->why);
    cleanup_close int pidfd = rc == 0 ? record_open_process(&r) : -1;
    if (rc < 0 && rc != -GI_NOT_FOUND) {
        /* Of an unreadable record nobody knows whether its machine lives. */
        s->failed++;
    } else if (pidfd < 0) {
        gi_log(GI_LOG_INFO, "sweeping what a machine left", "id", id, NULL);
        if (clean(s->l, id, &s->why) < 0)
            s->failed++;
    }
    end(s->l, &mk);
    return 0;
}

/* One that can't be cleaned doesn't keep the others. */
static int local_sweep(void *driver, bool (*keep)(void *data, const char *id), void *data,
                       struct gi_error *err)
{
    struct sweeping s = {.l = driver, .keep = keep, .data = data};
    int rc = each_id(s.l->zones, sweep_one, &s, err);
    if (rc == 0) /* after a reboot only the scratch space is left */
        rc = each_id(s.l->scratch, sweep_one, &s, err);
    if (rc == 0 && s.failed)
        rc = gi_fail(err, s.why.code, "%u machines' leftovers stay, such as: %s", s.failed,
                     s.why.message);
    return rc;
}

const struct driver local_driver = {
    .name = "local",
    .shares_host = true,
    .open = local_open,
    .close = local_close,
    .describe = local_describe,
    .draw_zone = draw_zone,
    .create = local_create,
    .list = local_list,
    .adopt = local_adopt,
    .connect_agent = local_connect,
    .share_image = local_share_image,
    .resize = local_resize,
    .destroy = local_destroy,
    .release = local_release,
    .sweep = local_sweep,
};
