/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ctl.h"

static int remove_one(struct ctl *ctl, const char *name)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__ImageStatusRequest status = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
    Runtime__V1__RemoveImageRequest request = RUNTIME__V1__REMOVE_IMAGE_REQUEST__INIT;
    cleanup_message Runtime__V1__ImageStatusResponse *have = NULL;
    cleanup_message Runtime__V1__RemoveImageResponse *r = NULL;

    spec.image = (char *)name;
    /* RemoveImage succeeds for what isn't there; a person wants to know. */
    status.image = &spec;
    if (ctl_call(ctl, "ImageStatus", &status.base, -1, &have, &err) < 0)
        return ctl_report(ctl, &err, name);
    if (!have->image) {
        gi_fail(&err, GI_NOT_FOUND, "no such image");
        return ctl_report(ctl, &err, name);
    }
    request.image = &spec;
    if (ctl_call(ctl, "RemoveImage", &request.base, -1, &r, &err) < 0)
        return ctl_report(ctl, &err, name);
    if (!ctl->json)
        printf("removed %s\n", name);
    return EXIT_OK;
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {CTL_COMMON_OPTIONS};
    int opt = getopt_long(argc, argv, "h", options, NULL);
    if (opt != -1)
        return ctl_option(self, opt);
    if (optind == argc)
        return ctl_usage_error(self, "which image?");
    int rc = EXIT_OK;
    for (int i = optind; i < argc; i++) {
        int one = remove_one(ctl, argv[i]);
        if (one != EXIT_OK)
            rc = one;
    }
    return rc;
}

const struct command cmd_rmi = {
    .name = "rmi",
    .summary = "remove images",
    .usage = "usage: gpuictl rmi IMAGE...\n\nRemoves each IMAGE (tag, digest or id) with all its "
             "tags.\n",
    .run = run,
};
