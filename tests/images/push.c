/* SPDX-License-Identifier: Apache-2.0 */
#include "push.h"

#include <archive.h>
#include <archive_entry.h>
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/io.h"
#include "document.h"
#include "http.h"
#include "jsontext.h"
#include "ref.h"

#define OUT_SIZE (256u << 10)

/* A layer on its way through hash, compressor, hash, file. */
struct layer_out {
    struct digester *diff, *blob;
    enum push_compression compression;
    z_stream z;
    ZSTD_CStream *zstd;
    FILE *file;
    uint64_t size;
    char diff_id[DIGEST_SIZE], digest[DIGEST_SIZE];
};

static int put(struct layer_out *l, const void *data, size_t len)
{
    l->size += len;
    return digester_update(l->blob, data, len) == 0 && fwrite(data, 1, len, l->file) == len ? 0
                                                                                            : -1;
}

static int compress_some(struct layer_out *l, const void *data, size_t len, bool end)
{
    static unsigned char out[OUT_SIZE];
    if (l->compression == PUSH_PLAIN)
        return put(l, data, len);
    if (l->compression == PUSH_GZIP) {
        l->z.next_in = (void *)data;
        l->z.avail_in = (uInt)len;
        do {
            l->z.next_out = out;
            l->z.avail_out = OUT_SIZE;
            if (deflate(&l->z, end ? Z_FINISH : Z_NO_FLUSH) == Z_STREAM_ERROR ||
                put(l, out, OUT_SIZE - l->z.avail_out) < 0)
                return -1;
        } while (l->z.avail_out == 0);
        return 0;
    }
    ZSTD_inBuffer in = {data, len, 0};
    for (;;) {
        ZSTD_outBuffer o = {out, OUT_SIZE, 0};
        size_t left = ZSTD_compressStream2(l->zstd, &o, &in, end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left) || put(l, out, o.pos) < 0)
            return -1;
        if (end ? left == 0 : in.pos == in.size)
            return 0;
    }
}

