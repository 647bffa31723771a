/* SPDX-License-Identifier: Apache-2.0 */
/* gi-push: an OCI image of folders, each one layer, into a registry. */
#include <stdio.h>
#include <string.h>

#include "push.h"

#define MAX_ITEMS 127

static const char usage[] =
    "usage: gi-push [options] http://HOST:PORT/REPOSITORY:TAG FOLDER_OR_TAR...\n"
    "Each folder or tar file becomes one layer, the lowest first.\n"
    "  --gzip | --zstd | --plain   compression of the layers (gzip)\n"
    "  --env NAME=VALUE            (repeatable)\n"
    "  --entrypoint ARG            one argument each time (repeatable)\n"
    "  --cmd ARG                   one argument each time (repeatable)\n"
    "  --user USER  --workdir DIR  --arch ARCH\n"
    "  --root-owned                all files belong to uid 0, gid 0\n"
    "  --docker                    Docker's media types instead of OCI's\n"
    "  --index                     push an image index that points to the image\n"
    "  --basic USER:PASSWORD       log in\n"
    "Prints the image id (digest of its configuration).\n";

struct list {
    const char *items[MAX_ITEMS + 1];
    size_t n;
};

static int add(struct list *l, const char *item)
{
    if (l->n == MAX_ITEMS)
        return -1;
    l->items[l->n++] = item;
    return 0;
}

/* 1: taken with its value, 0: no such option, -1: too many. */
static int option_with_value(struct push_image *image, struct list *env, struct list *entrypoint,
                             struct list *cmd, const char *name, const char *value)
{
    const struct {
        const char *name;
        struct list *list;
        const char **slot;
    } options[] = {{"--env", env, NULL},
                   {"--entrypoint", entrypoint, NULL},
                   {"--cmd", cmd, NULL},
                   {"--user", NULL, &image->user},
                   {"--workdir", NULL, &image->workdir},
                   {"--arch", NULL, &image->arch},
                   {"--basic", NULL, &image->basic}};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (strcmp(name, options[i].name) != 0)
            continue;
        if (options[i].list)
            return add(options[i].list, value) < 0 ? -1 : 1;
        *options[i].slot = value;
        return 1;
    }
    return 0;
}

static int flag(struct push_image *image, const char *name)
{
    if (strcmp(name, "--gzip") == 0)
        image->compression = PUSH_GZIP;
    else if (strcmp(name, "--zstd") == 0)
        image->compression = PUSH_ZSTD;
    else if (strcmp(name, "--plain") == 0)
        image->compression = PUSH_PLAIN;
    else if (strcmp(name, "--root-owned") == 0)
        image->root_owned = true;
    else if (strcmp(name, "--docker") == 0)
        image->docker_types = true;
    else if (strcmp(name, "--index") == 0)
        image->as_index = true;
    else
        return 0;
    return 1;
}

int main(int argc, char **argv)
{
    static struct list env, entrypoint, cmd, layers;
    struct push_image image = {0};
    for (int i = 1; i < argc; i++) {
        int taken = 0;
        if (strncmp(argv[i], "--", 2) != 0) {
            if (!image.url)
                image.url = argv[i];
            else if (add(&layers, argv[i]) < 0)
                break;
            continue;
        }
        if (flag(&image, argv[i]))
            continue;
        if (i + 1 < argc)
            taken = option_with_value(&image, &env, &entrypoint, &cmd, argv[i], argv[i + 1]);
        if (taken <= 0) {
            fputs(usage, stderr);
            return 2;
        }
        i++;
    }
    if (!image.url || !layers.n) {
        fputs(usage, stderr);
        return 2;
    }
    image.layers = layers.items;
    image.env = env.n ? env.items : NULL;
    image.entrypoint = entrypoint.n ? entrypoint.items : NULL;
    image.cmd = cmd.n ? cmd.items : NULL;
    struct gi_error err = GI_ERROR_INIT;
    char id[DIGEST_SIZE];
    if (push_image(&image, id, NULL, &err) < 0) {
        fprintf(stderr, "gi-push: %s\n", err.message);
        return 1;
    }
    puts(id);
    return 0;
}
