/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON documents of a registry: token answers, image indexes and
 * manifests (OCI image-spec and Docker schema 2), image configurations.
 * All of it is hostile; digests were checked by the caller, contents here.
 */
#ifndef GI_IMAGES_DOCUMENT_H
#define GI_IMAGES_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "digest.h"

#define DOCUMENT_MAX_MANIFEST (4u << 20)
#define DOCUMENT_MAX_CONFIG   (8u << 20)
#define DOCUMENT_MAX_LAYERS   128
#define DOCUMENT_MAX_CHILDREN 1024

/* What we ask a registry for. */
#define DOCUMENT_ACCEPT                                                                            \
    "application/vnd.oci.image.index.v1+json, "                                                    \
    "application/vnd.docker.distribution.manifest.list.v2+json, "                                  \
    "application/vnd.oci.image.manifest.v1+json, "                                                 \
    "application/vnd.docker.distribution.manifest.v2+json"

struct document_descriptor {
    char media_type[128];
    char digest[DIGEST_SIZE];
    uint64_t size;
};

struct document_child {
    struct document_descriptor descriptor;
    bool has_platform;
    char os[32], arch[32], variant[32];
};

struct document_manifest {
    bool is_index;
    struct document_child *children; /* of an index */
    size_t n_children;
    struct document_descriptor config; /* of a manifest */
    struct document_descriptor *layers;
    size_t n_layers;
};

/* CONTENT_TYPE: what the server said, "" when it said nothing useful.
 * FAILED_PRECONDITION: schema 1, an artifact that is no image;
 * INVALID_ARGUMENT: anything malformed. */
int document_manifest_parse(const char *text, size_t len, const char *content_type,
                            struct document_manifest *ret_manifest, struct gi_error *err);
void document_manifest_free(struct document_manifest *m);
#define cleanup_manifest __attribute__((cleanup(document_manifest_free)))

/* The child of INDEX for linux/ARCH (as Go names it). NOT_FOUND lists what there is. */
int document_pick(const struct document_manifest *index, const char *arch, size_t *ret_child,
                  struct gi_error *err);

struct document_config {
    char **diff_ids; /* NULL-terminated arrays, never NULL */
    char **entrypoint;
    char **cmd;
    char **env;
    char *user; /* "" when not set, like working_dir */
    char *working_dir;
    int stop_signal; /* 0: none */
    char os[32], arch[32];
};
int document_config_parse(const char *text, size_t len, struct document_config *ret_config,
                          struct gi_error *err);
void document_config_free(struct document_config *c);
#define cleanup_config __attribute__((cleanup(document_config_free)))

/* *ret_token (heap): "token" or "access_token", fit for a header. */
int document_token(const char *text, size_t len, char **ret_token, struct gi_error *err);

/* The first error of a registry's error answer as "CODE: message" (printable,
 * cut to SIZE), "" when there is none (distribution-spec, Error Codes). */
void document_registry_error(const char *text, size_t len, char *ret_text, size_t size);

/* "SIGTERM", "TERM", "15", "RTMIN+3"; 0 when it is none. */
int document_signal(const char *name);

/* This machine's architecture as Go names it. */
const char *document_host_arch(void);

#endif
