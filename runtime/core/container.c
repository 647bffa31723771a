/* SPDX-License-Identifier: Apache-2.0 */
/* A container's life. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/io.h"
#include "base/log.h"
#include "core/events.h"
#include "core/runtime.h"
#include "oci/spec.h"
#include "ref.h"
#include "rpc/pb.h"

#define EXIT_START_ERROR 128
#define KILL_WAIT_NS     10000000000LL
#define STATUS_MS        2000

GI_DEFINE_CLEANUP(struct images_image *, images_image_free);
#define cleanup_image __attribute__((cleanup(images_image_freep)))

/* ---- create ---- */

static int check_config(const Runtime__V1__ContainerConfig *c, struct gi_error *err)
{
    if (!c)
        return gi_fail(err, GI_INVALID_ARGUMENT, "config: missing");
    if (!c->metadata)
        return gi_fail(err, GI_INVALID_ARGUMENT, "config.metadata: missing");
    if (!*c->metadata->name)
        return gi_fail(err, GI_INVALID_ARGUMENT, "config.metadata.name: missing");
    if (!c->image || !*c->image->image)
        return gi_fail(err, GI_INVALID_ARGUMENT, "config.image.image: missing");
    if (c->log_path[0] == '/' || strncmp(c->log_path, "../", 3) == 0 || strstr(c->log_path, "/../"))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.log_path: not a path below the pod's log directory");
    return 0;
}

static void set_log_path(Gi__State__ContainerRecord *r, const Runtime__V1__PodSandboxConfig *pod)
{
    char path[PATH_MAX];
    if (!*pod->log_directory || !*r->config->log_path)
        return;
    snprintf(path, sizeof(path), "%s/%s", pod->log_directory, r->config->log_path);
    pb_set(&r->log_path, path);
}

/* Of an image's names the one that was asked for, if it has that, else its first. */
static const char *shown_name(const struct images_image *image, const Runtime__V1__ImageSpec *spec)
{
    const char *const asked[] = {spec->user_specified_image, spec->image};
    for (size_t i = 0; i < GI_ARRAY_SIZE(asked); i++) {
        struct image_ref ref;
        char text[REF_TEXT_SIZE];
        if (!*asked[i] || image_ref_parse(asked[i], &ref, NULL) < 0)
            continue;
        image_ref_format(&ref, text);
        for (char *const *tag = image->repo_tags; tag && *tag; tag++)
            if (strcmp(*tag, text) == 0)
                return *tag;
    }
    return image->repo_tags && image->repo_tags[0] ? image->repo_tags[0] : spec->image;
}

/* Reserves the name. *ret_c has a reference; *ret_new: it was made. */
static int reserve(struct pod *p, const Runtime__V1__ContainerConfig *config,
                   const struct images_image *image, struct container **ret_c, bool *ret_new,
                   struct gi_error *err)
{
    GI_LOCK_SCOPE(&p->rt->lock);
    for (size_t i = 0; i < p->n_containers; i++) {
        struct container *c = p->containers[i];
        const Runtime__V1__ContainerMetadata *m = c->rec->config->metadata;
        if (c->unknown || strcmp(m->name, config->metadata->name) != 0 ||
            m->attempt != config->metadata->attempt)
            continue;
        /* A repeated request gets the container that the first one made. */
        if (container_state(c) == RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED &&
            strcmp(c->rec->image_id, image->id) == 0) {
            c->refs++;
            *ret_c = c;
            *ret_new = false;
            return 0;
        }
        return gi_fail(err, GI_ALREADY_EXISTS,
                       "failed to reserve container name \"%.60s_%.60s_%u\": name is reserved for "
                       "\"%s\"",
                       m->name, p->id, m->attempt, c->id);
    }
    if (p->n_containers >= p->rt->config->max_containers)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "pod %s has %zu containers already", p->id,
                       p->n_containers);
    char id[ID_SIZE];
    Gi__State__ContainerRecord *r = pb_new(&gi__state__container_record__descriptor);
    model_new_id(id);
    pb_set(&r->id, id);
    pb_set(&r->pod_id, p->id);
    r->config = pb_copy(config);
    pb_set(&r->image_id, image->id);
    pb_set(&r->image_ref,
           image->repo_digests && image->repo_digests[0] ? image->repo_digests[0] : image->id);
    pb_set(&r->image_name, shown_name(image, config->image));
    set_log_path(r, p->rec->config);
    r->recorded_ns = gi_now_ns();
    *ret_c = container_add(p, r);
    *ret_new = true;
    return 0;
}

