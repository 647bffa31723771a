/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ctl.h"
#include "lookup.h"
#include "pod.h"

static int remove_one(struct ctl *ctl, struct lookup *l, bool force, struct gi_error *err)
{
    if (l->kind == LOOKUP_CONTAINER) {
        if (force && pod_stop_container(ctl, l->id, 0, err) < 0)
            return -(int)err->code;
        return pod_remove_container(ctl, l->id, err);
    }
    if (force && pod_stop(ctl, l->id, err) < 0)
        return -(int)err->code;
    if (pod_remove(ctl, l->id, err) < 0)
        return -(int)err->code;
    return pod_remove_logs(ctl, l->uid, err);
}

static int remove_all(struct ctl *ctl, bool force)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ListPodSandboxRequest request = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    cleanup_message Runtime__V1__ListPodSandboxResponse *pods = NULL;
    if (ctl_call(ctl, "ListPodSandbox", &request.base, -1, &pods, &err) < 0)
        return ctl_report(ctl, &err, NULL);
    int rc = EXIT_OK;
    for (size_t i = 0; i < pods->n_items; i++) {
        const Runtime__V1__PodSandbox *p = pods->items[i];
        struct lookup l = {
            .kind = LOOKUP_POD, .id = p->id, .uid = p->metadata ? p->metadata->uid : NULL};
        if (remove_one(ctl, &l, force, &err) < 0)
            rc = ctl_report(ctl, &err, p->id);
        else if (!ctl->json)
            printf("removed %s\n", p->id);
    }
    return rc;
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {
        {"force", no_argument, NULL, 'f'}, {"all", no_argument, NULL, 'a'}, CTL_COMMON_OPTIONS};
    bool force = false, all = false;
    int opt, rc = EXIT_OK;
    while ((opt = getopt_long(argc, argv, "hfa", options, NULL)) != -1) {
        if (opt == 'f')
            force = true;
        else if (opt == 'a')
            all = true;
        else
            return ctl_option(self, opt);
    }
    if (all != (optind == argc))
        return ctl_usage_error(self, all ? "--all takes no names" : "which pod or container?");
    if (all)
        return remove_all(ctl, force);
    for (int i = optind; i < argc; i++) {
        struct gi_error err = GI_ERROR_INIT;
        cleanup_lookup struct lookup l = {0};
        if (lookup(ctl, argv[i], LOOKUP_POD | LOOKUP_CONTAINER, &l, &err) < 0 ||
            remove_one(ctl, &l, force, &err) < 0)
            rc = ctl_report(ctl, &err, argv[i]);
        else if (!ctl->json)
            printf("removed %s\n", l.id);
    }
    return rc;
}

const struct command cmd_rm = {
    .name = "rm",
    .summary = "remove pods or containers",
    .usage =
        "usage: gpuictl rm [-f] POD|CONTAINER...\n"
        "       gpuictl rm [-f] --all\n\n"
        "Removes pods with their containers, or single containers; of pods that `gpuictl run`\n"
        "made, the logs too.\n\n"
        "  -f, --force   stop them first, at once\n"
        "  -a, --all     all pods the runtime has\n",
    .run = run,
};