static int layer_begin(struct layer_out *l, enum push_compression compression)
{
    memset(l, 0, sizeof(*l));
    l->compression = compression;
    l->file = tmpfile();
    if (!l->file || digester_new("sha256:", &l->diff, NULL) < 0 ||
        digester_new("sha256:", &l->blob, NULL) < 0)
        return -1;
    if (compression == PUSH_ZSTD)
        return (l->zstd = ZSTD_createCStream()) ? 0 : -1;
    return compression == PUSH_GZIP &&
                   deflateInit2(&l->z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK
               ? -1
               : 0;
}

static int layer_write(struct layer_out *l, const void *data, size_t len)
{
    return digester_update(l->diff, data, len) < 0 ? -1 : compress_some(l, data, len, false);
}

static int layer_end(struct layer_out *l)
{
    if (l->compression != PUSH_PLAIN && compress_some(l, "", 0, true) < 0)
        return -1;
    rewind(l->file);
    return digester_final(l->diff, l->diff_id) < 0 ? -1 : digester_final(l->blob, l->digest);
}

static void layer_free(struct layer_out *l)
{
    if (l->compression == PUSH_GZIP)
        deflateEnd(&l->z);
    ZSTD_freeCStream(l->zstd);
    digester_free(l->diff);
    digester_free(l->blob);
    if (l->file)
        fclose(l->file);
}

/* ---- a folder as tar ---- */

static la_ssize_t on_tar(struct archive *a, void *data, const void *bytes, size_t len)
{
    if (layer_write(data, bytes, len) == 0)
        return (la_ssize_t)len;
    archive_set_error(a, EIO, "write layer");
    return -1;
}

static int copy_data(struct archive *disk, struct archive *out)
{
    const void *data;
    size_t len;
    la_int64_t at;
    static const char zeros[4096];
    la_int64_t done = 0;
    for (;;) {
        int rc = archive_read_data_block(disk, &data, &len, &at);
        if (rc == ARCHIVE_EOF)
            return 0;
        if (rc != ARCHIVE_OK)
            return -1;
        while (done < at) { /* holes as zeros */
            size_t n = at - done < (la_int64_t)sizeof(zeros) ? (size_t)(at - done) : sizeof(zeros);
            if (archive_write_data(out, zeros, n) < 0)
                return -1;
            done += (la_int64_t)n;
        }
        if (archive_write_data(out, data, len) < 0)
            return -1;
        done += (la_int64_t)len;
    }
}

static int copy_tree(const char *folder, bool root_owned, struct archive *disk, struct archive *out,
                     struct archive_entry_linkresolver *links)
{
    size_t skip = strlen(folder);
    for (;;) {
        struct archive_entry *e = archive_entry_new2(disk);
        int rc = archive_read_next_header2(disk, e);
        if (rc == ARCHIVE_EOF || rc < ARCHIVE_WARN) {
            archive_entry_free(e);
            return rc == ARCHIVE_EOF ? 0 : -1;
        }
        archive_read_disk_descend(disk);
        const char *path = archive_entry_pathname(e) + skip;
        path += strspn(path, "/");
        cleanup_free char *name = strdup(*path ? path : "./");
        archive_entry_set_pathname(e, name);
        if (root_owned) {
            archive_entry_set_uid(e, 0);
            archive_entry_set_gid(e, 0);
        }
        archive_entry_set_uname(e, NULL);
        archive_entry_set_gname(e, NULL);
        archive_entry_unset_atime(e);
        archive_entry_unset_ctime(e);
        archive_entry_unset_birthtime(e);
        archive_entry_sparse_clear(e);
        struct archive_entry *spare = NULL;
        archive_entry_linkify(links, &e, &spare);
        rc = archive_write_header(out, e) < ARCHIVE_WARN ? -1 : 0;
        if (rc == 0 && archive_entry_size(e) > 0)
            rc = copy_data(disk, out);
        archive_entry_free(e);
        archive_entry_free(spare);
        if (rc < 0)
            return rc;
    }
}

static int tar_folder(const char *folder, bool root_owned, struct layer_out *l,
                      struct gi_error *err)
{
    struct archive *out = archive_write_new();
    struct archive *disk = archive_read_disk_new();
    struct archive_entry_linkresolver *links = archive_entry_linkresolver_new();
    archive_write_set_format_pax_restricted(out);
    archive_write_set_bytes_in_last_block(out, 1);
    archive_entry_linkresolver_set_strategy(links, archive_format(out));
    archive_read_disk_set_symlink_physical(disk);
    int rc = archive_read_disk_open(disk, folder) == ARCHIVE_OK &&
                     archive_write_open(out, l, NULL, on_tar, NULL) == ARCHIVE_OK
                 ? copy_tree(folder, root_owned, disk, out, links)
                 : -1;
    if (archive_write_close(out) != ARCHIVE_OK)
        rc = -1;
    if (rc < 0)
        gi_fail(err, GI_INTERNAL, "tar of %s: %s %s", folder,
                archive_error_string(disk) ? archive_error_string(disk) : "",
                archive_error_string(out) ? archive_error_string(out) : "");
    archive_entry_linkresolver_free(links);
    archive_read_free(disk);
    archive_write_free(out);
    return rc < 0 ? -GI_INTERNAL : 0;
}

static int copy_tar(const char *path, struct layer_out *l, struct gi_error *err)
{
    static char buf[OUT_SIZE];
    cleanup_fclose FILE *f = fopen(path, "re");
    if (!f)
        return gi_fail_errno(err, errno, "open %s", path);
    for (size_t n; (n = fread(buf, 1, sizeof(buf), f)) > 0;) {
        if (layer_write(l, buf, n) < 0)
            return gi_fail(err, GI_INTERNAL, "write layer");
    }
    return 0;
}

static int make_layer(const char *source, const struct push_image *image, struct layer_out *l,
                      struct gi_error *err)
{
    struct stat st;
    if (stat(source, &st) < 0)
        return gi_fail_errno(err, errno, "%s", source);
    if (layer_begin(l, image->compression) < 0)
        return gi_fail(err, GI_INTERNAL, "layer");
    int rc = S_ISDIR(st.st_mode) ? tar_folder(source, image->root_owned, l, err)
                                 : copy_tar(source, l, err);
    if (rc < 0)
        return rc;
    return layer_end(l) < 0 ? gi_fail(err, GI_INTERNAL, "finish layer") : 0;
}

/* ---- upload ---- */

struct target {
    char base[512]; /* "http://host:port/v2/path" */
    char tag[REF_TAG_SIZE];
    const char *basic;
};

static size_t on_location(char *line, size_t size, size_t n, void *data)
{
    char *location = data;
    if (size * n > 10 && size * n < HTTP_URL_SIZE && strncasecmp(line, "location:", 9) == 0) {
        size_t len = size * n - 9;
        memcpy(location, line + 9, len);
        location[len] = '\0';
        memmove(location, location + strspn(location, " "), len + 1 - strspn(location, " "));
        location[strcspn(location, "\r\n")] = '\0';
    }
    return size * n;
}

static size_t discard(char *bytes, size_t size, size_t n, void *data)
{
    return size * n;
}

/* METHOD "POST", "PUT" (body from FILE, SIZE bytes) or "HEAD"; HTTP status or -1. */
static long send_request(const struct target *t, const char *method, const char *url,
                         const char *content_type, FILE *file, uint64_t size, char *location,
                         struct gi_error *err)
{
    CURL *c = curl_easy_init();
    char why[CURL_ERROR_SIZE] = "";
    char header[160];
    snprintf(header, sizeof(header), "Content-Type: %s",
             content_type ? content_type : "application/octet-stream");
    struct curl_slist *headers = curl_slist_append(NULL, header);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    if (t->basic)
        curl_easy_setopt(c, CURLOPT_USERPWD, t->basic);
    if (location) {
        curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_location);
        curl_easy_setopt(c, CURLOPT_HEADERDATA, location);
    }
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    } else if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, 0L);
    } else {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_READDATA, file);
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
    }
    long status = -1;
    if (curl_easy_perform(c) == CURLE_OK)
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    else
        gi_fail(err, GI_UNAVAILABLE, "%s %s: %s", method, url, why);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    return status;
}