int container_open_log(struct container *c, struct gi_error *err)
{
    int64_t last = 0;
    struct logfile *log = NULL;
    if (!*c->rec->log_path)
        return 0;
    int rc = logfile_open(c->rec->log_path, &log, &last, err);
    if (rc < 0)
        return rc;
    logfile_set_last_ns(log, c->rec->log_resume_ns);
    c->log = log;
    return 0;
}

/* What stands for the config's mounts in the zone: for each of them a root of an
 * image, or a copy of the host's files, or neither (NULL). */
struct mount_sources {
    char **images, **copies;
    size_t n;
};

static int mount_sources_init(struct mount_sources *s, size_t n, struct gi_error *err)
{
    s->images = calloc(n + 1, sizeof(*s->images));
    s->copies = calloc(n + 1, sizeof(*s->copies));
    if (!s->images || !s->copies)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    s->n = n;
    return 0;
}

static void mount_sources_free(struct mount_sources *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->images[i]);
        free(s->copies[i]);
    }
    free(s->images);
    free(s->copies);
}
#define cleanup_mount_sources __attribute__((cleanup(mount_sources_free)))

static int share_mounted_images(struct container *c, struct mount_sources *s, struct gi_error *err)
{
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    int rc = 0;
    for (size_t i = 0; i < s->n && rc == 0; i++)
        if (config->mounts[i]->image)
            rc = disks_share_mount(c, i, &s->images[i], err);
    return rc;
}

/* The full id of the container whose pid namespace C is to join, if it is to join one. */
static int find_pid_target(const struct container *c, char target[ID_SIZE], struct gi_error *err)
{
    static const char field[] = "config.linux.security_context.namespace_options.target_id";
    const Runtime__V1__LinuxContainerConfig *l = c->rec->config->linux;
    const Runtime__V1__NamespaceOption *n =
        l && l->security_context ? l->security_context->namespace_options : NULL;
    cleanup_container struct container *t = NULL;
    target[0] = '\0';
    if (!n || n->pid != RUNTIME__V1__NAMESPACE_MODE__TARGET || !*n->target_id)
        return 0;
    if (container_find(c->pod->rt, n->target_id, &t, NULL) < 0 || t->pod != c->pod)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: the pod has no container \"%.100s\"", field,
                       n->target_id);
    GI_LOCK_SCOPE(&c->pod->rt->lock);
    if (container_state(t) != RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s: container %s does not run", field, t->id);
    memcpy(target, t->id, ID_SIZE);
    return 0;
}

static int write_spec(struct rpc_call *call, struct container *c, const struct images_image *image,
                      struct agent_client *agent, struct oci_output *out, struct gi_error *err)
{
    struct pod *p = c->pod;
    char etc[PATH_MAX], pid_target[ID_SIZE] = "";
    cleanup_mount_sources struct mount_sources sources = {0};
    bool copied = runtime_copies_files(p->rt);
    cleanup_free dev_t *numbers = calloc(c->rec->config->n_devices + 1, sizeof(*numbers));
    if (!numbers)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    if (!copied)
        pod_path(p, "etc", etc, sizeof(etc));
    else
        snprintf(etc, sizeof(etc), "%s", AGENT_VOLUME_SOURCE POD_ETC_VOLUME);
    int rc = oci_check_mounts(c->rec->config, err);
    if (rc == 0)
        rc = find_pid_target(c, pid_target, err);
    if (rc == 0)
        rc = mount_sources_init(&sources, c->rec->config->n_mounts, err);
    if (rc == 0)
        rc = share_mounted_images(c, &sources, err);
    GI_FAILPOINT(rc, "container_mounted_images_shared", err);
    if (rc == 0)
        rc = disks_share_devices(c, numbers, err);
    GI_FAILPOINT(rc, "container_devices_shared", err);
    if (rc == 0 && copied)
        rc = volumes_prepare(c, agent, agent_patience(p->rt, call), sources.copies, err);
    GI_FAILPOINT(rc, "container_volumes_prepared", err);
    if (rc < 0)
        return rc;
    const struct oci_input in = {
        .container_id = c->id,
        .config = c->rec->config,
        .pod = p->rec->config,
        .image = image,
        .hostname = podconfig_hostname(p->rec->config),
        .etc_dir = etc,
        .host_paths = !copied,
        .image_roots = sources.images,
        .zone_sources = sources.copies,
        .device_numbers = numbers,
        .pid_target = *pid_target ? pid_target : NULL,
        .available_caps = xenmgr_shares_host(p->rt->mgr) ? oci_own_caps() : OCI_ALL_CAPS,
    };
    rc = oci_spec_write(&in, out, err);
    if (rc < 0)
        return rc;
    GI_LOCK_SCOPE(&p->rt->lock);
    Gi__State__ContainerRecord *r = c->rec;
    r->stop_signal = out->stop_signal;
    r->uid = out->uid;
    r->gid = out->gid;
    r->groups = calloc(out->n_groups + 1, sizeof(*r->groups));
    if (!r->groups)
        abort();
    r->n_groups = out->n_groups;
    for (size_t i = 0; i < out->n_groups; i++)
        r->groups[i] = out->groups[i];
    return 0;
}

