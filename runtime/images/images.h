/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image store: pulls from OCI registries, keeps content-addressed blobs
 * and one unpacked read-only root folder per image, answers by tag, digest or
 * id. Safe for many threads; concurrent pulls of one image share the work.
 * Everything a registry or an image says is hostile.
 */
#ifndef GI_IMAGES_H
#define GI_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct images;

struct images_registry {
    const char *host;           /* "docker.io", "127.0.0.1:5000", ... */
    const char *const *mirrors; /* NULL-terminated "http://host:port" tried in order, then the host
                                   itself; NULL: none */
    bool plain_http;            /* loopback hosts without an entry here use plain http too */
    bool insecure_skip_verify;
    const char *ca_file; /* NULL: system store */
};

struct images_config {
    const char *root;                         /* <state>/images; made 0700 */
    const struct images_registry *registries; /* exceptions; others: https */
    size_t n_registries;
    const char *const *pinned; /* references never garbage-collected; NULL: none */
    unsigned parallel_layers;  /* 0: 3 */
    uint64_t max_image_bytes;  /* unpacked; 0: 64 GiB */
    uint64_t max_entries;      /* files in an image; 0: 4 million */
    const char *platform_arch; /* NULL: this machine's, as Go names it */
    bool discard_layers;       /* delete compressed layers once unpacked: less disk, but layers
                                  that images share are downloaded again */
    unsigned attempts;         /* of a failing request; 0: 5 */
    unsigned retry_delay_ms;   /* before the second attempt, then doubled; 0: 500 */
    unsigned stall_seconds;    /* a transfer below 1 KB/s for so long is cut; 0: 30 */
};

/* Opens (makes) the store and sweeps what a killed process left half done.
 * CONFIG is copied. FAILED_PRECONDITION: another process has the store open. A
 * record that can't be read is logged and left out. */
int images_open(const struct images_config *config, struct images **ret_images,
                struct gi_error *err);
/* No other call may be under way. */
void images_close(struct images *s);

struct images_auth { /* CRI AuthConfig; every field may be NULL or "" */
    const char *username;
    const char *password;
    const char *auth; /* base64 user:password */
    const char *server_address;
    const char *identity_token;
    const char *registry_token;
};

/* The image's own configuration that a container starts from (OCI image-spec
 * config.md). Strings and NULL-terminated arrays owned by the struct. */
struct images_image {
    char *id; /* "sha256:<hex>" of the config blob */
    char **repo_tags;
    char **repo_digests;
    uint64_t size; /* bytes: compressed layers + config, as containerd reports */
    char *user;    /* config.User */
    char **entrypoint;
    char **cmd;
    char **env;
    char *working_dir;
    int stop_signal;   /* 0: none */
    char *rootfs;      /* unpacked tree on the host, read-only by convention; its parent folder is
                          the image's own, for files made from it (EROFS): they go with the image */
    char *config_json; /* heap, at most 8 MiB */
    bool pinned;
};
void images_image_free(struct images_image *image);
void images_list_free(struct images_image **list, size_t n);

struct images_progress { /* for `gpuictl pull` the CRI has no channel; used by logs and tests */
    uint64_t bytes_done, bytes_total;
    unsigned layers_done, layers_total;
};

/* Pulls REF ("busybox", "host:5000/a/b:tag", "repo@sha256:..."; normalized as
 * docker does). AUTH may be NULL. CANCELLED (polled, may be NULL) ends the
 * caller's wait; the download goes on only while somebody waits.
 * *ret_id (heap): the image id. NOT_FOUND, UNAUTHENTICATED/PERMISSION_DENIED,
 * UNAVAILABLE, DATA_LOSS (digest or size differ), INVALID_ARGUMENT (hostile
 * content) as fits; nothing is left behind on failure but resumable blobs. */
int images_pull(struct images *s, const char *ref, const struct images_auth *auth,
                bool (*cancelled)(void *data), void *data, char **ret_id, struct gi_error *err);

/* How far the running pull of REF is. NOT_FOUND: none is running. */
int images_pull_progress(struct images *s, const char *ref, struct images_progress *ret_progress,
                         struct gi_error *err);

/* REF: tag, digest, full id, or unambiguous id prefix (>= 12 hex digits). NOT_FOUND if absent. */
int images_status(struct images *s, const char *ref, struct images_image **ret_image,
                  struct gi_error *err);
/* As images_status for all, but config_json is NULL. Never waits for a pull. */
int images_list(struct images *s, struct images_image ***ret_list, size_t *ret_n,
                struct gi_error *err);
/* Removes the image with all its tags, as CRI asks. Absent: success. Files in use by
 * a container stay until images_release. */
int images_remove(struct images *s, const char *ref, struct gi_error *err);

/* While acquired by USER (a container id), the root folder stays. Not
 * persistent: the runtime acquires again after a restart, then calls images_gc. */
int images_acquire(struct images *s, const char *id, const char *user, struct gi_error *err);
void images_release(struct images *s, const char *user);
int images_gc(struct images *s, struct gi_error *err);

struct images_fs_info {
    const char *mountpoint; /* the store's root; valid until images_close */
    uint64_t used_bytes, inodes_used;
    int64_t time_ns;
};
int images_fs_info(struct images *s, struct images_fs_info *ret_info, struct gi_error *err);

/* Name or number to uid/gid/groups by the image's own /etc/passwd and
 * /etc/group, opened below ROOTFS without leaving it; numbers above 2^31-1
 * are refused. USER: "", "name", "uid", "name:group", "uid:gid". */
struct images_user {
    uint32_t uid, gid;
    uint32_t *groups;
    size_t n_groups;
    char *home;
};
int images_resolve_user(const char *rootfs, const char *user, struct images_user *ret_user,
                        struct gi_error *err);
void images_user_free(struct images_user *user);

#endif
