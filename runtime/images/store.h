/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of `struct images`. Below the root (0700):
 *   lock                    held (fcntl) by the process that has the store open
 *   blobs/ALG-HEX           compressed layers, whole and verified
 *   partial/ALG-HEX         layers on their way; resumable
 *   images/ALG-HEX/         one unpacked image, named by its id:
 *     config.json           the configuration blob as it came
 *     record.json           layers, sizes
 *     rootfs/               the tree
 *     removed               (marker) RemoveImage came while it was in use
 *   refs/HEX.json           one reference: text -> image id, manifest digest
 *   tmp/                    anything half done; emptied at open
 * A folder in images/ appears by rename(2) of a complete one and vanishes by
 * rename into tmp/, so a process killed at any point leaves only sweepable things.
 */
#ifndef GI_IMAGES_STORE_H
#define GI_IMAGES_STORE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "document.h"
#include "images.h"
#include "ref.h"

struct store_image { /* immutable once in the table, but `removed` */
    char id[DIGEST_SIZE];
    struct document_config config;
    struct document_descriptor *layers;
    size_t n_layers;
    uint64_t size;       /* compressed layers + config */
    uint64_t disk_bytes; /* of rootfs */
    uint64_t inodes;
    bool removed;
};

struct store_ref {
    char text[REF_TEXT_SIZE];
    char id[DIGEST_SIZE];
    char manifest[DIGEST_SIZE];
    char pulled_by[128]; /* auth_describe */
};

struct store_use {
    char id[DIGEST_SIZE];
    char *user;
};

struct pull_job;

struct images {
    struct images_config config; /* deep copy, defaults filled in */
    char *root;
    int root_fd;
    int lock_fd;
    pthread_mutex_t lock; /* everything below; never held over network or tree work */
    pthread_cond_t changed;
    struct store_image **images;
    size_t n_images;
    struct store_ref **refs;
    size_t n_refs;
    struct store_use *uses;
    size_t n_uses;
    char **busy; /* keys of work in flight: "blob:..", "image:.." */
    size_t n_busy;
    struct pull_job *jobs;
};

#define STORE_BLOBS   "blobs"
#define STORE_PARTIAL "partial"
#define STORE_IMAGES  "images"
#define STORE_REFS    "refs"
#define STORE_TMP     "tmp"
#define STORE_PATH    512

/* "ALG-HEX" of a valid digest, after FOLDER and a slash. */
void store_path(char ret_path[STORE_PATH], const char *folder, const char *digest);

/* With the lock held; NULL when absent. */
struct store_image *store_find_image(struct images *s, const char *id);
struct store_ref *store_find_ref(struct images *s, const char *text);

/* Adds or moves a reference: on disk, then in memory. Takes the lock. */
int store_put_ref(struct images *s, const struct store_ref *ref, struct gi_error *err);

/* A fresh folder tmp/XXXX; *ret_name is relative to the root. */
int store_make_tmp(struct images *s, char ret_name[STORE_PATH], int *ret_fd, struct gi_error *err);

/* Moves the complete folder TMP to images/ and IMAGE (owned on success) into the table. */
int store_commit_image(struct images *s, const char *tmp, struct store_image *image,
                       struct gi_error *err);
/* Takes back a removal that waits for users. Lock held. */
int store_revive_image(struct images *s, struct store_image *image, struct gi_error *err);
/* Removes IMAGE, or marks it while in use. Lock held; then, without it, call
 * store_finish_remove with what came back. */
int store_remove(struct images *s, struct store_image *image, char ret_tmp[STORE_PATH],
                 struct gi_error *err);
void store_finish_remove(struct images *s, const char *tmp);
void store_image_free(struct store_image *image);

/* Deletes layers that no image and no running pull needs; with MIN_AGE_SECONDS
 * only files at least so old. */
void store_sweep_blobs(struct images *s, int64_t min_age_seconds);

/* Work in flight under KEY is done once: waits until nobody else has it.
 * CANCELLED when CANCELLED(DATA) says so first. */
int store_take_key(struct images *s, const char *kind, const char *digest,
                   bool (*cancelled)(void *data), void *data, struct gi_error *err);
void store_drop_key(struct images *s, const char *kind, const char *digest);

/* Is LAYER part of a running pull? Lock held. (pull.c) */
bool pull_needs_layer(const struct images *s, const char *digest);

/* ---- records (record.c) ---- */
int record_write_image(int dir_fd, const struct store_image *image, struct gi_error *err);
/* Reads record.json and config.json and checks the latter's digest. */
int record_read_image(int dir_fd, const char *id, struct store_image **ret_image,
                      struct gi_error *err);
int record_write_ref(const char *path, const struct store_ref *ref, struct gi_error *err);
int record_read_ref(const char *path, struct store_ref *ret_ref, struct gi_error *err);
/* Bytes and inodes a tree takes on disk. */
int record_measure_tree(int dir_fd, uint64_t *ret_bytes, uint64_t *ret_inodes,
                        struct gi_error *err);

#endif
