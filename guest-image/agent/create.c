/* SPDX-License-Identifier: Apache-2.0 */
/* From the request to a created container. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "bundle.h"
#include "container.h"
#include "create.h"
#include "disk.h"
#include "oci.h"
#include "spec.h"
#include "volumes.h"

void container_path(const struct container *c, const char *name, char *out)
{
    /* container_new has checked that the longest one fits. */
    snprintf(out, PATH_MAX, "%s/%s", c->dir, name);
}

static int container_new(struct agent *a, const Gi__Agent__CreateContainer *m,
                         struct container **ret_c, struct gi_error *err)
{
    struct container *c = calloc(1, sizeof(*c));
    if (!c)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a container");
    c->a = a;
    memcpy(c->id, m->container_id, strlen(m->container_id) + 1);
    c->tty = m->tty;
    c->stdin_open = m->stdin_open;
    c->stdin_once = m->stdin_once;
    c->stop_signal = m->stop_signal ? m->stop_signal : SIGTERM;
    c->in.fd = -1;
    console_init(&c->console);
    logs_init(&c->logs, c);
    if (asprintf(&c->dir, "%s/%s", a->opt.scratch, c->id) < 0)
        c->dir = NULL;
    if (a->opt.cgroup && asprintf(&c->cgroup, "%s/%s", a->opt.cgroup_path, c->id) < 0)
        c->cgroup = NULL;
    if (!c->dir || (a->opt.cgroup && !c->cgroup) || strlen(c->dir) > PATH_MAX - 64) {
        container_free(c);
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no room for a container's names");
    }
    *ret_c = c;
    return 0;
}

void container_free(struct container *c)
{
    proc_forget(c);
    loop_disarm(c->a->loop, &c->exit_timer);
    attach_end_all(c, NULL);
    logs_free(&c->logs);
    gpu_free(c->gpu);
    console_close(&c->console);
    attach_close_input(c);
    free(c->dir);
    free(c->cgroup);
    free(c->process_json);
    free(c);
}

static void on_master(void *data, int master)
{
    struct container *c = data;
    int in = c->stdin_open ? fcntl(master, F_DUPFD_CLOEXEC, 3) : -1;
    if (in >= 0)
        attach_input(c, in);
    logs_attach(&c->logs, AGENT_STDOUT, master);
}

/* ---- standard streams ---- */

/* One pipe: *ret_theirs goes to the container, the other end is ours. */
static int make_pipe(bool they_write, int *ret_ours, int *ret_theirs, struct gi_error *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return gi_fail_errno(err, errno, "pipe");
    *ret_ours = fds[they_write ? 0 : 1];
    *ret_theirs = fds[they_write ? 1 : 0];
    return 0;
}

static int open_streams(struct container *c, int theirs[3], char *console, struct gi_error *err)
{
    if (c->tty)
        return console_listen(&c->console, c->a, c->dir, "tty", on_master, c, console, err);
    int ours;
    if (c->stdin_open &&
        (make_pipe(false, &ours, &theirs[0], err) < 0 || attach_input(c, ours) < 0))
        return -GI_INTERNAL;
    for (int i = 1; i <= 2; i++) {
        if (make_pipe(true, &ours, &theirs[i], err) < 0)
            return -GI_INTERNAL;
        if (logs_attach(&c->logs, (enum agent_stream)i, ours) < 0)
            return gi_fail(err, GI_INTERNAL, "log pipe");
    }
    return 0;
}

/* ---- the spec ---- */

struct gpu_mounts {
    struct spec_mount mounts[6];
    char folder[PATH_MAX];
    char lib1[128];
    char lib[128];
    char nvml_source[PATH_MAX];
    char nvml[128];
    char smi_source[PATH_MAX];
    size_t n;
};

/* What lies beside libvgpu, if it does: the program works without. */
static bool gpu_add_sibling(struct gpu_mounts *m, const char *libvgpu, const char *name,
                            char source[PATH_MAX], const char *at)
{
    const char *slash = strrchr(libvgpu, '/');
    int n =
        snprintf(source, PATH_MAX, "%.*s%s", slash ? (int)(slash + 1 - libvgpu) : 0, libvgpu, name);
    bool there = n > 0 && n < PATH_MAX && access(source, R_OK) == 0;
    if (there)
        m->mounts[m->n++] = (struct spec_mount){source, at, true};
    return there;
}

