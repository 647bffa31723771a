/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One repository of one registry (OCI distribution-spec), over its mirrors and
 * then the registry itself. Retries what may pass (5xx, 429, lost
 * connections), resumes blobs by Range, and believes nothing without its
 * digest. Thread-safe; each thread brings its own `struct http`.
 */
#ifndef GI_IMAGES_REGISTRY_H
#define GI_IMAGES_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "document.h"
#include "http.h"
#include "images.h"
#include "ref.h"

struct registry_options {
    const struct images_registry *config; /* of this host; NULL: none. Borrowed */
    const struct images_auth *auth;       /* NULL: anonymous */
    unsigned attempts;                    /* 0: 5 */
    unsigned retry_delay_ms;              /* first wait, then doubled; 0: 500 */
    bool (*cancelled)(void *data);
    void *data;
};

struct registry;

int registry_new(const struct image_ref *ref, const struct registry_options *options,
                 struct registry **ret_registry, struct gi_error *err);
void registry_free(struct registry *r);
GI_DEFINE_CLEANUP(struct registry *, registry_free);
#define cleanup_registry __attribute__((cleanup(registry_freep)))

struct registry_manifest {
    struct gi_buf body;
    char content_type[128];
    char digest[DIGEST_SIZE]; /* computed, and equal to what was asked for */
};
void registry_manifest_free(struct registry_manifest *m);
#define cleanup_registry_manifest __attribute__((cleanup(registry_manifest_free)))

/* TAG_OR_DIGEST; EXPECT (may be NULL) also fixes the size. NOT_FOUND,
 * UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE, DATA_LOSS, CANCELLED. */
int registry_get_manifest(struct registry *r, struct http *h, const char *tag_or_digest,
                          const struct document_descriptor *expect,
                          struct registry_manifest *ret_manifest, struct gi_error *err);

/* Fills the file FD with the blob, going on from what is there already.
 * PROGRESS (may be NULL) hears of every change in bytes. On UNAVAILABLE and
 * CANCELLED what came stays in the file; after DATA_LOSS it is empty. */
int registry_get_blob(struct registry *r, struct http *h, const struct document_descriptor *blob,
                      int fd, void (*progress)(void *data, int64_t delta), void *data,
                      struct gi_error *err);

#endif
