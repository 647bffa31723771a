/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pod with one container, in the foreground: what the kubelet does, by
 * hand. Whatever happens, what was made is taken away again (but with --keep
 * and --detach).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "build.h"
#include "logfile.h"
#include "pod.h"
#include "pull.h"
#include "run_options.h"
#include "table.h"

struct job {
    struct ctl *ctl;
    struct run_options o;
    char *pod_id, *container_id;
    bool have_logs;
};

static double since(int64_t begin_ns)
{
    return (double)(gi_monotonic_ns() - begin_ns) / 1e9;
}

static int get_image(struct job *j, struct gi_error *err)
{
    if (j->o.pull != PULL_ALWAYS) {
        int have = pull_have_image(j->ctl, j->o.image, err);
        if (have < 0)
            return have;
        if (have)
            return 0;
        if (j->o.pull == PULL_NEVER)
            return gi_fail(err, GI_NOT_FOUND, "the runtime doesn't have it, and --pull never");
    }
    return pull_image(j->ctl, j->o.image, NULL, j->o.pod, j->o.quiet, NULL, err);
}

static int make_pod(struct job *j, struct gi_error *err)
{
    Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
    cleanup_message Runtime__V1__RunPodSandboxResponse *r = NULL;
    char id[CELL];
    int64_t begin_ns = gi_monotonic_ns();

    int rc = gi_mkdir_p(j->o.pod->log_directory, 0755, err);
    if (rc < 0)
        return rc;
    j->have_logs = true;
    request.config = j->o.pod;
    request.runtime_handler = (char *)j->o.handler;
    rc = ctl_call(j->ctl, "RunPodSandbox", &request.base, -1, &r, err);
    if (rc < 0)
        return gi_prefix(err, "pod");
    build_set(&j->pod_id, r->pod_sandbox_id);
    if (!j->o.quiet)
        fprintf(stderr, "pod %s ready in %.2f s (%s%s%s)\n", cell_id(id, j->pod_id),
                since(begin_ns), *j->o.handler ? j->o.handler : "default handler",
                j->o.gpu ? ", GPU " : "", j->o.gpu_memory ? j->o.gpu_memory : "");
    return 0;
}

static int make_container(struct job *j, struct gi_error *err)
{
    Runtime__V1__CreateContainerRequest create = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
    Runtime__V1__StartContainerRequest start = RUNTIME__V1__START_CONTAINER_REQUEST__INIT;
    cleanup_message Runtime__V1__CreateContainerResponse *created = NULL;
    cleanup_message Runtime__V1__StartContainerResponse *started = NULL;
    char id[CELL];
    int64_t begin_ns = gi_monotonic_ns();

    create.pod_sandbox_id = j->pod_id;
    create.config = j->o.container;
    create.sandbox_config = j->o.pod;
    int rc = ctl_call(j->ctl, "CreateContainer", &create.base, -1, &created, err);
    if (rc < 0)
        return gi_prefix(err, "container");
    build_set(&j->container_id, created->container_id);
    start.container_id = j->container_id;
    rc = ctl_call(j->ctl, "StartContainer", &start.base, -1, &started, err);
    if (rc < 0)
        return gi_prefix(err, "starting");
    if (!j->o.quiet)
        fprintf(stderr, "container %s started in %.2f s\n", cell_id(id, j->container_id),
                since(begin_ns));
    return 0;
}

static int status(struct job *j, Runtime__V1__ContainerStatusResponse **ret, struct gi_error *err)
{
    Runtime__V1__ContainerStatusRequest request = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;
    request.container_id = j->container_id;
    int rc = ctl_call(j->ctl, "ContainerStatus", &request.base, -1, ret, err);
    return rc == 0 && !(*ret)->status ? gi_fail(err, GI_INTERNAL, "the runtime sent no status")
                                      : rc;
}

/* A runtime that restarts is waited for: its containers run on. */
#define UNAVAILABLE_PATIENCE_NS (30 * INT64_C(1000000000))

/* An exit code says enough; "OOMKilled" or a message says more. */
static void say_why(const struct job *j, const Runtime__V1__ContainerStatus *s)
{
    bool plain = strcmp(s->reason, "Completed") == 0 || strcmp(s->reason, "Error") == 0;
    if (!j->o.quiet && *s->reason && (!plain || *s->message))
        fprintf(stderr, "container ended: %s%s%s\n", s->reason, *s->message ? ": " : "",
                s->message);
}

/* Copies the log to our outputs until the container ended and all was read. */
static int follow(struct job *j, int *ret_exit_code, struct gi_error *err)
{
    cleanup_log struct log_reader log = {.fd = -1};
    bool opened = false;
    int64_t answered_ns = gi_monotonic_ns();
    unsigned tick = 0;

    for (;; tick++) {
        cleanup_message Runtime__V1__ContainerStatusResponse *r = NULL;
        bool any = false;
        /* The state first: when it says exited, the log read after is whole. */
        int rc = status(j, &r, err);
        if (rc == -GI_UNAVAILABLE && gi_monotonic_ns() - answered_ns < UNAVAILABLE_PATIENCE_NS) {
            if (ctl_sleep_ms(200))
                return gi_fail(err, GI_CANCELLED, "interrupted");
            continue;
        }
        if (rc < 0)
            return rc;
        answered_ns = gi_monotonic_ns();
        if (!opened && *r->status->log_path) {
            rc = log_open(&log, r->status->log_path, false, err);
            if (rc < 0)
                return rc;
            opened = true;
        }
        if (opened && (rc = log_read(&log, &any, err)) < 0)
            return rc;
        if (r->status->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED) {
            *ret_exit_code = r->status->exit_code;
            say_why(j, r->status);
            return 0;
        }
        /* Short programs are noticed at once, long ones cost little. */
        if (ctl_sleep_ms(any || tick < 20 ? 20 : tick < 100 ? 50 : 200))
            return gi_fail(err, GI_CANCELLED, "interrupted");
    }
}