static int create_in_zone(struct rpc_call *call, struct container *c,
                          const struct images_image *image, const struct oci_output *spec,
                          struct agent_client *agent, struct gi_error *err)
{
    cleanup_free char *rootfs = NULL;
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    int rc = machine_share_image(c->pod->machine, image->rootfs, &rootfs, err);
    GI_FAILPOINT(rc, "container_image_shared", err);
    if (rc < 0)
        return rc;
    const struct agent_container_spec as = {
        .id = c->id,
        .oci_json = spec->json,
        .image_rootfs = rootfs,
        .scratch_bytes = c->pod->rt->config->scratch_bytes,
        .tty = config->tty,
        .stdin_open = config->stdin,
        .stdin_once = config->stdin_once,
        .gpu = c->pod->rec->gpu,
        .stop_signal = spec->stop_signal,
    };
    rc = agent_create_container(agent, &as, agent_patience(c->pod->rt, call), err);
    GI_FAILPOINT(rc, "container_made_in_zone", err);
    if (rc < 0)
        return rc;
    return agent_follow_logs(agent, c->id, c->log ? logfile_last_ns(c->log) : 0,
                             agent_patience(c->pod->rt, call), err);
}

/* Record first, container second: what a crash leaves in between is known. */
static int build(struct rpc_call *call, struct container *c, const struct images_image *image,
                 struct gi_error *err)
{
    cleanup_agent struct agent_ref *a = NULL;
    cleanup_oci struct oci_output spec = {.json = NULL};
    int rc = images_acquire(c->pod->rt->images, image->id, c->id, err);
    GI_FAILPOINT(rc, "container_image_acquired", err);
    if (rc == 0)
        rc = pod_agent(c->pod, &a, err);
    if (rc == 0)
        rc = write_spec(call, c, image, a->client, &spec, err);
    if (rc == 0)
        rc = container_save(c, err);
    GI_FAILPOINT(rc, "container_record_saved", err);
    if (rc == 0)
        rc = container_open_log(c, err);
    GI_FAILPOINT(rc, "container_log_opened", err);
    if (rc == 0)
        rc = create_in_zone(call, c, image, &spec, a->client, err);
    if (rc < 0)
        return rc;
    {
        GI_LOCK_SCOPE(&c->pod->rt->lock);
        c->rec->created_ns = gi_now_ns();
        events_container(c, EVENT_CREATED);
    }
    rc = container_save(c, err);
    GI_FAILPOINT(rc, "container_created_saved", err);
    return rc;
}

/* Out of the tables and off the disk; nobody writes its record again. */
static void forget(struct container *c)
{
    char path[PATH_MAX];
    {
        GI_LOCK_SCOPE(&c->pod->save_lock);
        container_drop(c);
        container_path(c, ".rec", path, sizeof(path));
        unlink(path);
        container_path(c, ".rec.bad", path, sizeof(path));
        unlink(path);
    }
    GI_FAILPOINT_HERE("container_record_removed");
    images_release(c->pod->rt->images, c->id);
    GI_FAILPOINT_HERE("container_image_released");
}

