/* SPDX-License-Identifier: Apache-2.0 */
/* One pull at work: inside of images_pull (pull.c) and its layers (layers.c). */
#ifndef GI_IMAGES_PULL_H
#define GI_IMAGES_PULL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "registry.h"
#include "store.h"

struct pull_job {
    struct pull_job *next; /* images.jobs, under its lock */
    struct images *store;
    pthread_t thread;
    char key[REF_TEXT_SIZE + DIGEST_SIZE]; /* reference and a hash of the credentials */
    unsigned waiters;
    bool done;
    int rc;
    struct gi_error err;
    char id[DIGEST_SIZE]; /* the result */

    struct image_ref ref;
    struct images_auth auth; /* a copy */
    atomic_bool cancelled;   /* nobody waits any more */

    /* What pull_needs_layer and images_pull_progress look at. */
    struct document_descriptor *layers;
    size_t n_layers;
    atomic_llong bytes_done;
    atomic_ullong bytes_total;
    atomic_uint layers_done;
};

/* The work itself, in the job's thread; fills job->id. */
int pull_run(struct pull_job *job, struct gi_error *err);

bool pull_cancelled(void *job);

/* Downloads all layers in parallel and unpacks them in order onto ROOTFS_FD as they come. */
int layers_pull(struct pull_job *job, struct registry *registry, char *const *diff_ids,
                int rootfs_fd, struct gi_error *err);

#endif
