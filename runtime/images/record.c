/* SPDX-License-Identifier: Apache-2.0 */
/* Records on disk, versioned JSON; and the measure of a tree. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/io.h"
#include "jsontext.h"
#include "store.h"

#define VERSION        1
#define MAX_RECORD     (1u << 20)
#define MAX_MEASURE    (TREE_DEPTH + 8)
#define TREE_DEPTH     256
#define INODE_FRACTION 5040 /* of a hard-linked file; divides well */
#define RECORD_NAME    "record.json"
#define CONFIG_NAME    "config.json"

static int write_at(int dir_fd, const char *name, const void *data, size_t len,
                    struct gi_error *err)
{
    cleanup_close int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return gi_fail_errno(err, errno, "create %s", name);
    int rc = gi_write_full(fd, data, len);
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    return rc < 0 ? gi_fail_errno(err, -rc, "write %s", name) : 0;
}

static int read_at(int dir_fd, const char *name, size_t max, char **ret_data, size_t *ret_len,
                   struct gi_error *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir_fd, name);
    return gi_read_file(path, max, ret_data, ret_len, err);
}

int record_write_image(int dir_fd, const struct store_image *image, struct gi_error *err)
{
    cleanup_buf struct gi_buf b = GI_BUF_INIT(MAX_RECORD);
    int rc = gi_buf_printf(&b,
                           "{\"version\": %d, \"id\": \"%s\", \"size\": %" PRIu64
                           ", \"disk_bytes\": %" PRIu64 ", \"inodes\": %" PRIu64 ", \"layers\": [",
                           VERSION, image->id, image->size, image->disk_bytes, image->inodes);
    for (size_t i = 0; rc == 0 && i < image->n_layers; i++)
        rc = gi_buf_printf(&b, "%s{\"digest\": \"%s\", \"size\": %" PRIu64 "}", i ? ", " : "",
                           image->layers[i].digest, image->layers[i].size);
    if (rc == 0)
        rc = gi_buf_printf(&b, "]}\n");
    if (rc < 0)
        return gi_fail_errno(err, ENOMEM, "image record");
    return write_at(dir_fd, RECORD_NAME, b.data, b.len, err);
}

static int read_layers(const struct gi_json *list, struct store_image *image, struct gi_error *err)
{
    size_t n = json_is_array(list) ? list->n : 0;
    if (n > DOCUMENT_MAX_LAYERS)
        return gi_fail(err, GI_DATA_LOSS, "image record has too many layers");
    image->layers = calloc(n ? n : 1, sizeof(*image->layers));
    if (!image->layers)
        return gi_fail_errno(err, ENOMEM, "image record");
    image->n_layers = n;
    for (size_t i = 0; i < n; i++) {
        const char *digest = gi_json_get_string(&list->items[i], "digest");
        if (!digest || !digest_valid(digest) ||
            !json_uint(&list->items[i], "size", &image->layers[i].size))
            return gi_fail(err, GI_DATA_LOSS, "image record has a bad layer");
        memcpy(image->layers[i].digest, digest, strlen(digest) + 1);
    }
    return 0;
}

static int check_digest(const char *id, const char *data, size_t len, struct gi_error *err)
{
    cleanup_digester struct digester *d = NULL;
    char got[DIGEST_SIZE];
    int rc = digester_new(id, &d, err);
    if (rc < 0)
        return rc;
    if (digester_update(d, data, len) < 0 || digester_final(d, got) < 0 || strcmp(got, id) != 0)
        return gi_fail(err, GI_DATA_LOSS, CONFIG_NAME " is damaged");
    return 0;
}

static int read_image(int dir_fd, const char *id, struct store_image *image, struct gi_error *err)
{
    cleanup_free char *record = NULL;
    cleanup_free char *config = NULL;
    cleanup_gi_json struct gi_json *root = NULL;
    size_t len;
    uint64_t version = 0;
    struct stat st;
    int rc = read_at(dir_fd, RECORD_NAME, MAX_RECORD, &record, &len, err);
    if (rc == 0)
        rc = json_text_parse(record, len, MAX_RECORD, RECORD_NAME, &root, err);
    if (rc < 0)
        return rc;
    if (!json_uint(root, "version", &version) || version != VERSION)
        return gi_fail(err, GI_FAILED_PRECONDITION, "image record has version %" PRIu64, version);
    const char *said = gi_json_get_string(root, "id");
    if (!said || strcmp(said, id) != 0 || !json_uint(root, "size", &image->size) ||
        !json_uint(root, "disk_bytes", &image->disk_bytes) ||
        !json_uint(root, "inodes", &image->inodes))
        return gi_fail(err, GI_DATA_LOSS, "image record is incomplete");
    memcpy(image->id, id, strlen(id) + 1);
    rc = read_layers(gi_json_get(root, "layers"), image, err);
    if (rc == 0)
        rc = read_at(dir_fd, CONFIG_NAME, DOCUMENT_MAX_CONFIG, &config, &len, err);
    if (rc == 0)
        rc = check_digest(id, config, len, err);
    if (rc == 0)
        rc = document_config_parse(config, len, &image->config, err);
    if (rc == 0 &&
        (fstatat(dir_fd, "rootfs", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)))
        rc = gi_fail(err, GI_DATA_LOSS, "the image's root folder is missing");
    image->removed = faccessat(dir_fd, "removed", F_OK, 0) == 0;
    return rc;
}

