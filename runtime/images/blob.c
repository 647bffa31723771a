/* SPDX-License-Identifier: Apache-2.0 */
#include "blob.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "digest.h"

#define READ_SIZE (256u << 10)

struct blob_writer {
    int fd;
    char digest[DIGEST_SIZE];
    uint64_t size;
    uint64_t offset;
    struct digester *digester;
    bool first; /* of an answer */
    void (*progress)(void *data, int64_t delta);
    void *data;
};

static void moved(struct blob_writer *w, int64_t delta)
{
    if (w->progress && delta)
        w->progress(w->data, delta);
}

int blob_writer_restart(struct blob_writer *w, struct gi_error *err)
{
    struct digester *fresh;
    int rc = digester_new(w->digest, &fresh, err);
    if (rc < 0)
        return rc;
    digester_free(w->digester);
    w->digester = fresh;
    moved(w, -(int64_t)w->offset);
    w->offset = 0;
    if (ftruncate(w->fd, 0) < 0 || lseek(w->fd, 0, SEEK_SET) < 0)
        return gi_fail_errno(err, errno, "truncate blob");
    return 0;
}

/* Hashes what the file already has. */
static int take_over(struct blob_writer *w, struct gi_error *err)
{
    struct stat st;
    if (fstat(w->fd, &st) < 0)
        return gi_fail_errno(err, errno, "stat blob");
    if (st.st_size == 0 || (uint64_t)st.st_size > w->size)
        return 0;
    cleanup_free char *buf = malloc(READ_SIZE);
    if (!buf)
        return gi_fail_errno(err, ENOMEM, "blob");
    for (;;) {
        ssize_t n = pread(w->fd, buf, READ_SIZE, (off_t)w->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gi_fail_errno(err, errno, "read blob");
        if (n == 0)
            break;
        if (digester_update(w->digester, buf, (size_t)n) < 0)
            return gi_fail(err, GI_INTERNAL, "hashing failed");
        w->offset += (uint64_t)n;
    }
    if (lseek(w->fd, (off_t)w->offset, SEEK_SET) < 0)
        return gi_fail_errno(err, errno, "seek blob");
    moved(w, (int64_t)w->offset);
    return 0;
}

int blob_writer_new(int fd, const char *digest, uint64_t size,
                    void (*progress)(void *data, int64_t delta), void *data,
                    struct blob_writer **ret_writer, struct gi_error *err)
{
    cleanup_blob_writer struct blob_writer *w = calloc(1, sizeof(*w));
    if (!w || strlen(digest) >= sizeof(w->digest))
        return gi_fail_errno(err, ENOMEM, "blob");
    w->fd = fd;
    w->size = size;
    w->progress = progress;
    w->data = data;
    memcpy(w->digest, digest, strlen(digest) + 1);
    int rc = digester_new(digest, &w->digester, err);
    if (rc == 0)
        rc = take_over(w, err);
    if (rc == 0 && w->offset == 0)
        rc = blob_writer_restart(w, err); /* drops what is too long */
    if (rc < 0)
        return rc;
    *ret_writer = TAKE_PTR(w);
    return 0;
}

void blob_writer_free(struct blob_writer *w)
{
    if (!w)
        return;
    digester_free(w->digester);
    free(w);
}

uint64_t blob_writer_offset(const struct blob_writer *w)
{
    return w->offset;
}

void blob_writer_begin(struct blob_writer *w)
{
    w->first = true;
}

/* "bytes FIRST-LAST/TOTAL" must go on exactly where we are. */
static bool range_fits(const struct blob_writer *w, const char *content_range)
{
    unsigned long long first;
    return sscanf(content_range, "bytes %20llu-", &first) == 1 && first == w->offset;
}

int blob_writer_sink(void *data, const struct http_response *r, const void *bytes, size_t len,
                     struct gi_error *err)
{
    struct blob_writer *w = data;
    if (w->first) {
        w->first = false;
        bool partial = r->status == 206;
        if (partial && !range_fits(w, r->content_range)) {
            blob_writer_restart(w, NULL);
            return gi_fail(err, GI_UNAVAILABLE, "the server answered with another range");
        }
        int rc = !partial && w->offset ? blob_writer_restart(w, err) : 0;
        if (rc < 0)
            return rc;
    }
    if (len > w->size - w->offset) {
        blob_writer_restart(w, NULL);
        return gi_fail(err, GI_DATA_LOSS, "blob %.80s is larger than its %" PRIu64 " bytes",
                       w->digest, w->size);
    }
    int rc = gi_write_full(w->fd, bytes, len);
    if (rc < 0)
        return gi_fail_errno(err, -rc, "write blob");
    if (digester_update(w->digester, bytes, len) < 0)
        return gi_fail(err, GI_INTERNAL, "hashing failed");
    w->offset += len;
    moved(w, (int64_t)len);
    return 0;
}

int blob_writer_finish(struct blob_writer *w, struct gi_error *err)
{
    char got[DIGEST_SIZE];
    if (digester_final(w->digester, got) < 0)
        return gi_fail(err, GI_INTERNAL, "hashing failed");
    if (w->offset == w->size && strcmp(got, w->digest) == 0)
        return 0;
    blob_writer_restart(w, NULL);
    return gi_fail(err, GI_DATA_LOSS, "blob is %s, not %s as the manifest says", got, w->digest);
}