static void unbuild(struct container *c)
{
    cleanup_agent struct agent_ref *a = NULL;
    struct gi_error err = GI_ERROR_INIT;
    int ms = agent_patience(c->pod->rt, NULL);
    if (pod_agent(c->pod, &a, NULL) == 0) {
        if (agent_remove_container(a->client, c->id, ms, &err) < 0)
            gi_log(GI_LOG_WARNING, "a container that could not be made can't be removed",
                   "container", c->id, "reason", err.message, NULL);
        else {
            volumes_release(c, a->client, ms);
            disks_release(c, a->client);
        }
    }
    forget(c);
}

int container_create(struct rpc_call *call, struct pod *p,
                     const Runtime__V1__ContainerConfig *config, char ret_id[ID_SIZE],
                     struct gi_error *err)
{
    cleanup_image struct images_image *image = NULL;
    cleanup_container struct container *c = NULL;
    bool is_new = false;
    int rc = check_config(config, err);
    if (rc == 0)
        rc = images_status(p->rt->images, config->image->image, &image, err);
    if (rc == 0)
        rc = pod_begin(p, call, err);
    if (rc < 0)
        return rc;
    cleanup_op struct pod *op = p;
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        if (p->gone)
            return gi_fail(err, GI_NOT_FOUND, "pod %s was removed", p->id);
        if (pod_state(p) != RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY)
            return gi_fail(err, GI_FAILED_PRECONDITION, "sandbox \"%s\" is not running", p->id);
    }
    rc = reserve(p, config, image, &c, &is_new, err);
    if (rc == 0 && is_new) {
        rc = build(call, c, image, err);
        if (rc < 0)
            unbuild(c);
    }
    if (rc < 0)
        return rc;
    memcpy(ret_id, c->id, ID_SIZE);
    return 0;
}

/* ---- start ---- */

static const char *state_name(Runtime__V1__ContainerState s)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(&runtime__v1__container_state__descriptor, s);
    return v ? v->name : "?";
}

/* The start failed, or nobody knows: what does the agent say? */
static void after_failed_start(struct container *c, struct agent_client *agent,
                               const struct gi_error *why)
{
    struct agent_status s;
    int rc = agent_container_status(agent, c->id, STATUS_MS, &s, NULL);
    {
        GI_LOCK_SCOPE(&c->pod->rt->lock);
        Gi__State__ContainerRecord *r = c->rec;
        if (rc == 0 && s.state == AGENT_RUNNING) {
            r->started_ns = gi_now_ns();
        } else if (rc == 0 && s.state == AGENT_EXITED && s.exit.started_ns) {
            container_set_exit(c, &s.exit, NULL);
        } else if (why->code != GI_DEADLINE_EXCEEDED && why->code != GI_UNAVAILABLE &&
                   !r->finished_ns) {
            const struct agent_exit failed = {.exit_code = EXIT_START_ERROR,
                                              .finished_ns = gi_now_ns()};
            container_set_exit(c, &failed, why->message);
        }
    }
    container_save_or_log(c);
}

int container_start(struct rpc_call *call, struct container *c, struct gi_error *err)
{
    struct pod *p = c->pod;
    cleanup_agent struct agent_ref *a = NULL;
    int rc = pod_begin(p, call, err);
    if (rc < 0)
        return rc;
    cleanup_op struct pod *op = p;
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        Runtime__V1__ContainerState s = container_state(c);
        if (c->gone)
            return gi_fail(err, GI_NOT_FOUND, "container %s was removed", c->id);
        if (pod_state(p) != RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY)
            return gi_fail(err, GI_FAILED_PRECONDITION, "sandbox \"%s\" is not running", p->id);
        if (s != RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED)
            return gi_fail(err, GI_FAILED_PRECONDITION, "container \"%s\" is in %s state", c->id,
                           state_name(s));
    }
    rc = pod_agent(p, &a, err);
    if (rc < 0)
        return rc;
    int64_t before = gi_now_ns();
    struct gi_error why = GI_ERROR_INIT;
    rc = agent_start_container(a->client, c->id, agent_patience(p->rt, call), &why);
    GI_FAILPOINT(rc, "container_started", &why);
    if (rc < 0) {
        after_failed_start(c, a->client, &why);
        return gi_fail(err, why.code, "failed to start container \"%s\": %s", c->id, why.message);
    }
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        /* It may have ended already; then the agent has told when it began. */
        if (!c->rec->started_ns) {
            c->rec->started_ns = before > c->rec->created_ns ? before : c->rec->created_ns;
            events_container(c, EVENT_STARTED);
        }
    }
    rc = container_save(c, err);
    GI_FAILPOINT(rc, "container_started_saved", err);
    return rc;
}

