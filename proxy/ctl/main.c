/* SPDX-License-Identifier: Apache-2.0 */
/* gpuctl: the operator's view of gpu-proxy, through its control socket. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "view.h"

#define OUTPUT_MAX      (64u << 20)
#define DEFAULT_CONTROL "/run/gpu-isolated/gpu-proxy.sock"
#define MAX_INTERVAL    3600.0

GI_DEFINE_CLEANUP(struct control_client *, control_client_free);

struct arguments {
    const char *control;
    bool json;
    double interval;
    unsigned long count; /* of looks; 0: until it is interrupted */
    const char *command;
    char *const *zones;
    int n_zones;
};

static const char usage[] =
    "gpuctl shows who uses the GPU that gpu-proxy lends.\n\n"
    "  gpuctl [options] zones             a line for each zone\n"
    "  gpuctl [options] show [ZONE...]    all about zones and their clients\n"
    "  gpuctl [options] top [ZONE...]     what they do, live\n\n"
    "A ZONE is its number or its label (NAMESPACE/POD).\n\n"
    "  --control SOCKET    gpu-proxy's control socket [" DEFAULT_CONTROL "]\n"
    "  --json              for programs: everything there is, also with top\n"
    "  --interval SECONDS  top: between looks [1]\n"
    "  --count N           top: so many looks [no limit]\n"
    "  --help, --version\n";

static int parse_interval(const char *text, double *ret, struct gi_error *err)
{
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end || !(seconds >= 0.1 && seconds <= MAX_INTERVAL))
        return gi_fail(err, GI_INVALID_ARGUMENT, "--interval: \"%.40s\" is not 0.1 to %.0f seconds",
                       text, MAX_INTERVAL);
    *ret = seconds;
    return 0;
}

static int parse_count(const char *text, unsigned long *ret, struct gi_error *err)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end || *text == '-' || errno || n == 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "--count: \"%.40s\" is no number above 0", text);
    *ret = n;
    return 0;
}

enum { OPT_CONTROL = 1000, OPT_JSON, OPT_INTERVAL, OPT_COUNT, OPT_HELP, OPT_VERSION };

/* 1: it was answered already. */
static int parse(int argc, char **argv, struct arguments *a, struct gi_error *err)
{
    static const struct option options[] = {
        {"control", required_argument, NULL, OPT_CONTROL},
        {"json", no_argument, NULL, OPT_JSON},
        {"interval", required_argument, NULL, OPT_INTERVAL},
        {"count", required_argument, NULL, OPT_COUNT},
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {NULL, 0, NULL, 0},
    };
    int rc = 0, option;
    opterr = 0;
    while (rc == 0 && (option = getopt_long(argc, argv, ":", options, NULL)) >= 0) {
        switch (option) {
        case OPT_CONTROL:
            a->control = optarg;
            break;
        case OPT_JSON:
            a->json = true;
            break;
        case OPT_INTERVAL:
            rc = parse_interval(optarg, &a->interval, err);
            break;
        case OPT_COUNT:
            rc = parse_count(optarg, &a->count, err);
            break;
        case OPT_HELP:
            printf("%s", usage);
            return 1;
        case OPT_VERSION:
            printf("gpuctl %s\n", GI_VERSION);
            return 1;
        case ':':
            rc = gi_fail(err, GI_INVALID_ARGUMENT, "%.100s needs a value", argv[optind - 1]);
            break;
        default:
            rc = gi_fail(err, GI_INVALID_ARGUMENT, "unknown option %.100s", argv[optind - 1]);
        }
    }
    if (rc < 0)
        return rc;
    if (optind == argc)
        return gi_fail(err, GI_INVALID_ARGUMENT, "a command is missing: zones, show or top");
    a->command = argv[optind++];
    a->zones = argv + optind;
    a->n_zones = argc - optind;
    bool zones = strcmp(a->command, "zones") == 0;
    if (!zones && strcmp(a->command, "show") != 0 && strcmp(a->command, "top") != 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "unknown command \"%.100s\": zones, show or top",
                       a->command);
    if (zones && a->n_zones)
        return gi_fail(err, GI_INVALID_ARGUMENT, "unexpected argument \"%.100s\"", a->zones[0]);
    return 0;
}

static int put(const struct gi_buf *b, struct gi_error *err)
{
    fwrite(b->data, 1, b->len, stdout);
    return fflush(stdout) == 0 ? 0 : gi_fail_errno(err, errno, "write");
}

static int once(struct control_client *c, const struct arguments *a, struct gi_error *err)
{
    __attribute__((cleanup(view_free))) struct view v = VIEW_NONE;
    int rc = view_fetch(c, a->zones, a->n_zones, &v, err);
    if (rc < 0)
        return rc;
    cleanup_buf struct gi_buf out = GI_BUF_INIT(OUTPUT_MAX);
    if (a->json)
        view_json(&out, &v);
    else if (strcmp(a->command, "zones") == 0)
        view_list(&out, &v);
    else
        view_show(&out, &v);
    return put(&out, err);
}

static void pause_for(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds,
                         .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

static int live(struct control_client *c, const struct arguments *a, struct gi_error *err)
{
    __attribute__((cleanup(view_free))) struct view before = VIEW_NONE;
    bool terminal = isatty(STDOUT_FILENO);
    int rc = view_fetch(c, a->zones, a->n_zones, &before, err);
    for (unsigned long i = 0; rc == 0 && (!a->count || i < a->count); i++) {
        struct view now = VIEW_NONE;
        pause_for(a->interval);
        rc = view_fetch(c, a->zones, a->n_zones, &now, err);
        if (rc < 0)
            break;
        cleanup_buf struct gi_buf out = GI_BUF_INIT(OUTPUT_MAX);
        if (a->json) {
            view_json(&out, &now);
        } else {
            gi_buf_printf(&out, terminal ? "\033[H\033[J" : i ? "\n" : "");
            view_top(&out, &before, &now);
        }
        rc = put(&out, err);
        view_free(&before);
        before = now;
    }
    return rc;
}

int main(int argc, char **argv)
{
    struct gi_error err = GI_ERROR_INIT;
    struct arguments a = {.control = DEFAULT_CONTROL, .interval = 1};
    int rc = parse(argc, argv, &a, &err);
    if (rc > 0)
        return 0;
    if (rc < 0) {
        fprintf(stderr, "gpuctl: %s\n", err.message);
        return 2;
    }
    __attribute__((cleanup(control_client_freep))) struct control_client *c = NULL;
    rc = control_client_new(a.control, &c, &err);
    if (rc == 0)
        rc = strcmp(a.command, "top") == 0 ? live(c, &a, &err) : once(c, &a, &err);
    if (rc < 0)
        fprintf(stderr, "gpuctl: %s\n", err.message);
    return rc < 0 ? 1 : 0;
}
