/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "table.h"

static void print_image(struct table *t, const Runtime__V1__Image *image)
{
    char id[CELL], size[CELL];
    cell_id(id, image->id);
    cell_bytes(size, image->size);
    for (size_t i = 0; i < image->n_repo_tags; i++)
        table_row(t, image->repo_tags[i], id, size, image->pinned ? "yes" : "", NULL);
    if (image->n_repo_tags > 0)
        return;
    const char *ref = image->n_repo_digests > 0 ? image->repo_digests[0] : "<none>";
    table_row(t, ref, id, size, image->pinned ? "yes" : "", NULL);
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {{"quiet", no_argument, NULL, 'q'}, CTL_COMMON_OPTIONS};
    bool quiet = false;
    int opt;
    while ((opt = getopt_long(argc, argv, "hq", options, NULL)) != -1) {
        if (opt != 'q')
            return ctl_option(self, opt);
        quiet = true;
    }
    if (argc - optind > 1)
        return ctl_usage_error(self, "takes one image");

    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__ImageFilter filter = RUNTIME__V1__IMAGE_FILTER__INIT;
    Runtime__V1__ListImagesRequest request = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
    cleanup_message Runtime__V1__ListImagesResponse *r = NULL;
    if (optind < argc) {
        spec.image = argv[optind];
        filter.image = &spec;
        request.filter = &filter;
    }
    if (ctl_call(ctl, "ListImages", &request.base, -1, &r, &err) < 0)
        return ctl_report(ctl, &err, NULL);
    if (ctl->json)
        return ctl_print_json(&r->base);
    struct table t = {0};
    if (quiet) {
        for (size_t i = 0; i < r->n_images; i++)
            table_row(&t, r->images[i]->id, NULL);
        return table_print(&t);
    }
    table_row(&t, "IMAGE", "ID", "SIZE", "PINNED", NULL);
    for (size_t i = 0; i < r->n_images; i++)
        print_image(&t, r->images[i]);
    return table_print(&t);
}

const struct command cmd_images = {
    .name = "images",
    .summary = "the images the runtime has",
    .usage = "usage: gpuictl images [-q] [IMAGE]\n\n"
             "Lists all images, or those that IMAGE names.\n\n"
             "  -q, --quiet   ids only\n",
    .run = run,
};
