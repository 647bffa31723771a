/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ctl.h"

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {CTL_COMMON_OPTIONS};
    int opt = getopt_long(argc, argv, "h", options, NULL);
    if (opt != -1)
        return ctl_option(self, opt);
    if (optind < argc)
        return ctl_usage_error(self, "takes no arguments");

    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__VersionRequest request = RUNTIME__V1__VERSION_REQUEST__INIT;
    cleanup_message Runtime__V1__VersionResponse *r = NULL;
    request.version = (char *)"v1";
    if (ctl_call(ctl, "Version", &request.base, -1, &r, &err) < 0)
        return ctl_report(ctl, &err, NULL);
    if (ctl->json)
        return ctl_print_json(&r->base);
    printf("gpuictl  %s\nruntime  %s %s\nCRI      %s\n", GI_VERSION, r->runtime_name,
           r->runtime_version, r->runtime_api_version);
    return EXIT_OK;
}

const struct command cmd_version = {
    .name = "version",
    .summary = "who the runtime is",
    .usage = "usage: gpuictl version\n\nPrints gpuictl's version and the runtime's.\n",
    .run = run,
};