static int upload_blob(const struct target *t, const char *digest, FILE *file, uint64_t size,
                       struct gi_error *err)
{
    char url[HTTP_URL_SIZE + DIGEST_SIZE + 1024];
    char location[HTTP_URL_SIZE] = "";
    snprintf(url, sizeof(url), "%s/blobs/%s", t->base, digest);
    if (send_request(t, "HEAD", url, NULL, NULL, 0, NULL, err) == 200)
        return 0;
    snprintf(url, sizeof(url), "%s/blobs/uploads/", t->base);
    long status = send_request(t, "POST", url, NULL, NULL, 0, location, err);
    if (status != 202)
        return status < 0 ? -(int)GI_UNAVAILABLE
                          : gi_fail(err, GI_UNKNOWN, "%s: HTTP status %ld", url, status);
    char origin[512];
    const char *path = strstr(strstr(t->base, "://") + 3, "/");
    snprintf(origin, sizeof(origin), "%.*s", location[0] == '/' ? (int)(path - t->base) : 0,
             t->base);
    snprintf(url, sizeof(url), "%s%s%cdigest=%s", origin, location,
             strchr(location, '?') ? '&' : '?', digest);
    status = send_request(t, "PUT", url, NULL, file, size, NULL, err);
    if (status != 201)
        return status < 0
                   ? -(int)GI_UNAVAILABLE
                   : gi_fail(err, GI_UNKNOWN, "upload of %s: HTTP status %ld", digest, status);
    return 0;
}

