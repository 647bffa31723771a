/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRI's PullImage is one call without progress. What a client can see meanwhile
 * is the clock and how the image store grows (ImageFsInfo); that is shown.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "pull.h"
#include "table.h"

/* Draws while the main thread is inside PullImage. */
struct meter {
    struct ctl *ctl;
    const char *image;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
    bool tty;
    int64_t begin_ns;
    uint64_t used_before;
};

static uint64_t store_bytes(struct ctl *ctl)
{
    Runtime__V1__ImageFsInfoRequest request = RUNTIME__V1__IMAGE_FS_INFO_REQUEST__INIT;
    cleanup_message Runtime__V1__ImageFsInfoResponse *r = NULL;
    struct gi_error err = GI_ERROR_INIT;
    uint64_t sum = 0;
    if (ctl_call(ctl, "ImageFsInfo", &request.base, 2000, &r, &err) < 0)
        return 0;
    for (size_t i = 0; i < r->n_image_filesystems; i++)
        if (r->image_filesystems[i]->used_bytes)
            sum += r->image_filesystems[i]->used_bytes->value;
    return sum;
}

static void draw(const struct meter *m, unsigned tick)
{
    static const char *const spinner[] = {"|", "/", "-", "\\"};
    char grown[CELL];
    double seconds = (double)(gi_monotonic_ns() - m->begin_ns) / 1e9;
    uint64_t now = store_bytes(m->ctl);
    cell_bytes(grown, now > m->used_before ? now - m->used_before : 0);
    if (m->tty)
        fprintf(stderr, "\r\033[K%s pulling %s  %.1f s  %s stored", spinner[tick % 4], m->image,
                seconds, grown);
    else if (tick > 0 && tick % 50 == 0)
        fprintf(stderr, "pulling %s: %.0f s, %s stored\n", m->image, seconds, grown);
}

static void *draw_until_done(void *arg)
{
    struct meter *m = arg;
    GI_LOCK_SCOPE(&m->mutex);
    for (unsigned tick = 0; !m->done; tick++) {
        pthread_mutex_unlock(&m->mutex);
        if (m->tty || tick % 50 == 0)
            draw(m, tick);
        pthread_mutex_lock(&m->mutex);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 200 * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        if (!m->done)
            pthread_cond_timedwait(&m->cond, &m->mutex, &until);
    }
    return NULL;
}

static bool meter_start(struct meter *m)
{
    pthread_mutex_init(&m->mutex, NULL);
    pthread_cond_init(&m->cond, NULL);
    m->tty = isatty(STDERR_FILENO);
    m->begin_ns = gi_monotonic_ns();
    m->used_before = store_bytes(m->ctl);
    if (!m->tty)
        fprintf(stderr, "pulling %s\n", m->image);
    return pthread_create(&m->thread, NULL, draw_until_done, m) == 0;
}

static void meter_stop(struct meter *m)
{
    pthread_mutex_lock(&m->mutex);
    m->done = true;
    pthread_cond_signal(&m->cond);
    pthread_mutex_unlock(&m->mutex);
    pthread_join(m->thread, NULL);
    if (m->tty)
        fprintf(stderr, "\r\033[K");
}

static int image_status(struct ctl *ctl, const char *image, Runtime__V1__ImageStatusResponse **ret,
                        struct gi_error *err)
{
    Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__ImageStatusRequest request = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
    spec.image = (char *)image;
    request.image = &spec;
    return ctl_call(ctl, "ImageStatus", &request.base, -1, ret, err);
}

int pull_have_image(struct ctl *ctl, const char *image, struct gi_error *err)
{
    cleanup_message Runtime__V1__ImageStatusResponse *r = NULL;
    int rc = image_status(ctl, image, &r, err);
    return rc < 0 ? rc : r->image != NULL;
}

static void say_done(struct ctl *ctl, const char *image, int64_t begin_ns)
{
    cleanup_message Runtime__V1__ImageStatusResponse *r = NULL;
    char id[CELL] = "?", size[CELL] = "?";
    double seconds = (double)(gi_monotonic_ns() - begin_ns) / 1e9;
    if (image_status(ctl, image, &r, NULL) == 0 && r->image) {
        cell_id(id, r->image->id);
        cell_bytes(size, r->image->size);
    }
    fprintf(stderr, "pulled %s: %s, %s in %.1f s\n", image, id, size, seconds);
}

int pull_image(struct ctl *ctl, const char *image, const Runtime__V1__AuthConfig *auth,
               const Runtime__V1__PodSandboxConfig *sandbox, bool quiet, char **ret_ref,
               struct gi_error *err)
{
    Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__PullImageRequest request = RUNTIME__V1__PULL_IMAGE_REQUEST__INIT;
    cleanup_message Runtime__V1__PullImageResponse *r = NULL;
    struct meter meter = {.ctl = ctl, .image = image};

    spec.image = (char *)image;
    request.image = &spec;
    request.auth = (Runtime__V1__AuthConfig *)auth;
    request.sandbox_config = (Runtime__V1__PodSandboxConfig *)sandbox;
    /* The meter's first call connects, so the threads share one client. */
    bool metered = !quiet && meter_start(&meter);
    int64_t begin_ns = gi_monotonic_ns();
    int rc = ctl_call(ctl, "PullImage", &request.base, 0, &r, err);
    if (metered)
        meter_stop(&meter);
    if (rc < 0)
        return rc;
    if (!quiet)
        say_done(ctl, image, begin_ns);
    if (ret_ref) {
        *ret_ref = strdup(r->image_ref);
        if (!*ret_ref)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    }
    return 0;
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {
        {"quiet", no_argument, NULL, 'q'},
        {"creds", required_argument, NULL, 'c'},
        CTL_COMMON_OPTIONS,
    };
    Runtime__V1__AuthConfig auth = RUNTIME__V1__AUTH_CONFIG__INIT;
    bool quiet = false, have_auth = false;
    int opt;
    while ((opt = getopt_long(argc, argv, "hqc:", options, NULL)) != -1) {
        if (opt == 'q') {
            quiet = true;
        } else if (opt == 'c') {
            char *colon = strchr(optarg, ':');
            if (!colon)
                return ctl_usage_error(self, "--creds needs USER:PASSWORD");
            *colon = '\0';
            auth.username = optarg;
            auth.password = colon + 1;
            have_auth = true;
        } else {
            return ctl_option(self, opt);
        }
    }
    if (argc - optind != 1)
        return ctl_usage_error(self, "which image?");

    struct gi_error err = GI_ERROR_INIT;
    cleanup_free char *ref = NULL;
    if (pull_image(ctl, argv[optind], have_auth ? &auth : NULL, NULL, quiet, &ref, &err) < 0)
        return ctl_report(ctl, &err, argv[optind]);
    if (ctl->json) {
        Runtime__V1__PullImageResponse r = RUNTIME__V1__PULL_IMAGE_RESPONSE__INIT;
        r.image_ref = ref;
        return ctl_print_json(&r.base);
    }
    printf("%s\n", ref);
    return EXIT_OK;
}

const struct command cmd_pull = {
    .name = "pull",
    .summary = "pull an image",
    .usage =
        "usage: gpuictl pull [-q] [--creds USER:PASSWORD] IMAGE\n\n"
        "Pulls IMAGE from its registry and prints what the runtime calls it. CRI reports no\n"
        "progress; the line on stderr shows the time and how much the image store has grown.\n\n"
        "  -q, --quiet             no progress\n"
        "  -c, --creds USER:PASS   for the registry (visible in the process list)\n",
    .run = run,
};
