/* SPDX-License-Identifier: Apache-2.0 */
#include "zone_util.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"

static const char *busybox(void)
{
    static const char *const paths[] = {"/bin/busybox", "/usr/bin/busybox"};
    for (size_t i = 0; i < GI_ARRAY_SIZE(paths); i++) {
        if (access(paths[i], X_OK) == 0)
            return paths[i];
    }
    return NULL;
}

static void skip_all(const char *why)
{
    fprintf(stderr, "skipped: %s\n", why);
    exit(77);
}

void zone_need(void)
{
    if (geteuid() != 0)
        skip_all("needs root, to make namespaces");
    if (!busybox())
        skip_all("needs busybox-static");
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) < 0);
    int status = 1;
    waitpid(pid, &status, 0);
    if (status)
        skip_all("needs CAP_SYS_ADMIN, to make namespaces");
}

static void copy_file(const char *from, const char *to)
{
    char *data = NULL;
    size_t len = 0;
    assert_ok(gi_read_file(from, 16 << 20, &data, &len, err));
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    assert_true(fd >= 0);
    assert_int_equal(gi_write_full(fd, data, len), 0);
    close(fd);
    free(data);
}

void place_make(struct place *p)
{
    static const char *const folders[] = {"rootfs",     "rootfs/bin", "rootfs/proc", "rootfs/dev",
                                          "rootfs/tmp", "rootfs/etc", "rootfs/run"};
    static const char *const tools[] = {
        "sh", "ls",   "cat",  "sleep",    "echo",   "dd",  "seq",  "head", "touch",
        "ps", "kill", "tty",  "hostname", "stat",   "yes", "true", "tr",   "readlink",
        "wc", "nc",   "stty", "ln",       "mkfifo", "cmp", "rm"};
    char path[256];
    snprintf(p->dir, sizeof(p->dir), "%s", "/tmp/gi-zone-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->run, sizeof(p->run), "%s/run", p->dir);
    snprintf(p->state, sizeof(p->state), "%s/state", p->dir);
    snprintf(p->rootfs, sizeof(p->rootfs), "%s/rootfs", p->dir);
    for (size_t i = 0; i < GI_ARRAY_SIZE(folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", p->dir, folders[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    snprintf(path, sizeof(path), "%s/bin/busybox", p->rootfs);
    copy_file(busybox(), path);
    for (size_t i = 0; i < GI_ARRAY_SIZE(tools); i++) {
        snprintf(path, sizeof(path), "%s/bin/%s", p->rootfs, tools[i]);
        assert_int_equal(symlink("busybox", path), 0);
    }
}

struct xenmgr *place_open(const struct place *p)
{
    const struct xenmgr_config config = {
        .driver = "local",
        .run_dir = p->run,
        .state_dir = p->state,
        .agent_path = AGENT_BINARY,
        .oci_runtime = getenv("GI_TEST_OCI"),
        .libvgpu_path = "/bin/true", /* any file: what is looked at is the mount */
    };
    struct xenmgr *mgr = NULL;
    struct gi_error err = GI_ERROR_INIT;
    int rc = xenmgr_open(&config, &mgr, &err);
    if (rc == -GI_FAILED_PRECONDITION)
        skip_all(err.message);
    if (rc < 0)
        fail_msg("%s", err.message);
    return mgr;
}

/* A test that failed may have left machines. */
static void destroy_all(struct xenmgr *mgr)
{
    char **ids = NULL;
    size_t n = 0;
    machine_list(mgr, &ids, &n, NULL);
    for (size_t i = 0; i < n; i++) {
        struct machine *m = NULL;
        if (machine_adopt(mgr, ids[i], &m, NULL) == 0) {
            machine_destroy(m, 0, NULL);
            machine_put(m);
        }
        free(ids[i]);
    }
    free(ids);
    xenmgr_sweep(mgr, NULL, NULL, NULL);
}

void place_remove(const struct place *p)
{
    struct xenmgr *mgr = place_open(p);
    destroy_all(mgr);
    xenmgr_close(mgr);
    assert_ok(gi_remove_tree_at(AT_FDCWD, p->dir, err));
}

char *spec_text(const char *script, const char *extra)
{
    struct gi_buf b = GI_BUF_INIT(1 << 20);
    struct gi_buf quoted = GI_BUF_INIT(1 << 20);
    for (const char *p = script; *p; p++) {
        if (*p == '"' || *p == '\\')
            gi_buf_append(&quoted, "\\", 1);
        gi_buf_append(&quoted, p, 1);
    }
    gi_buf_printf(
        &b,
        "{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\","
        "\"args\":[\"/bin/sh\",\"-c\",\"%s\"],\"env\":[\"PATH=/bin\"],\"oomScoreAdj\":-997},"
        "\"root\":{\"path\":\"nowhere\"},\"mounts\":["
        "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
        "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
        "\"options\":[\"nosuid\",\"mode=755\"]},"
        "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
        "\"options\":[\"newinstance\",\"ptmxmode=0666\",\"mode=0620\"]}],"
        "\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"mount\"}]%s%s}}",
        quoted.data, *extra ? "," : "", extra);
    gi_buf_free(&quoted);
    return b.data;
}

/* ---- recorder ---- */

static void on_log(void *data, const char *id, const struct agent_log_record *records, size_t n)
{
    struct recorder *r = data;
    pthread_mutex_lock(&r->mu);
    r->lines = realloc(r->lines, (r->n_lines + n) * sizeof(*r->lines));
    for (size_t i = 0; i < n; i++) {
        struct line *l = &r->lines[r->n_lines++];
        *l = (struct line){records[i].time_ns, records[i].stream, records[i].partial,
                           records[i].len, malloc(records[i].len + 1)};
        memcpy(l->data, records[i].data, l->len);
        l->data[l->len] = '\0';
        r->bytes += l->len;
    }
    if (r->ack && r->client)
        agent_ack_logs(r->client, id, records[n - 1].time_ns, NULL);
    pthread_cond_broadcast(&r->cond);
    pthread_mutex_unlock(&r->mu);
}

static void on_exit_event(void *data, const char *id, const struct agent_exit *exit)
{
    struct recorder *r = data;
    pthread_mutex_lock(&r->mu);
    if (r->n_exits < GI_ARRAY_SIZE(r->exits)) {
        r->exits[r->n_exits] = *exit;
        snprintf(r->exit_ids[r->n_exits++], sizeof(r->exit_ids[0]), "%s", id);
    }
    pthread_cond_broadcast(&r->cond);
    pthread_mutex_unlock(&r->mu);
}

static void on_disconnect(void *data, const struct gi_error *why)
{
    struct recorder *r = data;
    pthread_mutex_lock(&r->mu);
    r->gone = true;
    r->why = *why;
    pthread_cond_broadcast(&r->cond);
    pthread_mutex_unlock(&r->mu);
}

const struct agent_callbacks recorder_callbacks = {
    .on_exit = on_exit_event, .on_log = on_log, .on_disconnect = on_disconnect};

void recorder_init(struct recorder *r)
{
    memset(r, 0, sizeof(*r));
    r->ack = true;
    pthread_mutex_init(&r->mu, NULL);
    pthread_cond_init(&r->cond, NULL);
}

void recorder_free(struct recorder *r)
{
    for (size_t i = 0; i < r->n_lines; i++)
        free(r->lines[i].data);
    free(r->lines);
    pthread_cond_destroy(&r->cond);
    pthread_mutex_destroy(&r->mu);
}

void recorder_wait(struct recorder *r, bool (*fn)(const struct recorder *r, const void *arg),
                   const void *arg, int ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    pthread_mutex_lock(&r->mu);
    bool in_time = true;
    while (!fn(r, arg) && in_time)
        in_time = pthread_cond_timedwait(&r->cond, &r->mu, &until) == 0;
    bool holds = fn(r, arg);
    pthread_mutex_unlock(&r->mu);
    if (!holds)
        fail_msg("waited %d ms in vain (%zu lines, %zu exits, %s)", ms, r->n_lines, r->n_exits,
                 r->gone ? r->why.message : "connected");
}

static int find_exit(const struct recorder *r, const char *id)
{
    for (size_t i = 0; i < r->n_exits; i++) {
        if (strcmp(r->exit_ids[i], id) == 0)
            return (int)i;
    }
    return -1;
}

static bool has_exit(const struct recorder *r, const void *id)
{
    return find_exit(r, id) >= 0;
}

struct agent_exit recorder_exit(struct recorder *r, const char *id)
{
    recorder_wait(r, has_exit, id, 15000);
    pthread_mutex_lock(&r->mu);
    struct agent_exit e = r->exits[find_exit(r, id)];
    pthread_mutex_unlock(&r->mu);
    return e;
}

char *recorder_text(struct recorder *r, enum agent_stream stream, size_t *ret_len)
{
    struct gi_buf b = GI_BUF_INIT(64u << 20);
    pthread_mutex_lock(&r->mu);
    for (size_t i = 0; i < r->n_lines; i++) {
        if (r->lines[i].stream != stream)
            continue;
        gi_buf_append(&b, r->lines[i].data, r->lines[i].len);
        if (!r->lines[i].partial)
            gi_buf_append(&b, "\n", 1);
    }
    pthread_mutex_unlock(&r->mu);
    if (ret_len)
        *ret_len = b.len;
    return b.data ? b.data : calloc(1, 1);
}

struct agent_client *connect_recorder(struct machine *m, struct recorder *r)
{
    int fd = -1;
    struct agent_client *c = NULL;
    assert_ok(machine_connect_agent(m, 2000, &fd, err));
    assert_ok(agent_client_new(fd, &recorder_callbacks, r, 5000, &c, err));
    pthread_mutex_lock(&r->mu);
    r->client = c;
    pthread_mutex_unlock(&r->mu);
    return c;
}