static int upload_text(const struct target *t, const char *text, size_t len, const char *as_type,
                       const char *name, char ret_digest[DIGEST_SIZE], struct gi_error *err)
{
    char url[HTTP_URL_SIZE];
    if (digest_of(text, len, ret_digest) < 0)
        return gi_fail(err, GI_INTERNAL, "hash");
    cleanup_fclose FILE *f = fmemopen((void *)text, len, "r");
    if (!f)
        return gi_fail_errno(err, errno, "fmemopen");
    if (!as_type)
        return upload_blob(t, ret_digest, f, len, err);
    snprintf(url, sizeof(url), "%s/manifests/%s", t->base, name ? name : ret_digest);
    long status = send_request(t, "PUT", url, as_type, f, len, NULL, err);
    if (status != 201)
        return status < 0 ? -(int)GI_UNAVAILABLE
                          : gi_fail(err, GI_UNKNOWN, "%s: HTTP status %ld", url, status);
    return 0;
}

/* ---- documents ---- */

static void put_strings(struct gi_buf *b, const char *key, const char *const *list)
{
    if (!list)
        return;
    gi_buf_printf(b, ", \"%s\": [", key);
    for (size_t i = 0; list[i]; i++) {
        gi_buf_printf(b, "%s", i ? ", " : "");
        json_quote(b, list[i]);
    }
    gi_buf_printf(b, "]");
}

static void put_string(struct gi_buf *b, const char *key, const char *value)
{
    if (!value)
        return;
    gi_buf_printf(b, ", \"%s\": ", key);
    json_quote(b, value);
}

static void write_config(struct gi_buf *b, const struct push_image *image,
                         const struct layer_out *layers, size_t n)
{
    gi_buf_printf(b, "{\"created\": \"1970-01-01T00:00:00Z\", \"os\": \"linux\"");
    put_string(b, "architecture", image->arch ? image->arch : document_host_arch());
    gi_buf_printf(b, ", \"config\": {\"Labels\": {}");
    put_strings(b, "Env", image->env);
    put_strings(b, "Entrypoint", image->entrypoint);
    put_strings(b, "Cmd", image->cmd);
    put_string(b, "User", image->user);
    put_string(b, "WorkingDir", image->workdir);
    gi_buf_printf(b, "}, \"rootfs\": {\"type\": \"layers\", \"diff_ids\": [");
    for (size_t i = 0; i < n; i++)
        gi_buf_printf(b, "%s\"%s\"", i ? ", " : "", layers[i].diff_id);
    gi_buf_printf(b, "]}}");
}

static const char *layer_type(const struct push_image *image)
{
    if (image->docker_types)
        return image->compression == PUSH_PLAIN
                   ? "application/vnd.docker.image.rootfs.diff.tar"
                   : "application/vnd.docker.image.rootfs.diff.tar.gzip";
    return image->compression == PUSH_GZIP   ? "application/vnd.oci.image.layer.v1.tar+gzip"
           : image->compression == PUSH_ZSTD ? "application/vnd.oci.image.layer.v1.tar+zstd"
                                             : "application/vnd.oci.image.layer.v1.tar";
}

