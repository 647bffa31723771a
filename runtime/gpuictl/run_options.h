/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `gpuictl run` as a pod and a container. */
#ifndef GPUICTL_RUN_OPTIONS_H
#define GPUICTL_RUN_OPTIONS_H

#include "ctl.h"

struct run_options {
    Runtime__V1__PodSandboxConfig *pod;      /* heap */
    Runtime__V1__ContainerConfig *container; /* heap */
    const char *image;
    const char *handler;
    const char *gpu_memory; /* as typed, NULL: none */
    const char *gpu_weight; /* the same */
    const char *gpu_cap;
    enum { PULL_MISSING, PULL_ALWAYS, PULL_NEVER } pull;
    bool gpu, host_network, keep, detach, quiet;
    char uid[33];
};

/* 0 with *o filled, or an exit code + 1 (that is, 1 after --help). Free with
 * run_options_free in any case. */
int run_options_parse(struct ctl *ctl, const struct command *self, int argc, char **argv,
                      struct run_options *o);
void run_options_free(struct run_options *o);

#endif