/* For programs that ask ldconfig where the driver is; others work without. */
static void gpu_list(const struct container *c, const struct gpu_mounts *m, bool has_nvml)
{
    struct gi_error err = GI_ERROR_INIT;
    const struct ldcache_library all[] = {
        {"libcuda.so.1", m->lib1}, {"libcuda.so", m->lib}, {"libnvidia-ml.so.1", m->nvml}};
    if (bundle_cache_libraries(c->dir, all, GI_ARRAY_SIZE(all) - !has_nvml, &err) < 0)
        gi_log(GI_LOG_INFO, "the image's list of libraries stays as it is", "why", err.message,
               NULL);
}

static int gpu_prepare(struct container *c, const char *image_rootfs, struct gpu_mounts *m,
                       struct gi_error *err)
{
    const struct options *o = &c->a->opt;
    if (!o->libvgpu || (!o->gpu_socket && !o->gpu_domain))
        return gi_fail(err, GI_FAILED_PRECONDITION, "this zone has no GPU");
    container_path(c, "gpu", m->folder);
    int rc = gpu_new(c->a, m->folder, &c->gpu, err);
    if (rc < 0)
        return rc;
    const char *at = bundle_library_folder(image_rootfs);
    snprintf(m->lib1, sizeof(m->lib1), "%s/libcuda.so.1", at);
    snprintf(m->lib, sizeof(m->lib), "%s/libcuda.so", at);
    m->mounts[0] = (struct spec_mount){m->folder, GPU_CONTAINER_FOLDER, false};
    m->mounts[1] = (struct spec_mount){o->libvgpu, m->lib1, true};
    m->mounts[2] = (struct spec_mount){o->libvgpu, m->lib, true};
    m->n = 3;
    snprintf(m->nvml, sizeof(m->nvml), "%s/libnvidia-ml.so.1", at);
    bool has_nvml = gpu_add_sibling(m, o->libvgpu, "libnvidia-ml.so.1", m->nvml_source, m->nvml);
    /* By the name that scripts call, too. */
    if (gpu_add_sibling(m, o->libvgpu, "vgpu-smi", m->smi_source, "/usr/bin/vgpu-smi"))
        m->mounts[m->n++] = (struct spec_mount){m->smi_source, "/usr/bin/nvidia-smi", true};
    gpu_list(c, m, has_nvml);
    return 0;
}

/* "volume:NAME" or "volume:NAME/PATH" → where it is mounted from. */
static int find_volume(void *data, const char *source, char *out, struct gi_error *err)
{
    struct container *c = data;
    char name[AGENT_ID_MAX + 1];
    source += strlen(AGENT_VOLUME_SOURCE);
    size_t n = strcspn(source, "/");
    if (n >= sizeof(name))
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad volume name");
    memcpy(name, source, n);
    name[n] = '\0';
    if (!source[n] || !source[n + 1])
        return volume_path(c->a, name, out, err);
    cleanup_close int fd = volume_open(c->a, name, source + n + 1, err);
    return fd < 0 ? fd : bundle_bind(c->dir, c->n_binds++, fd, out, err);
}

/* "image:ROOTFS" or "image:ROOTFS//PATH": links in the image lead nowhere out of it. */
static int find_image(struct container *c, const char *source, char *out, struct gi_error *err)
{
    char root[PATH_MAX];
    const char *path = strstr(source, "//");
    cleanup_free char *name = strndup(source, path ? (size_t)(path - source) : strlen(source));
    if (!name)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    int rc = disk_find_image(c->a, name, root, err);
    if (rc < 0)
        return rc;
    cleanup_close int fd = volume_open_in(root, path ? path + 2 : NULL, err);
    return fd < 0 ? gi_prefix(err, "image volume")
                  : bundle_bind(c->dir, c->n_binds++, fd, out, err);
}

/* "container:ID" → its pid namespace. Its first process is not reaped while we are here: its pid
 * can't be another's. */
static int find_pid_namespace(struct container *c, const char *id, char *out, struct gi_error *err)
{
    char path[64];
    const struct container *target = container_find(c->a, id);
    if (!target || target->phase != PHASE_RUNNING || target->dead)
        return gi_fail(err, GI_FAILED_PRECONDITION, "container %s does not run", id);
    snprintf(path, sizeof(path), "/proc/%d/ns/pid", target->pid);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? gi_fail_errno(err, errno, "pid namespace of container %s", id)
                  : bundle_bind(c->dir, c->n_binds++, fd, out, err);
}