int record_read_image(int dir_fd, const char *id, struct store_image **ret_image,
                      struct gi_error *err)
{
    struct store_image *image = calloc(1, sizeof(*image));
    if (!image)
        return gi_fail_errno(err, ENOMEM, "image record");
    int rc = read_image(dir_fd, id, image, err);
    if (rc < 0) {
        store_image_free(image);
        return rc;
    }
    *ret_image = image;
    return 0;
}

int record_write_ref(const char *path, const struct store_ref *ref, struct gi_error *err)
{
    cleanup_buf struct gi_buf b = GI_BUF_INIT(MAX_RECORD);
    if (gi_buf_printf(&b, "{\"version\": %d, \"reference\": ", VERSION) < 0 ||
        json_quote(&b, ref->text) < 0 ||
        gi_buf_printf(&b, ", \"id\": \"%s\", \"manifest\": \"%s\", \"pulled_by\": ", ref->id,
                      ref->manifest) < 0 ||
        json_quote(&b, ref->pulled_by) < 0 ||
        gi_buf_printf(&b, ", \"time_ns\": %" PRId64 "}\n", gi_now_ns()) < 0)
        return gi_fail_errno(err, ENOMEM, "reference record");
    return gi_write_file_atomic(path, b.data, b.len, 0600, err);
}

int record_read_ref(const char *path, struct store_ref *ret_ref, struct gi_error *err)
{
    cleanup_free char *data = NULL;
    cleanup_gi_json struct gi_json *root = NULL;
    size_t len;
    uint64_t version = 0;
    int rc = gi_read_file(path, MAX_RECORD, &data, &len, err);
    if (rc == 0)
        rc = json_text_parse(data, len, MAX_RECORD, "reference record", &root, err);
    if (rc < 0)
        return rc;
    const char *text = gi_json_get_string(root, "reference");
    const char *id = gi_json_get_string(root, "id");
    const char *manifest = gi_json_get_string(root, "manifest");
    const char *by = gi_json_get_string(root, "pulled_by");
    struct image_ref parsed;
    if (!json_uint(root, "version", &version) || version != VERSION || !text || !id || !manifest ||
        !digest_valid(id) || !digest_valid(manifest))
        return gi_fail(err, GI_DATA_LOSS, "reference record is incomplete");
    rc = image_ref_parse(text, &parsed, err);
    if (rc < 0)
        return rc;
    image_ref_format(&parsed, ret_ref->text);
    memcpy(ret_ref->id, id, strlen(id) + 1);
    memcpy(ret_ref->manifest, manifest, strlen(manifest) + 1);
    snprintf(ret_ref->pulled_by, sizeof(ret_ref->pulled_by), "%s", by ? by : "");
    return 0;
}

/* A hard-linked file is met once a name; each name carries its share. */
struct measure {
    uint64_t bytes;
    uint64_t inode_parts;
};

static int measure_folder(int fd, unsigned depth, struct measure *m, struct gi_error *err)
{
    cleanup_closedir DIR *d = fdopendir(fd);
    if (!d) {
        int saved = errno;
        close(fd);
        return gi_fail_errno(err, saved, "measure the image");
    }
    if (depth > MAX_MEASURE)
        return gi_fail(err, GI_OUT_OF_RANGE, "image is nested too deeply");
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e)
            return errno ? gi_fail_errno(err, errno, "measure the image") : 0;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        struct stat st;
        if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return gi_fail_errno(err, errno, "measure the image");
        bool is_dir = S_ISDIR(st.st_mode);
        uint64_t names = is_dir || st.st_nlink == 0 ? 1 : (uint64_t)st.st_nlink;
        m->bytes += (uint64_t)st.st_blocks * 512 / names;
        m->inode_parts += INODE_FRACTION / names;
        if (!is_dir)
            continue;
        int sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0)
            return gi_fail_errno(err, errno, "measure the image");
        int rc = measure_folder(sub, depth + 1, m, err);
        if (rc < 0)
            return rc;
    }
}

int record_measure_tree(int dir_fd, uint64_t *ret_bytes, uint64_t *ret_inodes, struct gi_error *err)
{
    struct measure m = {0, INODE_FRACTION};
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gi_fail_errno(err, errno, "measure the image");
    int rc = measure_folder(fd, 0, &m, err);
    if (rc < 0)
        return rc;
    *ret_bytes = m.bytes;
    *ret_inodes = (m.inode_parts + INODE_FRACTION - 1) / INODE_FRACTION;
    return 0;
}
