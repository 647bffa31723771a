/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static const struct {
    const char *name;
    size_t at;
} numbers[] = {
#define ROW(name) {#name, offsetof(struct worker_boot, name)},
    WORKER_BOOT_NUMBERS(ROW)
#undef ROW
};

_Static_assert(GI_ARRAY_SIZE(numbers) + 4 <= WORKER_MAX_ARGS, "argv");

int worker_args_make(const struct worker_boot *boot, struct worker_args *ret_args,
                     struct gi_error *err)
{
    struct worker_args *a = ret_args;
    size_t n = 0;
    memset(a, 0, sizeof(*a));
    snprintf(a->text[0], sizeof(a->text[0]), "gpu-proxy");
    snprintf(a->text[1], sizeof(a->text[1]), "--worker");
    for (; n < 2; n++)
        a->argv[n] = a->text[n];
    for (size_t i = 0; i < GI_ARRAY_SIZE(numbers); i++, n++) {
        const uint64_t *v = (const void *)((const char *)boot + numbers[i].at);
        snprintf(a->text[n], sizeof(a->text[n]), "%s=%" PRIu64, numbers[i].name, *v);
        a->argv[n] = a->text[n];
    }
    int len = snprintf(a->driver, sizeof(a->driver), "driver=%s", boot->driver);
    if (len < 0 || (size_t)len >= sizeof(a->driver))
        return gi_fail(err, GI_INVALID_ARGUMENT, "the driver's path is too long");
    a->argv[n++] = a->driver;
    len = snprintf(a->devices, sizeof(a->devices), "devices=%s", boot->devices);
    if (len < 0 || (size_t)len >= sizeof(a->devices))
        return gi_fail(err, GI_INVALID_ARGUMENT, "the list of devices is too long");
    a->argv[n] = a->devices;
    return 0;
}

static const char *value_of(int argc, char **argv, const char *name)
{
    size_t len = strlen(name);
    for (int i = 2; i < argc; i++) {
        if (strncmp(argv[i], name, len) == 0 && argv[i][len] == '=')
            return argv[i] + len + 1;
    }
    return NULL;
}

int worker_args_parse(int argc, char **argv, struct worker_boot *ret_boot, struct gi_error *err)
{
    struct worker_boot boot = {.driver = value_of(argc, argv, "driver"),
                               .devices = value_of(argc, argv, "devices")};
    if (!boot.driver || !boot.devices)
        return gi_fail(err, GI_INVALID_ARGUMENT, "--worker is for the broker only");
    for (size_t i = 0; i < GI_ARRAY_SIZE(numbers); i++) {
        const char *text = value_of(argc, argv, numbers[i].name);
        char *end = NULL;
        errno = 0;
        uint64_t v = text ? strtoull(text, &end, 10) : 0;
        if (!text || end == text || *end || errno)
            return gi_fail(err, GI_INVALID_ARGUMENT, "worker argument %s", numbers[i].name);
        uint64_t *at = (void *)((char *)&boot + numbers[i].at);
        *at = v;
    }
    *ret_boot = boot;
    return 0;
}
