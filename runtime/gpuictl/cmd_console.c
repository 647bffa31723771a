/* SPDX-License-Identifier: Apache-2.0 */
/* What a pod's domain said last: from the verbose status, where any CRI client finds it. */
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "lookup.h"
#include "json/json.h"

static const char *find_machine(const Runtime__V1__PodSandboxStatusResponse *r)
{
    for (size_t i = 0; i < r->n_info; i++) {
        if (strcmp(r->info[i]->key, "machine") == 0)
            return r->info[i]->value;
    }
    return NULL;
}

static int console(struct ctl *ctl, const char *name)
{
    struct gi_error err = GI_ERROR_INIT;
    cleanup_lookup struct lookup l = {0};
    cleanup_message Runtime__V1__PodSandboxStatusResponse *r = NULL;
    cleanup_gi_json struct gi_json *machine = NULL;
    Runtime__V1__PodSandboxStatusRequest q = RUNTIME__V1__POD_SANDBOX_STATUS_REQUEST__INIT;
    int rc = lookup(ctl, name, LOOKUP_POD, &l, &err);
    if (rc < 0)
        return ctl_report(ctl, &err, NULL);
    q.pod_sandbox_id = l.id;
    q.verbose = true;
    rc = ctl_call(ctl, "PodSandboxStatus", &q.base, -1, &r, &err);
    if (rc < 0)
        return ctl_report(ctl, &err, name);
    const char *text = find_machine(r);
    if (!text) {
        gi_fail(&err, GI_UNAVAILABLE, "the runtime says nothing of its machine");
        return ctl_report(ctl, &err, name);
    }
    if (ctl->json) {
        puts(text);
        return EXIT_OK;
    }
    rc = gi_json_parse(text, strlen(text), NULL, "machine", &machine, &err);
    if (rc < 0)
        return ctl_report(ctl, &err, name);
    const char *said = gi_json_get_string(machine, "console");
    fputs(said ? said : "", stdout);
    return EXIT_OK;
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {CTL_COMMON_OPTIONS};
    int opt = getopt_long(argc, argv, "h", options, NULL);
    if (opt != -1)
        return ctl_option(self, opt);
    if (optind + 1 != argc)
        return ctl_usage_error(self, "which pod?");
    return console(ctl, argv[optind]);
}

const struct command cmd_console = {
    .name = "console",
    .summary = "what a pod's machine said last on its console",
    .usage = "usage: gpuictl console POD\n\n"
             "Prints the end of what the kernel of the pod's domain wrote on its console.\n"
             "--json: that, and what the hypervisor says of the domain.\n",
    .run = run,
};