/* ---- stop ---- */

bool container_wait(struct container *c, const struct rpc_call *call, int64_t until_ns)
{
    struct runtime *rt = c->pod->rt;
    GI_LOCK_SCOPE(&rt->lock);
    for (;;) {
        if (c->rec->finished_ns || c->gone)
            return true;
        int64_t now = gi_monotonic_ns();
        if (now >= until_ns || (call && rpc_cancelled(call)))
            return false;
        /* Cancellation has no other way to wake us. */
        int64_t at = now + 100000000 < until_ns ? now + 100000000 : until_ns;
        struct timespec ts = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
        pthread_cond_timedwait(&rt->changed, &rt->lock, &ts);
    }
}

static int signal_container(struct rpc_call *call, struct container *c, int sig, bool all,
                            struct gi_error *err)
{
    cleanup_agent struct agent_ref *a = NULL;
    int rc = pod_agent(c->pod, &a, err);
    if (rc == 0)
        rc =
            agent_kill_container(a->client, c->id, sig, all, agent_patience(c->pod->rt, call), err);
    return rc == -GI_NOT_FOUND ? 0 : rc; /* it ended meanwhile */
}

/* SIGKILL to all of it, and its end. */
static int kill_container(struct rpc_call *call, struct container *c, struct gi_error *err)
{
    int rc = signal_container(call, c, SIGKILL, true, err);
    GI_FAILPOINT(rc, "container_killed", err);
    if (rc < 0) {
        /* The zone may have died under us; then the container has ended. */
        if (container_wait(c, call, gi_monotonic_ns() + 1000000000LL))
            return 0;
        return gi_prefix(err, "kill container \"%s\"", c->id);
    }
    if (container_wait(c, call, gi_monotonic_ns() + KILL_WAIT_NS))
        return 0;
    rc = call ? rpc_check(call, err) : 0;
    return rc < 0 ? rc
                  : gi_fail(err, GI_DEADLINE_EXCEEDED, "container \"%s\" survives SIGKILL", c->id);
}

/* Waits without the pod's operation: kubelet stops all containers of a pod at
 * once, and their grace periods run together. */
int container_stop(struct rpc_call *call, struct container *c, int64_t grace_s,
                   struct gi_error *err)
{
    int sig;
    {
        GI_LOCK_SCOPE(&c->pod->rt->lock);
        if (container_state(c) != RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
            return 0;
        sig = c->rec->stop_signal ? c->rec->stop_signal : SIGTERM;
    }
    if (grace_s > 0) {
        int rc = signal_container(call, c, sig, false, err);
        GI_FAILPOINT(rc, "container_signalled", err);
        int64_t until = INT64_MAX;
        if (grace_s < 365 * 86400)
            until = gi_monotonic_ns() + grace_s * 1000000000;
        if (rc == 0 && container_wait(c, call, until))
            return 0;
        if (rpc_check(call, err) < 0)
            return gi_prefix(err, "container \"%s\" has not ended yet", c->id);
    }
    return kill_container(call, c, err);
}

/* ---- remove ---- */

int container_remove(struct rpc_call *call, struct container *c, struct gi_error *err)
{
    cleanup_agent struct agent_ref *a = NULL;
    bool running, has_machine;
    int rc = 0;
    {
        GI_LOCK_SCOPE(&c->pod->rt->lock);
        if (c->gone)
            return 0;
        running = container_state(c) == RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
        has_machine = c->pod->machine != NULL && !c->pod->ended;
    }
    if (running && has_machine)
        rc = kill_container(call, c, err);
    if (rc == 0 && has_machine) {
        rc = pod_agent(c->pod, &a, err);
        if (rc == 0)
            rc = agent_remove_container(a->client, c->id, agent_patience(c->pod->rt, call), err);
        GI_FAILPOINT(rc, "container_removed_in_zone", err);
        if (rc < 0)
            gi_prefix(err, "remove container \"%s\"", c->id);
        else {
            volumes_release(c, a->client, agent_patience(c->pod->rt, call));
            disks_release(c, a->client);
        }
    }
    if (rc == 0)
        forget(c);
    return rc;
}
