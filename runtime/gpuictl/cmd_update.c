/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl.h"
#include "lookup.h"
#include "sizes.h"

static int update(struct ctl *ctl, const struct lookup *l, void *data, struct gi_error *err)
{
    Runtime__V1__LinuxContainerResources *r = data;
    cleanup_message ProtobufCMessage *answer = NULL;
    Runtime__V1__UpdatePodSandboxResourcesRequest pod =
        RUNTIME__V1__UPDATE_POD_SANDBOX_RESOURCES_REQUEST__INIT;
    Runtime__V1__UpdateContainerResourcesRequest container =
        RUNTIME__V1__UPDATE_CONTAINER_RESOURCES_REQUEST__INIT;
    if (l->kind == LOOKUP_POD) {
        pod.pod_sandbox_id = l->id;
        pod.resources = r;
        return ctl_call(ctl, "UpdatePodSandboxResources", &pod.base, -1, &answer, err);
    }
    container.container_id = l->id;
    container.linux = r;
    return ctl_call(ctl, "UpdateContainerResources", &container.base, -1, &answer, err);
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    enum { OPT_MEMORY = 256, OPT_CPUS };
    static const struct option options[] = {{"memory", required_argument, NULL, OPT_MEMORY},
                                            {"cpus", required_argument, NULL, OPT_CPUS},
                                            CTL_COMMON_OPTIONS};
    Runtime__V1__LinuxContainerResources r = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    const char *memory = NULL, *cpus = NULL;
    int opt;
    while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (opt == OPT_MEMORY)
            memory = optarg;
        else if (opt == OPT_CPUS)
            cpus = optarg;
        else
            return ctl_option(self, opt);
    }
    if (!memory && !cpus)
        return ctl_usage_error(self, "which limit? --memory, --cpus");
    int rc = sizes_set(self, memory, cpus, &r);
    if (rc != EXIT_OK)
        return rc;
    if (optind == argc)
        return ctl_usage_error(self, "which pod or container?");
    return lookup_each(ctl, argc - optind, argv + optind, "updated", update, &r);
}

const struct command cmd_update = {
    .name = "update",
    .summary = "change the limits of pods or containers that run",
    .usage = "usage: gpuictl update [--memory SIZE] [--cpus N] POD|CONTAINER...\n\n"
             "Sets what a pod's machine may use in all, or one container in it. What is not given\n"
             "stays as it is. A container can't get more than its pod has: widen the pod first.\n\n"
             "  --memory SIZE   as 512Mi\n"
             "  --cpus N        cores, 0.01 to 1024; a pod that is a domain gets whole ones\n",
    .run = run,
};
