/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measured part of failpoints.sh: one pod's life as kubelet leads it.
 *
 *   life STATE        from where STATE (a file; none: the beginning) says it
 *                     was to its end; stops at the first failure. Checks before
 *                     that nothing was lost or doubled, and after the end that
 *                     nothing is left.
 *   errors PLAN NAME..  a life with an error at each of these failpoints; each
 *                     call must work when it is made again
 *   lists             the list calls answer within two seconds
 *
 * STATE has the calls that were begun and those acknowledged. Environment:
 * podkit's and leaks'; FP_VOLUME, a folder of the host's files that the container
 * has: `folder` read-only, `file` to write to, and its image mounted once more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "leaks.h"
#include "podkit.h"
#include "textpb.h"

#define POD "failpoint"

enum step {
    RUN_POD,
    CREATE,
    START,
    STOP,
    REMOVE,
    STOP_POD,
    REMOVE_POD,
    N_STEPS,
};
static const char *const step_names[N_STEPS] = {
    "RunPodSandbox",   "CreateContainer", "StartContainer",   "StopContainer",
    "RemoveContainer", "StopPodSandbox",  "RemovePodSandbox",
};

struct state {
    int begun; /* steps */
    int done;
    char pod[80];
    char container[80];
};

static int load_state(const char *path, struct state *s)
{
    *s = (struct state){.begun = 0};
    cleanup_fclose FILE *f = path ? fopen(path, "re") : NULL;
    if (!f)
        return 0;
    return fscanf(f, "%d %d %79s %79s", &s->begun, &s->done, s->pod, s->container) == 4 ? 0 : -1;
}

static int save_state(const char *path, const struct state *s)
{
    cleanup_fclose FILE *f = path ? fopen(path, "we") : NULL;
    if (path && !f)
        return -1;
    if (f)
        fprintf(f, "%d %d %s %s\n", s->begun, s->done, *s->pod ? s->pod : "-",
                *s->container ? s->container : "-");
    return 0;
}

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    return -1;
}

/* ---- what the runtime lists ---- */

static int list_pods(struct podkit *k, Runtime__V1__ListPodSandboxResponse **ret,
                     struct gi_error *err)
{
    const struct gi_cri_call_options o = {.timeout_ms = 2000};
    Runtime__V1__ListPodSandboxRequest q = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    return gi_cri_call(k->client, "ListPodSandbox", &q.base, &o, (ProtobufCMessage **)ret, err);
}

static int list_containers(struct podkit *k, Runtime__V1__ListContainersResponse **ret,
                           struct gi_error *err)
{
    const struct gi_cri_call_options o = {.timeout_ms = 2000};
    Runtime__V1__ListContainersRequest q = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    return gi_cri_call(k->client, "ListContainers", &q.base, &o, (ProtobufCMessage **)ret, err);
}

/* At most one pod; there and ready if it was acknowledged and nobody began to stop it. */
static int check_pod(struct podkit *k, const struct state *s)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ListPodSandboxResponse *r = NULL;
    int rc = 0;
    if (list_pods(k, &r, &err) < 0)
        return complain("ListPodSandbox", err.message);
    if (r->n_items > 1)
        rc = complain("pods", "one was doubled");
    if (rc == 0 && s->done > RUN_POD && s->begun <= REMOVE_POD &&
        (r->n_items != 1 || strcmp(r->items[0]->id, s->pod) != 0))
        rc = complain("pods", "an acknowledged one is lost");
    if (rc == 0 && s->done > RUN_POD && s->begun <= STOP_POD &&
        r->items[0]->state != RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY)
        rc = complain("pods", "it is not ready any more");
    if (rc == 0 && s->done > REMOVE_POD && r->n_items)
        rc = complain("pods", "a removed one is back");
    podkit_free(r);
    return rc;
}

static int check_container(struct podkit *k, const struct state *s)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ListContainersResponse *r = NULL;
    int rc = 0;
    if (list_containers(k, &r, &err) < 0)
        return complain("ListContainers", err.message);
    if (r->n_containers > 1)
        rc = complain("containers", "one was doubled");
    if (rc == 0 && s->done > CREATE && s->begun <= REMOVE &&
        (r->n_containers != 1 || strcmp(r->containers[0]->id, s->container) != 0))
        rc = complain("containers", "an acknowledged one is lost");
    if (rc == 0 && s->done > START && s->begun <= STOP &&
        r->containers[0]->state != RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
        rc = complain("containers", "it does not run any more");
    if (rc == 0 && s->done > REMOVE && r->n_containers)
        rc = complain("containers", "a removed one is back");
    podkit_free(r);
    return rc;
}

/* What the container wrote is on the host when its end is told. */
static int check_file(const struct state *s)
{
    char path[300];
    char *text = NULL;
    size_t len = 0;
    snprintf(path, sizeof(path), "%s/file", getenv("FP_VOLUME"));
    if (s->done != STOP + 1)
        return 0;
    bool is = gi_read_file(path, 4096, &text, &len, NULL) == 0 && strcmp(text, "written\n") == 0;
    free(text);
    return is ? 0 : complain("a file that the container wrote", "it did not come back");
}

/* ---- a life ---- */