static int push_documents(const struct push_image *image, const struct target *t,
                          const struct layer_out *layers, size_t n, char id[DIGEST_SIZE],
                          char digest[DIGEST_SIZE], struct gi_error *err)
{
    cleanup_buf struct gi_buf config = GI_BUF_INIT(1u << 20);
    cleanup_buf struct gi_buf manifest = GI_BUF_INIT(1u << 20);
    cleanup_buf struct gi_buf index = GI_BUF_INIT(1u << 20);
    const char *type = image->docker_types ? "application/vnd.docker.distribution.manifest.v2+json"
                                           : "application/vnd.oci.image.manifest.v1+json";
    write_config(&config, image, layers, n);
    int rc = upload_text(t, config.data, config.len, NULL, NULL, id, err);
    if (rc < 0)
        return rc;
    gi_buf_printf(&manifest,
                  "{\"schemaVersion\": 2, \"mediaType\": \"%s\", \"config\": {\"mediaType\": "
                  "\"%s\", \"digest\": \"%s\", \"size\": %zu}, \"layers\": [",
                  type,
                  image->docker_types ? "application/vnd.docker.container.image.v1+json"
                                      : "application/vnd.oci.image.config.v1+json",
                  id, config.len);
    for (size_t i = 0; i < n; i++)
        gi_buf_printf(&manifest,
                      "%s{\"mediaType\": \"%s\", \"digest\": \"%s\", \"size\": %" PRIu64 "}",
                      i ? ", " : "", layer_type(image), layers[i].digest, layers[i].size);
    gi_buf_printf(&manifest, "]}");
    rc = upload_text(t, manifest.data, manifest.len, type, image->as_index ? NULL : t->tag, digest,
                     err);
    if (rc < 0 || !image->as_index)
        return rc;
    const char *index_type = image->docker_types
                                 ? "application/vnd.docker.distribution.manifest.list.v2+json"
                                 : "application/vnd.oci.image.index.v1+json";
    /* The decoy points to the same manifest: picking it by its platform is the only way. */
    gi_buf_printf(&index,
                  "{\"schemaVersion\": 2, \"mediaType\": \"%s\", \"manifests\": ["
                  "{\"mediaType\": \"%s\", \"digest\": \"%s\", \"size\": %zu, \"platform\": "
                  "{\"os\": \"linux\", \"architecture\": \"%s\"}}, "
                  "{\"mediaType\": \"%s\", \"digest\": \"%s\", \"size\": %zu, \"platform\": "
                  "{\"os\": \"windows\", \"architecture\": \"%s\"}}]}",
                  index_type, type, digest, manifest.len,
                  image->arch ? image->arch : document_host_arch(), type, digest, manifest.len,
                  image->arch ? image->arch : document_host_arch());
    return upload_text(t, index.data, index.len, index_type, t->tag, digest, err);
}

static int parse_target(const struct push_image *image, struct target *t, struct gi_error *err)
{
    struct image_ref ref;
    const char *scheme = strstr(image->url, "://");
    if (!scheme)
        return gi_fail(err, GI_INVALID_ARGUMENT, "\"%s\" is no URL", image->url);
    int rc = image_ref_parse(scheme + 3, &ref, err);
    if (rc < 0)
        return rc;
    snprintf(t->base, sizeof(t->base), "%.*s%.200s/v2/%.200s", (int)(scheme + 3 - image->url),
             image->url, ref.host, ref.path);
    memcpy(t->tag, ref.tag, sizeof(t->tag));
    t->basic = image->basic;
    return 0;
}

int push_image(const struct push_image *image, char ret_id[DIGEST_SIZE],
               char ret_manifest[DIGEST_SIZE], struct gi_error *err)
{
    struct target t;
    char id[DIGEST_SIZE];
    char manifest[DIGEST_SIZE];
    static struct layer_out layers[DOCUMENT_MAX_LAYERS];
    size_t n = 0;
    int rc = parse_target(image, &t, err);
    while (rc == 0 && image->layers[n] && n < DOCUMENT_MAX_LAYERS) {
        rc = make_layer(image->layers[n], image, &layers[n], err);
        n++;
        if (rc == 0)
            rc = upload_blob(&t, layers[n - 1].digest, layers[n - 1].file, layers[n - 1].size, err);
    }
    if (rc == 0)
        rc = push_documents(image, &t, layers, n, id, manifest, err);
    for (size_t i = 0; i < n; i++)
        layer_free(&layers[i]);
    if (rc == 0 && ret_id)
        memcpy(ret_id, id, DIGEST_SIZE);
    if (rc == 0 && ret_manifest)
        memcpy(ret_manifest, manifest, DIGEST_SIZE);
    return rc;
}
