/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images_pull: callers that want the same reference with the same credentials
 * share one job, which has a thread of its own and ends when nobody waits.
 */
#include "pull.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"

#define POLL_NS         (50 * 1000000L)
#define PROGRESS_LOG_NS (5LL * 1000000000)

bool pull_cancelled(void *data)
{
    struct pull_job *job = data;
    return atomic_load(&job->cancelled);
}

bool pull_needs_layer(const struct images *s, const char *digest)
{
    for (const struct pull_job *j = s->jobs; j; j = j->next) {
        for (size_t i = 0; i < j->n_layers; i++) {
            if (strcmp(j->layers[i].digest, digest) == 0)
                return true;
        }
    }
    return false;
}

/* ---- credentials ---- */

static const size_t auth_fields[] = {
    offsetof(struct images_auth, username),       offsetof(struct images_auth, password),
    offsetof(struct images_auth, auth),           offsetof(struct images_auth, server_address),
    offsetof(struct images_auth, identity_token), offsetof(struct images_auth, registry_token)};

static char **auth_field(struct images_auth *a, size_t i)
{
    return (char **)((char *)a + auth_fields[i]);
}

static void auth_wipe(struct images_auth *a)
{
    for (size_t i = 0; i < GI_ARRAY_SIZE(auth_fields); i++) {
        char *secret = *auth_field(a, i);
        if (secret)
            explicit_bzero(secret, strlen(secret));
        free(secret);
        *auth_field(a, i) = NULL;
    }
}

static int auth_copy(struct images_auth *dst, const struct images_auth *src)
{
    for (size_t i = 0; src && i < GI_ARRAY_SIZE(auth_fields); i++) {
        const char *s = *auth_field((struct images_auth *)src, i);
        char *copy = s ? strdup(s) : NULL;
        if (s && !copy) {
            auth_wipe(dst);
            return -1;
        }
        *auth_field(dst, i) = copy;
    }
    return 0;
}

/* Different credentials never share a pull: one of them may not be allowed to. */
static int job_key(char *key, size_t size, const struct image_ref *ref,
                   const struct images_auth *auth)
{
    char text[REF_TEXT_SIZE];
    char hash[DIGEST_SIZE] = "";
    cleanup_digester struct digester *d = NULL;
    if (digester_new("sha256:", &d, NULL) < 0)
        return -1;
    for (size_t i = 0; auth && i < GI_ARRAY_SIZE(auth_fields); i++) {
        const char *s = *auth_field((struct images_auth *)auth, i);
        if (digester_update(d, s ? s : "", s ? strlen(s) + 1 : 1) < 0)
            return -1;
    }
    if (digester_final(d, hash) < 0)
        return -1;
    image_ref_format(ref, text);
    snprintf(key, size, "%s %s", text, auth ? hash : "");
    return 0;
}

/* ---- jobs ---- */

static void unlink_job(struct images *s, struct pull_job *job)
{
    for (struct pull_job **p = &s->jobs; *p; p = &(*p)->next) {
        if (*p == job) {
            *p = job->next;
            return;
        }
    }
}

static void job_free(struct pull_job *job)
{
    if (!job)
        return;
    auth_wipe(&job->auth);
    free(job->layers);
    free(job);
}

/* The job ends. Of bad content nothing stays; after a lost connection what came does. */
static void clean_up(struct pull_job *job, enum gi_code code)
{
    struct images *s = job->store;
    bool resumable = code == GI_UNAVAILABLE || code == GI_CANCELLED;
    {
        GI_LOCK_SCOPE(&s->lock);
        unlink_job(s, job);
        for (size_t i = 0; code != GI_OK && !resumable && i < job->n_layers; i++) {
            char partial[STORE_PATH];
            store_path(partial, STORE_PARTIAL, job->layers[i].digest);
            if (!pull_needs_layer(s, job->layers[i].digest))
                unlinkat(s->root_fd, partial, 0);
        }
    }
    if (code == GI_OK ? s->config.discard_layers : !resumable)
        store_sweep_blobs(s, 0);
}

static void *job_thread(void *data)
{
    struct pull_job *job = data;
    struct images *s = job->store;
    struct gi_error err = GI_ERROR_INIT;
    char text[REF_TEXT_SIZE];
    int64_t start = gi_monotonic_ns();
    image_ref_format(&job->ref, text);
    gi_log(GI_LOG_INFO, "pulling image", "image", text, NULL);
    int rc = pull_run(job, &err);
    char ms[32];
    snprintf(ms, sizeof(ms), "%lld", (long long)(gi_monotonic_ns() - start) / 1000000);
    if (rc < 0) {
        gi_prefix(&err, "pull \"%.250s\"", text);
        gi_log(GI_LOG_WARNING, "pull failed", "image", text, "code", gi_code_name(err.code),
               "reason", err.message, "ms", ms, NULL);
    } else {
        gi_log(GI_LOG_INFO, "image pulled", "image", text, "id", job->id, "ms", ms, NULL);
    }
    clean_up(job, rc == 0 ? GI_OK : err.code);
    GI_LOCK_SCOPE(&s->lock);
    job->rc = rc;
    job->err = err;
    job->done = true;
    pthread_cond_broadcast(&s->changed);
    return NULL;
}

