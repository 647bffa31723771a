/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime as a whole: opened, ticking, closed. */
#include "core/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "streaming/streaming.h"

#define TICK_MS        200
#define JOB_THREADS    64
#define JOBS_QUEUED    4096
#define CLOSE_GRACE_MS 5000

/* ---- parts ---- */

/* Two runtimes on one state would each end the other's pods as strays. */
static int lock_state(struct runtime *rt, struct gi_error *err)
{
    cleanup_free char *path = NULL;
    if (asprintf(&path, "%s/lock", rt->config->state_dir) < 0)
        abort();
    rt->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (rt->lock_fd < 0)
        return gi_fail_errno(err, errno, "%s", path);
    if (flock(rt->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return gi_fail(err, GI_FAILED_PRECONDITION, "state_dir %s is in use by another runtime",
                       rt->config->state_dir);
    return 0;
}

static int make_folders(struct runtime *rt, struct gi_error *err)
{
    const struct config *c = rt->config;
    if (asprintf(&rt->pods_dir, "%s/pods", c->state_dir) < 0)
        abort();
    /* Containers' users walk through run_dir to their sockets, none reads it. */
    int rc = gi_mkdir_p(c->run_dir, 0711, err);
    if (rc == 0)
        rc = gi_mkdir_p(c->state_dir, 0711, err);
    if (rc == 0)
        rc = gi_mkdir_p(rt->pods_dir, 0711, err);
    return rc == 0 ? lock_state(rt, err) : rc;
}

static int open_images(struct runtime *rt, struct gi_error *err)
{
    const struct config *c = rt->config;
    cleanup_free char *root = NULL;
    cleanup_free struct images_registry *regs = calloc(c->n_registries + 1, sizeof(*regs));
    if (!regs || asprintf(&root, "%s/images", c->state_dir) < 0)
        abort();
    for (size_t i = 0; i < c->n_registries; i++) {
        const struct config_registry *r = &c->registries[i];
        regs[i] = (struct images_registry){
            .host = r->host,
            .mirrors = (const char *const *)r->mirrors,
            .plain_http = r->plain_http,
            .insecure_skip_verify = r->insecure_skip_verify,
            .ca_file = r->ca_file && *r->ca_file ? r->ca_file : NULL,
        };
    }
    const struct images_config ic = {
        .root = root,
        .registries = regs,
        .n_registries = c->n_registries,
        .pinned = (const char *const *)c->pinned_images,
        .parallel_layers = (unsigned)c->parallel_layers,
        .max_image_bytes = c->max_image_bytes,
        .discard_layers = c->discard_layers,
    };
    return images_open(&ic, &rt->images, err);
}

static int open_machines(struct runtime *rt, struct gi_error *err)
{
    const struct config *c = rt->config;
    const struct xenmgr_config xc = {
        .driver = c->machine_driver,
        .run_dir = c->run_dir,
        .state_dir = c->state_dir,
        .agent_path = c->agent_path,
        .libvgpu_path = c->libvgpu_path,
        .oci_runtime = c->oci_runtime,
        .xen_kernel = c->xen_kernel,
        .xen_zone_type = c->xen_zone_type,
        .xen_scratch_bytes = c->xen_scratch_size,
        .xen_resize_factor = (unsigned)c->xen_resize_factor,
        .xen_root = c->xen_root,
        .xen_cmdline = c->xen_cmdline,
        .xen_block_script = c->xen_block_script,
        .xen_vif_script = c->xen_vif_script,
        .xen_gpu_root = c->xen_gpu_root,
        .xen_gpu_memory = c->xen_gpu_memory,
        .xen_gpu_devices = (const char *const *)c->xen_gpu_devices,
        .xen_gpu_type = c->xen_gpu_type,
        .xen_gpu_kernel = c->xen_gpu_kernel,
        .xen_gpu_cmdline = c->xen_gpu_cmdline,
        .gpu_proxy_socket = c->gpu_proxy_socket,
    };
    int rc = xenmgr_open(&xc, &rt->mgr, err);
    if (rc == 0)
        gi_log(GI_LOG_INFO, "machines", "driver", xenmgr_describe(rt->mgr), NULL);
    return rc;
}

bool runtime_copies_files(const struct runtime *rt)
{
    return !xenmgr_shares_host(rt->mgr) || strcmp(rt->config->host_files, "copied") == 0;
}

/* ---- ticking ---- */

static void *tick_main(void *arg)
{
    struct runtime *rt = arg;
    pthread_setname_np(pthread_self(), "ticker");
    while (!atomic_load(&rt->stopping)) {
        link_tick(rt);
        volumes_tick(rt);
        network_tick(rt);
        usleep(TICK_MS * 1000);
    }
    return NULL;
}

static int start_ticker(struct runtime *rt, struct gi_error *err)
{
    int rc = pthread_create(&rt->ticker, NULL, tick_main, rt);
    if (rc != 0)
        return gi_fail_errno(err, rc, "the ticker's thread");
    rt->ticking = true;
    return 0;
}

/* ---- open and close ---- */

int runtime_open(const struct config *config, struct runtime **ret_rt, struct gi_error *err)
{
    struct runtime *rt = calloc(1, sizeof(*rt));
    if (!rt)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    rt->config = config;
    rt->lock_fd = -1;
    pthread_mutex_init(&rt->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&rt->changed, &attr);
    pthread_condattr_destroy(&attr);

    int rc = make_folders(rt, err);
    if (rc == 0)
        rc = pool_new("job", JOB_THREADS, JOBS_QUEUED, &rt->jobs, err);
    if (rc == 0)
        rc = control_client_new(config->gpu_proxy_socket, &rt->control, err);
    if (rc == 0)
        rc = open_images(rt, err);
    if (rc == 0)
        rc = open_machines(rt, err);
    if (rc == 0)
        rc = network_open(rt, err);
    if (rc == 0)
        rc = restart_recover(rt, err);
    if (rc == 0)
        rc = streams_open(rt, err);
    if (rc == 0)
        rc = start_ticker(rt, err);
    if (rc < 0) {
        runtime_close(rt);
        return rc;
    }
    *ret_rt = rt;
    return 0;
}

static void drop_pods(struct runtime *rt)
{
    while (rt->n_pods > 0) {
        struct pod *p = rt->pods[0];
        while (p->n_containers > 0)
            container_drop(p->containers[0]);
        /* First the machine: its watcher is called with the pod. */
        machine_put(TAKE_PTR(p->machine));
        pod_drop(p);
    }
}

void runtime_close(struct runtime *rt)
{
    atomic_store(&rt->stopping, true);
    if (rt->ticking)
        pthread_join(rt->ticker, NULL);
    if (rt->streaming)
        streaming_close(rt->streaming);
    /* Readers of agents' connections end first: they submit jobs. */
    for (size_t i = 0; i < rt->n_pods; i++)
        pod_disconnect(rt->pods[i]);
    if (rt->jobs && !pool_stop(rt->jobs, CLOSE_GRACE_MS)) {
        /* A job hangs and holds all this; the process ends anyway. */
        gi_log(GI_LOG_WARNING, "work under way is left to the next start", NULL);
        return;
    }
    drop_pods(rt);
    xenmgr_close(rt->mgr);
    network_close(rt);
    pool_free(rt->jobs);
    if (rt->images)
        images_close(rt->images);
    if (rt->control)
        control_client_free(rt->control);
    pthread_mutex_destroy(&rt->lock);
    pthread_cond_destroy(&rt->changed);
    if (rt->lock_fd >= 0)
        close(rt->lock_fd);
    free(rt->pods);
    free(rt->pod_cidr);
    free(rt->pods_dir);
    free(rt);
}
