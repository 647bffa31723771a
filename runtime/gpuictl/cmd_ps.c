/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "cri/pbjson.h"
#include "ctl.h"
#include "table.h"

static const char *pod_state(Runtime__V1__PodSandboxState s)
{
    return s == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY ? "ready" : "not ready";
}

static const char *container_state(Runtime__V1__ContainerState s)
{
    switch (s) {
    case RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED:
        return "created";
    case RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING:
        return "running";
    case RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED:
        return "exited";
    default:
        return "unknown";
    }
}

static int print_pods(const Runtime__V1__ListPodSandboxResponse *pods)
{
    struct table t = {0};
    table_row(&t, "POD", "NAMESPACE/NAME", "STATE", "HANDLER", "GPU", "AGE", NULL);
    for (size_t i = 0; i < pods->n_items; i++) {
        const Runtime__V1__PodSandbox *p = pods->items[i];
        char id[CELL], age[CELL], name[256] = "?";
        if (p->metadata)
            snprintf(name, sizeof(name), "%.100s/%.150s", p->metadata->namespace_,
                     p->metadata->name);
        const char *gpu = gi_cri_map_get(p->annotations, p->n_annotations, "gpu-isolated.dev/gpu");
        const char *quota =
            gi_cri_map_get(p->annotations, p->n_annotations, "gpu-isolated.dev/gpu-memory");
        table_row(&t, cell_id(id, p->id), name, pod_state(p->state),
                  *p->runtime_handler ? p->runtime_handler : "(default)",
                  !gpu    ? ""
                  : quota ? quota
                          : gpu,
                  cell_age(age, p->created_at), NULL);
    }
    return table_print(&t);
}

static int print_containers(const Runtime__V1__ListContainersResponse *containers)
{
    struct table t = {0};
    table_row(&t, "CONTAINER", "NAME", "STATE", "IMAGE", "POD", "AGE", NULL);
    for (size_t i = 0; i < containers->n_containers; i++) {
        const Runtime__V1__Container *c = containers->containers[i];
        char id[CELL], pod[CELL], age[CELL];
        table_row(&t, cell_id(id, c->id), c->metadata ? c->metadata->name : "?",
                  container_state(c->state), c->image ? c->image->image : c->image_ref,
                  cell_id(pod, c->pod_sandbox_id), cell_age(age, c->created_at), NULL);
    }
    return table_print(&t);
}

static int print_json(const Runtime__V1__ListPodSandboxResponse *pods,
                      const Runtime__V1__ListContainersResponse *containers)
{
    const unsigned flags = GI_PBJSON_INDENT | GI_PBJSON_DEFAULTS;
    cleanup_buf struct gi_buf b = GI_BUF_INIT(256u << 20);
    if (gi_buf_printf(&b, "{\"pods\":") != 0 || gi_pbjson_write(&b, &pods->base, flags) != 0 ||
        gi_buf_printf(&b, ",\"containers\":") != 0 ||
        gi_pbjson_write(&b, &containers->base, flags) != 0) {
        fprintf(stderr, "gpuictl: the answer is too large to print\n");
        return EXIT_FAILED;
    }
    printf("%s}\n", b.data);
    return EXIT_OK;
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {
        {"all", no_argument, NULL, 'a'}, {"quiet", no_argument, NULL, 'q'}, CTL_COMMON_OPTIONS};
    bool all = false, quiet = false;
    int opt;
    while ((opt = getopt_long(argc, argv, "haq", options, NULL)) != -1) {
        if (opt == 'a')
            all = true;
        else if (opt == 'q')
            quiet = true;
        else
            return ctl_option(self, opt);
    }
    if (optind < argc)
        return ctl_usage_error(self, "takes no arguments");

    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__PodSandboxStateValue ready = RUNTIME__V1__POD_SANDBOX_STATE_VALUE__INIT;
    Runtime__V1__PodSandboxFilter pod_filter = RUNTIME__V1__POD_SANDBOX_FILTER__INIT;
    Runtime__V1__ListPodSandboxRequest pod_request = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__ContainerStateValue running = RUNTIME__V1__CONTAINER_STATE_VALUE__INIT;
    Runtime__V1__ContainerFilter filter = RUNTIME__V1__CONTAINER_FILTER__INIT;
    Runtime__V1__ListContainersRequest request = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    cleanup_message Runtime__V1__ListPodSandboxResponse *pods = NULL;
    cleanup_message Runtime__V1__ListContainersResponse *containers = NULL;
    if (!all) {
        pod_filter.state = &ready;
        pod_request.filter = &pod_filter;
        running.state = RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
        filter.state = &running;
        request.filter = &filter;
    }
    if (ctl_call(ctl, "ListPodSandbox", &pod_request.base, -1, &pods, &err) < 0 ||
        ctl_call(ctl, "ListContainers", &request.base, -1, &containers, &err) < 0)
        return ctl_report(ctl, &err, NULL);
    if (ctl->json)
        return print_json(pods, containers);
    if (quiet) {
        struct table t = {0};
        for (size_t i = 0; i < pods->n_items; i++)
            table_row(&t, pods->items[i]->id, NULL);
        return table_print(&t);
    }
    int rc = print_pods(pods);
    putchar('\n');
    return rc | print_containers(containers);
}

const struct command cmd_ps = {
    .name = "ps",
    .summary = "pods and containers",
    .usage = "usage: gpuictl ps [-a] [-q]\n\n"
             "Lists ready pods and running containers.\n\n"
             "  -a, --all     also those that have ended\n"
             "  -q, --quiet   the pods' ids only\n",
    .run = run,
};
