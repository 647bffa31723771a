/* SPDX-License-Identifier: Apache-2.0 */
#include "decode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define IN_SIZE         (128u << 10)
#define ZSTD_WINDOW_LOG 27 /* 128 MiB: what `zstd` itself accepts by default */

enum kind { KIND_UNKNOWN, KIND_PLAIN, KIND_GZIP, KIND_ZSTD };

struct decoder {
    int fd;
    struct stream_limits limits;
    struct digester *digester;
    enum kind kind;
    z_stream z;
    bool z_ready;
    ZSTD_DStream *zstd;
    bool frame_done; /* at a boundary between gzip members or zstd frames */
    bool eof_in;
    size_t in_pos, in_len;
    uint64_t total_in, total_out;
    unsigned char in[IN_SIZE];
};

int decoder_new(int fd, const char *diff_id, const struct stream_limits *limits,
                struct decoder **ret_decoder, struct gi_error *err)
{
    cleanup_decoder struct decoder *d = calloc(1, sizeof(*d));
    if (!d)
        return gi_fail_errno(err, ENOMEM, "layer stream");
    d->fd = fd;
    d->limits = *limits;
    int rc = digester_new(diff_id, &d->digester, err);
    if (rc < 0)
        return rc;
    *ret_decoder = TAKE_PTR(d);
    return 0;
}

void decoder_free(struct decoder *d)
{
    if (!d)
        return;
    if (d->z_ready)
        inflateEnd(&d->z);
    ZSTD_freeDStream(d->zstd);
    digester_free(d->digester);
    free(d);
}

/* Tops the input buffer up to at least WANT bytes unless the file ends. */
static int fill(struct decoder *d, size_t want, struct gi_error *err)
{
    if (d->in_len - d->in_pos >= want || d->eof_in)
        return 0;
    memmove(d->in, d->in + d->in_pos, d->in_len - d->in_pos);
    d->in_len -= d->in_pos;
    d->in_pos = 0;
    while (d->in_len < want) {
        ssize_t n = read(d->fd, d->in + d->in_len, IN_SIZE - d->in_len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gi_fail_errno(err, errno, "read layer blob");
        if (n == 0) {
            d->eof_in = true;
            break;
        }
        d->in_len += (size_t)n;
        d->total_in += (uint64_t)n;
    }
    return 0;
}

static int detect(struct decoder *d, struct gi_error *err)
{
    int rc = fill(d, 4, err);
    if (rc < 0)
        return rc;
    const unsigned char *p = d->in;
    d->kind = KIND_PLAIN;
    if (d->in_len >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        if (inflateInit2(&d->z, 15 + 16) != Z_OK)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for gzip");
        d->z_ready = true;
        d->kind = KIND_GZIP;
    } else if (d->in_len >= 4 && ((p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd) ||
                                  ((p[0] & 0xf0) == 0x50 && p[1] == 0x2a && p[2] == 0x4d &&
                                   p[3] == 0x18))) { /* frame, or skippable frame */
        d->zstd = ZSTD_createDStream();
        if (!d->zstd ||
            ZSTD_isError(ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG)))
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for zstd");
        d->kind = KIND_ZSTD;
    }
    return 0;
}

static ssize_t read_plain(struct decoder *d, void *out, size_t room, struct gi_error *err)
{
    int rc = fill(d, 1, err);
    if (rc < 0)
        return rc;
    size_t n = d->in_len - d->in_pos;
    n = n < room ? n : room;
    memcpy(out, d->in + d->in_pos, n);
    d->in_pos += n;
    return (ssize_t)n;
}

static ssize_t read_gzip(struct decoder *d, void *out, size_t room, struct gi_error *err)
{
    for (;;) {
        int rc = fill(d, 1, err);
        if (rc < 0)
            return rc;
        size_t have = d->in_len - d->in_pos;
        if (have == 0) {
            if (d->frame_done)
                return 0;
            return gi_fail(err, GI_INVALID_ARGUMENT, "gzip data is truncated");
        }
        if (d->frame_done) {
            inflateReset(&d->z);
            d->frame_done = false;
        }
        d->z.next_in = d->in + d->in_pos;
        d->z.avail_in = (uInt)have;
        d->z.next_out = out;
        d->z.avail_out = (uInt)room;
        int zrc = inflate(&d->z, Z_NO_FLUSH);
        d->in_pos += have - d->z.avail_in;
        if (zrc == Z_STREAM_END)
            d->frame_done = true;
        else if (zrc != Z_OK && zrc != Z_BUF_ERROR)
            return gi_fail(err, GI_INVALID_ARGUMENT, "bad gzip data: %s",
                           d->z.msg ? d->z.msg : "unknown error");
        if (d->z.avail_out < room)
            return (ssize_t)(room - d->z.avail_out);
    }
}

static ssize_t read_zstd(struct decoder *d, void *to, size_t room, struct gi_error *err)
{
    for (;;) {
        int rc = fill(d, 1, err);
        if (rc < 0)
            return rc;
        ZSTD_inBuffer in = {d->in + d->in_pos, d->in_len - d->in_pos, 0};
        ZSTD_outBuffer out = {to, room, 0};
        if (in.size == 0 && d->frame_done)
            return 0;
        size_t zrc = ZSTD_decompressStream(d->zstd, &out, &in);
        if (ZSTD_isError(zrc))
            return gi_fail(err, GI_INVALID_ARGUMENT, "bad zstd data: %s", ZSTD_getErrorName(zrc));
        bool at_end = in.size == 0;
        d->in_pos += in.pos;
        d->frame_done = zrc == 0;
        if (out.pos)
            return (ssize_t)out.pos;
        if (at_end && !d->frame_done)
            return gi_fail(err, GI_INVALID_ARGUMENT, "zstd data is truncated");
    }
}

ssize_t decoder_read(struct decoder *d, void *out, size_t room, struct gi_error *err)
{
    if (d->kind == KIND_UNKNOWN) {
        int rc = detect(d, err);
        if (rc < 0)
            return rc;
    }
    ssize_t n = d->kind == KIND_GZIP   ? read_gzip(d, out, room, err)
                : d->kind == KIND_ZSTD ? read_zstd(d, out, room, err)
                                       : read_plain(d, out, room, err);
    if (n <= 0)
        return n;
    d->total_out += (uint64_t)n;
    if (d->total_out > d->limits.max_bytes)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED,
                       "layer unpacks to more than the %" PRIu64 " bytes allowed",
                       d->limits.max_bytes);
    uint64_t used_in = d->total_in - (d->in_len - d->in_pos);
    if (d->total_out > d->limits.ratio_grace && d->total_out / d->limits.max_ratio > used_in)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED,
                       "layer is a decompression bomb: more than %u bytes out of each byte",
                       d->limits.max_ratio);
    if (digester_update(d->digester, out, (size_t)n) < 0)
        return gi_fail(err, GI_INTERNAL, "hashing failed");
    return n;
}

int decoder_final(struct decoder *d, char ret_digest[DIGEST_SIZE])
{
    return digester_final(d->digester, ret_digest);
}
