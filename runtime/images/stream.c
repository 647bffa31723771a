/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of pieces between the decoder's thread, which fills them, and the reader, which
 * has one of them at a time. Invariants:
 *  R1  pieces[made % N] belongs to the decoder while made - read < N,
 *      pieces[read % N] to the reader while read < made; no piece to both.
 *  R2  The last piece says how it ended: with 0 bytes, or with an error.
 */
#include "stream.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PIECE  (256u << 10)
#define PIECES 4u

struct piece {
    ssize_t n;            /* as decoder_read says */
    unsigned char *bytes; /* heap; most layers are small, and need one or two */
};

struct stream {
    struct decoder *decoder; /* the thread's */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t made, read;
    bool stop;
    struct gi_error why; /* the decoder's; written before its last piece is made */
    /* The reader's: */
    bool holds; /* pieces[read % PIECES] is with the caller */
    bool ended;
    uint64_t position;
    struct piece pieces[PIECES];
};

/* ---- the decoder's side ---- */

/* NULL: nobody reads any more. */
static struct piece *next_free(struct stream *s)
{
    GI_LOCK_SCOPE(&s->lock);
    while (!s->stop && s->made - s->read == PIECES)
        pthread_cond_wait(&s->changed, &s->lock);
    return s->stop ? NULL : &s->pieces[s->made % PIECES];
}

static void *stream_main(void *arg)
{
    struct stream *s = arg;
    ssize_t n = 1;
    for (struct piece *p; n > 0 && (p = next_free(s)) != NULL;) {
        if (!p->bytes)
            p->bytes = malloc(PIECE);
        n = p->bytes ? decoder_read(s->decoder, p->bytes, PIECE, &s->why)
                     : gi_fail_errno(&s->why, ENOMEM, "layer stream");
        p->n = n;
        GI_LOCK_SCOPE(&s->lock);
        s->made++;
        pthread_cond_broadcast(&s->changed);
    }
    return NULL;
}

/* ---- the reader's side ---- */

int stream_open(int fd, const char *diff_id, const struct stream_limits *limits,
                struct stream **ret_stream, struct gi_error *err)
{
    struct stream *s = calloc(1, sizeof(*s));
    if (!s)
        return gi_fail_errno(err, ENOMEM, "layer stream");
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    int rc = decoder_new(fd, diff_id, limits, &s->decoder, err);
    if (rc == 0) {
        int why = pthread_create(&s->thread, NULL, stream_main, s);
        s->started = why == 0;
        rc = why ? gi_fail_errno(err, why, "thread for a layer") : 0;
    }
    if (rc < 0) {
        stream_free(s);
        return rc;
    }
    *ret_stream = s;
    return 0;
}

static void end_thread(struct stream *s)
{
    if (!s->started)
        return;
    {
        GI_LOCK_SCOPE(&s->lock);
        s->stop = true;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_join(s->thread, NULL);
    s->started = false;
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    end_thread(s);
    decoder_free(s->decoder);
    for (unsigned i = 0; i < PIECES; i++)
        free(s->pieces[i].bytes);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s);
}

uint64_t stream_position(const struct stream *s)
{
    return s->position;
}

static const struct piece *next_piece(struct stream *s)
{
    GI_LOCK_SCOPE(&s->lock);
    if (s->holds) {
        s->read++;
        pthread_cond_broadcast(&s->changed);
    }
    while (s->read == s->made)
        pthread_cond_wait(&s->changed, &s->lock);
    s->holds = true;
    return &s->pieces[s->read % PIECES];
}

ssize_t stream_read(struct stream *s, const void **ret_data, struct gi_error *err)
{
    if (s->ended && s->why.code == GI_OK)
        return 0;
    if (!s->ended) {
        const struct piece *p = next_piece(s);
        if (p->n > 0) {
            s->position += (uint64_t)p->n;
            *ret_data = p->bytes;
            return p->n;
        }
        s->ended = true;
        if (p->n == 0)
            return 0;
    }
    if (err)
        *err = s->why;
    return -(ssize_t)s->why.code;
}

int stream_finish(struct stream *s, const char *diff_id, struct gi_error *err)
{
    const void *data;
    char got[DIGEST_SIZE];
    ssize_t n;
    do {
        n = stream_read(s, &data, err);
    } while (n > 0);
    if (n < 0)
        return (int)n;
    end_thread(s); /* the decoder is ours now */
    if (decoder_final(s->decoder, got) < 0)
        return gi_fail(err, GI_INTERNAL, "hashing failed");
    if (strcmp(got, diff_id) != 0)
        return gi_fail(err, GI_DATA_LOSS, "unpacked layer is %s, the image says diff id %s", got,
                       diff_id);
    return 0;
}