static int create(struct podkit *k, struct state *s, struct gi_error *err)
{
    const struct gi_cri_call_options o = {.timeout_ms = 120000};
    const char *volume = getenv("FP_VOLUME");
    char path[300];
    Runtime__V1__CreateContainerResponse *r = NULL;
    snprintf(path, sizeof(path), "%s/file", volume);
    int rc = gi_write_file_atomic(path, "empty\n", 6, 0644, err);
    if (rc < 0)
        return rc;
    Runtime__V1__CreateContainerRequest *q = textpb(
        &runtime__v1__create_container_request__descriptor,
        "pod_sandbox_id: %s config { metadata { name: main } image { image: '%s' }"
        " log_path: main.log command: /bin/sh command: -c"
        " args: 'trap \"exit 3\" TERM; cat /folder/a >/file; while :; do /bin/sleep 0.02; done'"
        " mounts { host_path: '%s/folder' container_path: /folder readonly: true }"
        " mounts { host_path: '%s' container_path: /file }"
        " mounts { container_path: /image image { image: '%s' } } }"
        " sandbox_config { metadata { name: %s } }",
        s->pod, k->image, volume, path, k->image, POD);
    rc = gi_cri_call(k->client, "CreateContainer", &q->base, &o, (ProtobufCMessage **)&r, err);
    if (rc == 0)
        snprintf(s->container, sizeof(s->container), "%s", r->container_id);
    podkit_free(q);
    podkit_free(r);
    return rc;
}

/* Until it has written its file. It may have ended already: that is seen elsewhere. */
static void await_file(struct podkit *k, const struct state *s)
{
    const struct gi_cri_call_options o = {.timeout_ms = 30000};
    ProtobufCMessage *r = NULL;
    Runtime__V1__ExecSyncRequest *q =
        textpb(&runtime__v1__exec_sync_request__descriptor,
               "container_id: %s timeout: 20 cmd: /bin/sh cmd: -c"
               " cmd: 'until [ \"$(cat /file)\" = written ]; do /bin/sleep 0.02; done'",
               s->container);
    gi_cri_call(k->client, "ExecSync", &q->base, &o, &r, NULL);
    podkit_free(q);
    podkit_free(r);
}

static int one_step(struct podkit *k, enum step step, struct state *s, struct gi_error *err)
{
    switch (step) {
    case RUN_POD:
        return podkit_run_pod(k, POD, NULL, s->pod, err);
    case CREATE:
        return create(k, s, err);
    case START:
        return podkit_start(k, s->container, err);
    case STOP:
        await_file(k, s);
        return podkit_stop(k, s->container, getenv("FP_KILL") ? 0 : 5, err);
    case REMOVE:
        return podkit_remove(k, s->container, err);
    case STOP_POD:
        return podkit_stop_pod(k, s->pod, err);
    default:
        return podkit_remove_pod(k, s->pod, err);
    }
}

/* As kubelet: it looks at what there is and does what is missing. A start that
 * failed may have ended the container, or worked. */
static bool started_already(struct podkit *k, const struct state *s)
{
    Runtime__V1__ContainerStatusResponse *r = NULL;
    bool is = podkit_status(k, s->container, &r, NULL) == 0 &&
              r->status->state != RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED;
    podkit_free(r);
    return is;
}

/* A failed call is made again TRIES times. */
static int live(struct podkit *k, const char *path, struct state *s, int tries)
{
    for (int step = s->done; step < N_STEPS; step++) {
        struct gi_error err = GI_ERROR_INIT;
        int rc = -1;
        bool again = s->begun > step;
        s->begun = step + 1;
        if (save_state(path, s) < 0)
            return complain("state", "can't be written");
        for (int i = 0; i <= tries && rc < 0; i++) {
            err = (struct gi_error)GI_ERROR_INIT;
            if (step == START && (again || i > 0) && started_already(k, s))
                rc = 0;
            else
                rc = one_step(k, (enum step)step, s, &err);
        }
        if (rc < 0)
            return complain(step_names[step], err.message);
        s->done = step + 1;
        if (check_file(s) < 0)
            return -1;
        if (save_state(path, s) < 0)
            return complain("state", "can't be written");
    }
    return 0;
}

static int life(struct podkit *k, const char *path)
{
    struct state s;
    if (load_state(path, &s) < 0)
        return complain("state", "can't be read");
    if (check_pod(k, &s) < 0 || check_container(k, &s) < 0 || live(k, path, &s, 0) < 0)
        return -1;
    return leaks_check();
}

static int errors(struct podkit *k, const char *plan, char **names)
{
    for (; *names; names++) {
        struct state s = {.begun = 0};
        cleanup_fclose FILE *f = fopen(plan, "we");
        if (!f)
            return complain("plan", "can't be written");
        fprintf(f, "%s=error\n", *names);
        fclose(TAKE_PTR(f));
        if (strcmp(*names, "container_killed") == 0)
            setenv("FP_KILL", "1", 1);
        int rc = live(k, NULL, &s, 1);
        unsetenv("FP_KILL");
        if (rc == 0 && unlink(plan) == 0)
            rc = complain("failpoint", "not reached");
        if (rc < 0 || check_pod(k, &s) < 0 || check_container(k, &s) < 0 || leaks_check() < 0)
            return complain("error at", *names);
    }
    return 0;
}

static int lists(struct podkit *k)
{
    const struct state none = {.begun = 0};
    return check_pod(k, &none) < 0 || check_container(k, &none) < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct podkit k;
    int rc = -2;
    if (podkit_open(&k) < 0)
        return 2;
    if (!getenv("FP_VOLUME"))
        return complain("failpoints", "needs FP_VOLUME"), 2;
    if (argc == 3 && strcmp(argv[1], "life") == 0)
        rc = life(&k, argv[2]);
    else if (argc >= 3 && strcmp(argv[1], "errors") == 0)
        rc = errors(&k, argv[2], argv + 3);
    else if (argc == 2 && strcmp(argv[1], "lists") == 0)
        rc = lists(&k);
    podkit_close(&k);
    return -rc;
}
