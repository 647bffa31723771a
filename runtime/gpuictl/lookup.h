/* SPDX-License-Identifier: Apache-2.0 */
/* From what a person types to an id. */
#ifndef GPUICTL_LOOKUP_H
#define GPUICTL_LOOKUP_H

#include "ctl.h"

enum { LOOKUP_POD = 1, LOOKUP_CONTAINER = 2 };

struct lookup {
    int kind;  /* LOOKUP_POD or LOOKUP_CONTAINER */
    char *id;  /* heap; lookup_free */
    char *uid; /* of a pod, else NULL */
};

/* TEXT: a whole id, an id's beginning (with or without the "gi-"), a pod's name
 * or "namespace/name", a container's name. KINDS is a mask. An exact id wins,
 * then names (a pod's before a container's), then beginnings. NOT_FOUND;
 * INVALID_ARGUMENT when several fit. */
int lookup(struct ctl *ctl, const char *text, int kinds, struct lookup *ret, struct gi_error *err);

/* The container TEXT names, or the only container of the pod it names. */
int lookup_container(struct ctl *ctl, const char *text, struct lookup *ret, struct gi_error *err);

/* FN with DATA on each pod or container that ARGV names; says "DONE id", or why not. EXIT_OK,
 * or the exit code of the last that failed. */
int lookup_each(struct ctl *ctl, int argc, char **argv, const char *done,
                int (*fn)(struct ctl *ctl, const struct lookup *l, void *data,
                          struct gi_error *err),
                void *data);

void lookup_free(struct lookup *l);
#define cleanup_lookup __attribute__((cleanup(lookup_free)))

#endif
