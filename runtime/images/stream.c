/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define IN_SIZE         (128u << 10)
#define OUT_SIZE        (256u << 10)
#define ZSTD_WINDOW_LOG 27 /* 128 MiB: what `zstd` itself accepts by default */

enum kind { KIND_UNKNOWN, KIND_PLAIN, KIND_GZIP, KIND_ZSTD };

struct stream {
    int fd;
    struct stream_limits limits;
    struct digester *digester;
    enum kind kind;
    z_stream z;
    bool z_ready;
    ZSTD_DStream *zstd;
    bool frame_done; /* at a boundary between gzip members or zstd frames */
    bool eof_in;
    bool eof_out;
    size_t in_pos, in_len;
    uint64_t total_in, total_out;
    unsigned char in[IN_SIZE];
    unsigned char out[OUT_SIZE];
};

int stream_open(int fd, const char *diff_id, const struct stream_limits *limits,
                struct stream **ret_stream, struct gi_error *err)
{
    cleanup_stream struct stream *s = calloc(1, sizeof(*s));
    if (!s)
        return gi_fail_errno(err, ENOMEM, "layer stream");
    s->fd = fd;
    s->limits = *limits;
    int rc = digester_new(diff_id, &s->digester, err);
    if (rc < 0)
        return rc;
    *ret_stream = TAKE_PTR(s);
    return 0;
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    if (s->z_ready)
        inflateEnd(&s->z);
    ZSTD_freeDStream(s->zstd);
    digester_free(s->digester);
    free(s);
}

uint64_t stream_position(const struct stream *s)
{
    return s->total_out;
}

/* Tops the input buffer up to at least WANT bytes unless the file ends. */
static int fill(struct stream *s, size_t want, struct gi_error *err)
{
    if (s->in_len - s->in_pos >= want || s->eof_in)
        return 0;
    memmove(s->in, s->in + s->in_pos, s->in_len - s->in_pos);
    s->in_len -= s->in_pos;
    s->in_pos = 0;
    while (s->in_len < want) {
        ssize_t n = read(s->fd, s->in + s->in_len, IN_SIZE - s->in_len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gi_fail_errno(err, errno, "read layer blob");
        if (n == 0) {
            s->eof_in = true;
            break;
        }
        s->in_len += (size_t)n;
        s->total_in += (uint64_t)n;
    }
    return 0;
}

static int detect(struct stream *s, struct gi_error *err)
{
    int rc = fill(s, 4, err);
    if (rc < 0)
        return rc;
    const unsigned char *p = s->in;
    s->kind = KIND_PLAIN;
    if (s->in_len >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        if (inflateInit2(&s->z, 15 + 16) != Z_OK)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for gzip");
        s->z_ready = true;
        s->kind = KIND_GZIP;
    } else if (s->in_len >= 4 && ((p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd) ||
                                  ((p[0] & 0xf0) == 0x50 && p[1] == 0x2a && p[2] == 0x4d &&
                                   p[3] == 0x18))) { /* frame, or skippable frame */
        s->zstd = ZSTD_createDStream();
        if (!s->zstd ||
            ZSTD_isError(ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG)))
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for zstd");
        s->kind = KIND_ZSTD;
    }
    return 0;
}

static ssize_t read_plain(struct stream *s, struct gi_error *err)
{
    int rc = fill(s, 1, err);
    if (rc < 0)
        return rc;
    size_t n = s->in_len - s->in_pos;
    memcpy(s->out, s->in + s->in_pos, n);
    s->in_pos = s->in_len;
    return (ssize_t)n;
}

static ssize_t read_gzip(struct stream *s, struct gi_error *err)
{
    for (;;) {
        int rc = fill(s, 1, err);
        if (rc < 0)
            return rc;
        size_t have = s->in_len - s->in_pos;
        if (have == 0) {
            if (s->frame_done)
                return 0;
            return gi_fail(err, GI_INVALID_ARGUMENT, "gzip data is truncated");
        }
        if (s->frame_done) {
            inflateReset(&s->z);
            s->frame_done = false;
        }
        s->z.next_in = s->in + s->in_pos;
        s->z.avail_in = (uInt)have;
        s->z.next_out = s->out;
        s->z.avail_out = OUT_SIZE;
        int zrc = inflate(&s->z, Z_NO_FLUSH);
        s->in_pos += have - s->z.avail_in;
        if (zrc == Z_STREAM_END)
            s->frame_done = true;
        else if (zrc != Z_OK && zrc != Z_BUF_ERROR)
            return gi_fail(err, GI_INVALID_ARGUMENT, "bad gzip data: %s",
                           s->z.msg ? s->z.msg : "unknown error");
        if (s->z.avail_out < OUT_SIZE)
            return (ssize_t)(OUT_SIZE - s->z.avail_out);
    }
}

static ssize_t read_zstd(struct stream *s, struct gi_error *err)
{
    for (;;) {
        int rc = fill(s, 1, err);
        if (rc < 0)
            return rc;
        ZSTD_inBuffer in = {s->in + s->in_pos, s->in_len - s->in_pos, 0};
        ZSTD_outBuffer out = {s->out, OUT_SIZE, 0};
        if (in.size == 0 && s->frame_done)
            return 0;
        size_t zrc = ZSTD_decompressStream(s->zstd, &out, &in);
        if (ZSTD_isError(zrc))
            return gi_fail(err, GI_INVALID_ARGUMENT, "bad zstd data: %s", ZSTD_getErrorName(zrc));
        bool at_end = in.size == 0;
        s->in_pos += in.pos;
        s->frame_done = zrc == 0;
        if (out.pos)
            return (ssize_t)out.pos;
        if (at_end && !s->frame_done)
            return gi_fail(err, GI_INVALID_ARGUMENT, "zstd data is truncated");
    }
}

ssize_t stream_read(struct stream *s, const void **ret_data, struct gi_error *err)
{
    if (s->eof_out)
        return 0;
    if (s->kind == KIND_UNKNOWN) {
        int rc = detect(s, err);
        if (rc < 0)
            return rc;
    }
    ssize_t n = s->kind == KIND_GZIP   ? read_gzip(s, err)
                : s->kind == KIND_ZSTD ? read_zstd(s, err)
                                       : read_plain(s, err);
    if (n < 0)
        return n;
    if (n == 0) {
        s->eof_out = true;
        return 0;
    }
    s->total_out += (uint64_t)n;
    if (s->total_out > s->limits.max_bytes)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED,
                       "layer unpacks to more than the %" PRIu64 " bytes allowed",
                       s->limits.max_bytes);
    uint64_t used_in = s->total_in - (s->in_len - s->in_pos);
    if (s->total_out > s->limits.ratio_grace && s->total_out / s->limits.max_ratio > used_in)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED,
                       "layer is a decompression bomb: more than %u bytes out of each byte",
                       s->limits.max_ratio);
    if (digester_update(s->digester, s->out, (size_t)n) < 0)
        return gi_fail(err, GI_INTERNAL, "hashing failed");
    *ret_data = s->out;
    return n;
}

int stream_finish(struct stream *s, const char *diff_id, struct gi_error *err)
{
    const void *data;
    ssize_t n;
    do {
        n = stream_read(s, &data, err);
    } while (n > 0);
    if (n < 0)
        return (int)n;
    char got[DIGEST_SIZE];
    if (digester_final(s->digester, got) < 0)
        return gi_fail(err, GI_INTERNAL, "hashing failed");
    if (strcmp(got, diff_id) != 0)
        return gi_fail(err, GI_DATA_LOSS, "unpacked layer is %s, the image says diff id %s", got,
                       diff_id);
    return 0;
}