static int start_thread(struct pull_job *job)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all); /* signals are the main thread's business */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&job->thread, NULL, job_thread, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* Lock held. The job for KEY that still runs, or a new one. */
static int join_job(struct images *s, const char *key, const struct image_ref *ref,
                    const struct images_auth *auth, struct pull_job **ret_job, struct gi_error *err)
{
    for (struct pull_job *j = s->jobs; j; j = j->next) {
        if (strcmp(j->key, key) == 0 && !atomic_load(&j->cancelled)) {
            j->waiters++;
            *ret_job = j;
            return 0;
        }
    }
    struct pull_job *job = calloc(1, sizeof(*job));
    if (!job || auth_copy(&job->auth, auth) < 0) {
        free(job);
        return gi_fail_errno(err, ENOMEM, "pull");
    }
    job->store = s;
    job->ref = *ref;
    job->waiters = 1;
    snprintf(job->key, sizeof(job->key), "%s", key);
    job->next = s->jobs;
    s->jobs = job;
    int rc = start_thread(job);
    if (rc) {
        unlink_job(s, job);
        job_free(job);
        return gi_fail_errno(err, rc, "start the pull's thread");
    }
    *ret_job = job;
    return 0;
}

static void log_progress(const struct pull_job *job, int64_t *last)
{
    int64_t now = gi_monotonic_ns();
    if (now - *last < PROGRESS_LOG_NS)
        return;
    *last = now;
    gi_logf(GI_LOG_INFO, "pulling %s/%s: %lld of %llu bytes, %u of %zu layers unpacked",
            job->ref.host, job->ref.path, (long long)atomic_load(&job->bytes_done),
            (unsigned long long)atomic_load(&job->bytes_total), atomic_load(&job->layers_done),
            job->n_layers);
}

int images_pull(struct images *s, const char *text, const struct images_auth *auth,
                bool (*cancelled)(void *data), void *data, char **ret_id, struct gi_error *err)
{
    struct image_ref ref;
    char key[sizeof(((struct pull_job *)0)->key)];
    struct pull_job *job = NULL;
    int rc = image_ref_parse(text, &ref, err);
    if (rc < 0)
        return rc;
    if (job_key(key, sizeof(key), &ref, auth) < 0)
        return gi_fail(err, GI_INTERNAL, "hashing failed");

    pthread_mutex_lock(&s->lock);
    rc = join_job(s, key, &ref, auth, &job, err);
    if (rc < 0) {
        pthread_mutex_unlock(&s->lock);
        return rc;
    }
    int64_t last_log = gi_monotonic_ns();
    while (!job->done && !(cancelled && cancelled(data))) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += POLL_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&s->changed, &s->lock, &until);
        log_progress(job, &last_log);
    }
    char *id = NULL;
    if (!job->done)
        rc = gi_fail(err, GI_CANCELLED, "pull \"%.250s\" was cancelled", text);
    else if (job->rc < 0)
        rc = err ? (*err = job->err, job->rc) : job->rc;
    else if (!(id = strdup(job->id)))
        rc = gi_fail_errno(err, ENOMEM, "pull");
    bool last = --job->waiters == 0;
    if (last)
        atomic_store(&job->cancelled, true);
    pthread_mutex_unlock(&s->lock);
    if (last) { /* nobody else can find the job any more once it is cancelled */
        pthread_join(job->thread, NULL);
        job_free(job);
    }
    if (rc == 0)
        *ret_id = id;
    return rc;
}

int images_pull_progress(struct images *s, const char *text, struct images_progress *ret_progress,
                         struct gi_error *err)
{
    struct image_ref ref;
    char full[REF_TEXT_SIZE];
    int rc = image_ref_parse(text, &ref, err);
    if (rc < 0)
        return rc;
    image_ref_format(&ref, full);
    size_t n = strlen(full);
    GI_LOCK_SCOPE(&s->lock);
    for (struct pull_job *j = s->jobs; j; j = j->next) {
        if (strncmp(j->key, full, n) != 0 || j->key[n] != ' ')
            continue;
        long long done = atomic_load(&j->bytes_done);
        ret_progress->bytes_done = done > 0 ? (uint64_t)done : 0;
        ret_progress->bytes_total = atomic_load(&j->bytes_total);
        ret_progress->layers_done = atomic_load(&j->layers_done);
        ret_progress->layers_total = (unsigned)j->n_layers;
        return 0;
    }
    return gi_fail(err, GI_NOT_FOUND, "no pull of \"%.250s\" is running", text);
}
