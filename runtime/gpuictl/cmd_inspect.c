/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ctl.h"
#include "lookup.h"

static int inspect_image(struct ctl *ctl, const char *name)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__ImageStatusRequest request = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
    cleanup_message Runtime__V1__ImageStatusResponse *r = NULL;
    spec.image = (char *)name;
    request.image = &spec;
    request.verbose = true;
    if (ctl_call(ctl, "ImageStatus", &request.base, -1, &r, &err) < 0)
        return ctl_report(ctl, &err, name);
    if (!r->image) {
        gi_fail(&err, GI_NOT_FOUND, "no pod, container or image is called so");
        return ctl_report(ctl, &err, name);
    }
    return ctl_print_json(&r->base);
}

static int inspect(struct ctl *ctl, const char *name)
{
    struct gi_error err = GI_ERROR_INIT;
    cleanup_lookup struct lookup l = {0};
    cleanup_message ProtobufCMessage *r = NULL;
    int rc = lookup(ctl, name, LOOKUP_POD | LOOKUP_CONTAINER, &l, &err);
    if (rc == -GI_NOT_FOUND)
        return inspect_image(ctl, name);
    if (rc < 0)
        return ctl_report(ctl, &err, NULL);
    if (l.kind == LOOKUP_POD) {
        Runtime__V1__PodSandboxStatusRequest q = RUNTIME__V1__POD_SANDBOX_STATUS_REQUEST__INIT;
        q.pod_sandbox_id = l.id;
        q.verbose = true;
        rc = ctl_call(ctl, "PodSandboxStatus", &q.base, -1, &r, &err);
    } else {
        Runtime__V1__ContainerStatusRequest q = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;
        q.container_id = l.id;
        q.verbose = true;
        rc = ctl_call(ctl, "ContainerStatus", &q.base, -1, &r, &err);
    }
    return rc < 0 ? ctl_report(ctl, &err, name) : ctl_print_json(r);
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {CTL_COMMON_OPTIONS};
    int opt = getopt_long(argc, argv, "h", options, NULL);
    if (opt != -1)
        return ctl_option(self, opt);
    if (optind == argc)
        return ctl_usage_error(self, "which pod, container or image?");
    int rc = EXIT_OK;
    for (int i = optind; i < argc; i++) {
        int one = inspect(ctl, argv[i]);
        if (one != EXIT_OK)
            rc = one;
    }
    return rc;
}

const struct command cmd_inspect = {
    .name = "inspect",
    .summary = "all the runtime says about a pod, container or image",
    .usage = "usage: gpuictl inspect POD|CONTAINER|IMAGE...\n\n"
             "Prints the runtime's verbose status as JSON.\n",
    .run = run,
};
