/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "ctl.h"
#include "logfile.h"
#include "lookup.h"

static int status(struct ctl *ctl, char *id, Runtime__V1__ContainerStatusResponse **ret,
                  struct gi_error *err)
{
    Runtime__V1__ContainerStatusRequest request = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;
    request.container_id = id;
    int rc = ctl_call(ctl, "ContainerStatus", &request.base, -1, ret, err);
    if (rc == 0 && !(*ret)->status)
        return gi_fail(err, GI_INTERNAL, "the runtime sent no status");
    return rc;
}

static bool ended(struct ctl *ctl, char *id)
{
    cleanup_message Runtime__V1__ContainerStatusResponse *r = NULL;
    return status(ctl, id, &r, NULL) < 0 ||
           r->status->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
}

static int show(struct ctl *ctl, char *id, struct log_reader *log, bool follow,
                struct gi_error *err)
{
    /* Asked before reading: what was written until then is read after. */
    bool over = !follow;
    for (;;) {
        bool any = false;
        int rc = log_read(log, &any, err);
        if (rc < 0 || over)
            return rc;
        if (!any && ctl_sleep_ms(100))
            return gi_fail(err, GI_CANCELLED, "interrupted");
        over = !any && ended(ctl, id);
    }
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {
        {"follow", no_argument, NULL, 'f'},
        {"tail", required_argument, NULL, 't'},
        {"timestamps", no_argument, NULL, 'T'},
        CTL_COMMON_OPTIONS,
    };
    bool follow = false, timestamps = false, tail = false;
    unsigned long lines = 0;
    int opt;
    while ((opt = getopt_long(argc, argv, "hf", options, NULL)) != -1) {
        char *end = NULL;
        switch (opt) {
        case 'f':
            follow = true;
            break;
        case 'T':
            timestamps = true;
            break;
        case 't':
            tail = true;
            lines = strtoul(optarg, &end, 10);
            if (*end || end == optarg || *optarg == '-')
                return ctl_usage_error(self, "--tail: \"%s\" is no number", optarg);
            break;
        default:
            return ctl_option(self, opt);
        }
    }
    if (argc - optind != 1)
        return ctl_usage_error(self, "which container?");

    struct gi_error err = GI_ERROR_INIT;
    cleanup_lookup struct lookup found = {0};
    cleanup_message Runtime__V1__ContainerStatusResponse *r = NULL;
    cleanup_log struct log_reader log = {.fd = -1};
    if (lookup_container(ctl, argv[optind], &found, &err) < 0 ||
        status(ctl, found.id, &r, &err) < 0)
        return ctl_report(ctl, &err, NULL);
    if (!*r->status->log_path) {
        gi_fail(&err, GI_FAILED_PRECONDITION, "the container has no log file");
        return ctl_report(ctl, &err, argv[optind]);
    }
    if (log_open(&log, r->status->log_path, timestamps, &err) < 0 ||
        (tail && log_seek_tail(&log, lines, &err) < 0) ||
        show(ctl, found.id, &log, follow, &err) < 0)
        return ctl_report(ctl, &err, argv[optind]);
    return EXIT_OK;
}

const struct command cmd_logs = {
    .name = "logs",
    .summary = "what a container wrote",
    .usage =
        "usage: gpuictl logs [-f] [--tail N] [--timestamps] CONTAINER\n\n"
        "Prints the container's log, standard error to standard error. CONTAINER is an id, its\n"
        "beginning, a name, or a pod with one container. Reads the log file on this host.\n\n"
        "  -f, --follow   goes on until the container ends\n"
        "  --tail N       begin with the last N lines\n"
        "  --timestamps   the time before each line\n",
    .run = run,
};