static int find_source(void *data, const char *source, char *out, struct gi_error *err)
{
    if (strncmp(source, AGENT_CONTAINER_SOURCE, strlen(AGENT_CONTAINER_SOURCE)) == 0)
        return find_pid_namespace(data, source + strlen(AGENT_CONTAINER_SOURCE), out, err);
    if (strncmp(source, AGENT_IMAGE_SOURCE, strlen(AGENT_IMAGE_SOURCE)) == 0)
        return find_image(data, source + strlen(AGENT_IMAGE_SOURCE), out, err);
    return find_volume(data, source, out, err);
}

/* Between GPUs that are no peers NCCL passes memory that two processes map, which kernels would
 * have to reach and can't (docs/decisions, 28); told so it uses sockets. */
#define GPU_ENV "NCCL_SHM_DISABLE=1"

static int write_spec(struct container *c, const Gi__Agent__CreateContainer *m, const char *image,
                      struct gi_error *err)
{
    struct gpu_mounts gpu = {.n = 0};
    char root[PATH_MAX];
    char path[PATH_MAX];
    if (m->gpu && gpu_prepare(c, image, &gpu, err) < 0)
        return -GI_FAILED_PRECONDITION;
    container_path(c, "rootfs", root);
    const struct spec_changes changes = {
        .root = root,
        .cgroup = c->cgroup,
        .tty = c->tty,
        .env = m->gpu ? GPU_ENV : NULL,
        .oom_score_min = c->a->oom_score_min,
        .mounts = gpu.mounts,
        .n_mounts = gpu.n,
        .source = find_source,
        .data = c,
    };
    cleanup_free char *config = NULL;
    int rc = spec_build(m->oci_json, &changes, &config, &c->process_json, err);
    if (rc < 0)
        return rc;
    container_path(c, "config.json", path);
    return oci_write_file(path, config, err);
}

/* ---- create ---- */

static void on_created(void *data, int status)
{
    struct container *c = data;
    struct gi_error err = GI_ERROR_INIT;
    char path[PATH_MAX];
    container_path(c, "pid", path);
    c->pid = status == 0 ? oci_read_pid(path) : 0;
    console_finish(&c->console);
    if (!c->pid) {
        container_path(c, "oci.log", path);
        oci_why(path, "create the container", &err);
        container_fail_create(c, &err);
        return;
    }
    c->phase = PHASE_CREATED;
    struct request req = c->create_req;
    c->create_req.id = 0;
    conn_done(c->a, req, NULL);
    proc_expect(c->pid, container_on_exit, c);
    if (c->n_removers)
        container_teardown(c);
}

static int spawn_create(struct container *c, struct gi_error *err)
{
    char pid_file[PATH_MAX];
    char log[PATH_MAX];
    char console[CONSOLE_PATH_MAX] = "";
    int theirs[3] = {-1, -1, -1};
    int rc = open_streams(c, theirs, console, err);
    container_path(c, "pid", pid_file);
    container_path(c, "oci.log", log);
    const char *plain[] = {"create", "--bundle", c->dir, "--pid-file", pid_file, c->id, NULL};
    const char *tty[] = {"create",           "--bundle", c->dir, "--pid-file", pid_file,
                         "--console-socket", console,    c->id,  NULL};
    if (rc == 0)
        rc = oci_run(c->a, log, c->tty ? tty : plain, theirs, on_created, c, err);
    for (int i = 0; i < 3; i++)
        gi_cleanup_closep(&theirs[i]);
    return rc < 0 ? rc : 0;
}

void container_create(struct agent *a, struct request req, const Gi__Agent__CreateContainer *m)
{
    struct gi_error err = GI_ERROR_INIT;
    struct container *c = NULL;
    char image[PATH_MAX];
    if (a->ending)
        gi_fail(&err, GI_UNAVAILABLE, "the zone is ending");
    else if (container_find(a, m->container_id))
        gi_fail(&err, GI_ALREADY_EXISTS, "container %s exists", m->container_id);
    else if (a->n_containers >= AGENT_CONTAINERS_MAX)
        gi_fail(&err, GI_RESOURCE_EXHAUSTED, "%u containers exist", AGENT_CONTAINERS_MAX);
    else
        container_new(a, m, &c, &err);
    if (!c) {
        conn_done(a, req, &err);
        return;
    }
    c->create_req = req;
    c->next = a->containers;
    a->containers = c;
    a->n_containers++;
    if (disk_find_image(a, m->image_rootfs, image, &err) < 0 ||
        bundle_make(c->dir, image, &err) < 0 || write_spec(c, m, image, &err) < 0 ||
        spawn_create(c, &err) < 0)
        container_fail_create(c, &err);
}