/* RunPodSandbox failed for the client only (deadline): the pod may exist. */
static void find_pod(struct job *j)
{
    Runtime__V1__ListPodSandboxRequest request = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    cleanup_message Runtime__V1__ListPodSandboxResponse *r = NULL;
    if (ctl_call(j->ctl, "ListPodSandbox", &request.base, -1, &r, NULL) < 0)
        return;
    for (size_t i = 0; i < r->n_items; i++)
        if (r->items[i]->metadata && strcmp(r->items[i]->metadata->uid, j->o.uid) == 0)
            build_set(&j->pod_id, r->items[i]->id);
}

static int clean_up(struct job *j, struct gi_error *err)
{
    int rc = 0;
    ctl_interrupt_defer(true);
    if (!j->pod_id && j->have_logs)
        find_pod(j);
    if (j->pod_id) {
        rc = pod_stop(j->ctl, j->pod_id, err);
        if (rc == 0)
            rc = pod_remove(j->ctl, j->pod_id, err);
    }
    /* Logs of a pod that could not be removed may be needed. */
    if (rc == 0 && j->have_logs)
        rc = pod_remove_logs(j->ctl, j->o.uid, err);
    return rc;
}

static int foreground(struct job *j, int *ret_exit_code, struct gi_error *err)
{
    int rc = get_image(j, err);
    if (rc < 0)
        return gi_prefix(err, "%s", j->o.image);
    /* A call whose answer names what must be removed is never given up. */
    ctl_interrupt_defer(true);
    rc = make_pod(j, err);
    if (rc == 0 && !ctl_interrupted())
        rc = make_container(j, err);
    ctl_interrupt_defer(false);
    if (rc < 0)
        return rc;
    if (ctl_interrupted())
        return gi_fail(err, GI_CANCELLED, "interrupted");
    return j->o.detach ? 0 : follow(j, ret_exit_code, err);
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    struct job j = {.ctl = ctl};
    struct gi_error err = GI_ERROR_INIT, clean_err = GI_ERROR_INIT;
    int exit_code = 0;

    int rc = run_options_parse(ctl, self, argc, argv, &j.o);
    if (rc != 0) {
        run_options_free(&j.o);
        return rc - 1;
    }
    rc = foreground(&j, &exit_code, &err);
    int result = exit_code & 0xff;
    if (rc < 0)
        result = ctl_report(ctl, &err, NULL) == EXIT_INTERRUPTED ? EXIT_INTERRUPTED : EXIT_OWN;
    bool keep = (j.o.keep || j.o.detach) && rc == 0;
    if (!keep && clean_up(&j, &clean_err) < 0) {
        ctl_report(ctl, &clean_err, "removing the pod");
        result = EXIT_OWN;
    }
    if (keep && ctl->json)
        printf("{\"pod\":\"%s\",\"container\":\"%s\"}\n", j.pod_id, j.container_id);
    else if (keep && j.o.detach)
        printf("%s\n", j.container_id);
    else if (keep && !j.o.quiet)
        fprintf(stderr, "pod %s is kept; remove it with: gpuictl rm -f %s\n", j.pod_id, j.pod_id);
    free(j.pod_id);
    free(j.container_id);
    run_options_free(&j.o);
    return result;
}

const struct command cmd_run = {
    .name = "run",
    .summary = "run a program in a pod of its own",
    .usage =
        "usage: gpuictl run [OPTION...] IMAGE [--] [COMMAND [ARG...]]\n\n"
        "Makes a pod, starts a container of IMAGE in it, copies its output, returns its exit code\n"
        "and removes the pod. COMMAND replaces the image's own (its entry point stays). 125: the\n"
        "pod could not be run. Ctrl-C stops and removes it; twice: at once, leaving it.\n\n"
        "  --gpu                   the pod may use the GPU\n"
        "  --gpu-memory SIZE       its quota of GPU memory, as 4Gi; implies --gpu\n"
        "  --gpu-weight N          its part of GPU time beside other pods' (100); implies --gpu\n"
        "  --gpu-cap N             the most per cent of GPU time it gets (100); implies --gpu\n"
        "  --memory SIZE           limit of the container, and of the pod\n"
        "  --cpus N                the same, in cores\n"
        "  -e, --env NAME[=VALUE]  may be repeated; without a value: the one here\n"
        "  --mount /HOST:/IN[:ro]  may be repeated\n"
        "  -w, --workdir DIR       the program's folder\n"
        "  --user USER             a number, or a name of the image\n"
        "  --read-only             the image can't be written\n"
        "  --privileged            all that its machine has (in a zone that is a domain: the "
        "zone)\n"
        "  --host-network          the host's network, not one of its own\n"
        "  --handler NAME          runtime handler, default gpu-isolated; \"\" is the runtime's "
        "own\n"
        "  --pull WHEN             always, missing (default) or never\n"
        "  --name NAME, --namespace NAME, -l, --label NAME=VALUE\n"
        "                          of the pod; labels may be repeated\n"
        "  --rm                    remove the pod at the end (this is the default)\n"
        "  --keep                  leave it, with its log\n"
        "  -d, --detach            print the container's id and return at once\n"
        "  -q, --quiet             nothing but the program's output\n",
    .run = run,
};
