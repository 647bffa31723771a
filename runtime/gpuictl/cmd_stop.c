/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "ctl.h"
#include "lookup.h"
#include "pod.h"

static int stop(struct ctl *ctl, const struct lookup *l, void *data, struct gi_error *err)
{
    const long *grace = data;
    return l->kind == LOOKUP_POD ? pod_stop(ctl, l->id, err)
                                 : pod_stop_container(ctl, l->id, *grace, err);
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {{"time", required_argument, NULL, 't'},
                                            CTL_COMMON_OPTIONS};
    long grace = 10;
    int opt;
    while ((opt = getopt_long(argc, argv, "ht:", options, NULL)) != -1) {
        char *end = NULL;
        if (opt != 't')
            return ctl_option(self, opt);
        grace = strtol(optarg, &end, 10);
        if (*end || end == optarg || grace < 0 || grace > 86400)
            return ctl_usage_error(self, "--time: \"%s\" is not 0 to 86400 seconds", optarg);
    }
    if (optind == argc)
        return ctl_usage_error(self, "which pod or container?");
    return lookup_each(ctl, argc - optind, argv + optind, "stopped", stop, &grace);
}

const struct command cmd_stop = {
    .name = "stop",
    .summary = "stop pods or containers",
    .usage =
        "usage: gpuictl stop [-t SECONDS] POD|CONTAINER...\n\n"
        "Stops a pod with all its containers, or one container.\n\n"
        "  -t, --time SECONDS   how long a container may take after its stop signal before it\n"
        "                       is killed (default 10)\n",
    .run = run,
};
