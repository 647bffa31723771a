/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ctl.h"
#include "table.h"

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {CTL_COMMON_OPTIONS};
    int opt = getopt_long(argc, argv, "h", options, NULL);
    if (opt != -1)
        return ctl_option(self, opt);
    if (optind < argc)
        return ctl_usage_error(self, "takes no arguments");

    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__StatusRequest request = RUNTIME__V1__STATUS_REQUEST__INIT;
    cleanup_message Runtime__V1__StatusResponse *r = NULL;
    request.verbose = true;
    if (ctl_call(ctl, "Status", &request.base, -1, &r, &err) < 0)
        return ctl_report(ctl, &err, NULL);
    if (ctl->json)
        return ctl_print_json(&r->base);

    struct table t = {0};
    table_row(&t, "CONDITION", "OK", "REASON", "MESSAGE", NULL);
    for (size_t i = 0; r->status && i < r->status->n_conditions; i++) {
        const Runtime__V1__RuntimeCondition *c = r->status->conditions[i];
        table_row(&t, c->type, c->status ? "yes" : "NO", c->reason, c->message, NULL);
    }
    int rc = table_print(&t);
    if (r->n_runtime_handlers > 0) {
        table_row(&t, "HANDLER", "USER NAMESPACES", "RECURSIVE READ-ONLY", NULL);
        for (size_t i = 0; i < r->n_runtime_handlers; i++) {
            const Runtime__V1__RuntimeHandler *h = r->runtime_handlers[i];
            table_row(&t, *h->name ? h->name : "(default)",
                      h->features && h->features->user_namespaces ? "yes" : "no",
                      h->features && h->features->recursive_read_only_mounts ? "yes" : "no", NULL);
        }
        putchar('\n');
        rc |= table_print(&t);
    }
    for (size_t i = 0; i < r->n_info; i++)
        printf("\n%s: %s\n", r->info[i]->key, r->info[i]->value);
    return rc;
}

const struct command cmd_status = {
    .name = "status",
    .summary = "whether the runtime is ready, and what it can do",
    .usage =
        "usage: gpuictl status\n\nPrints the runtime's conditions, handlers and information.\n",
    .run = run,
};
