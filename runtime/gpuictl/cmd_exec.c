/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "ctl.h"
#include "lookup.h"

static int fail(struct ctl *ctl, const struct gi_error *err, const char *what)
{
    return ctl_report(ctl, err, what) == EXIT_INTERRUPTED ? EXIT_INTERRUPTED : EXIT_OWN;
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {{"timeout", required_argument, NULL, 't'},
                                            CTL_COMMON_OPTIONS};
    long timeout = 0;
    int opt;
    while ((opt = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        char *end = NULL;
        if (opt != 't')
            return ctl_option(self, opt);
        timeout = strtol(optarg, &end, 10);
        if (*end || end == optarg || timeout < 1 || timeout > 86400)
            return ctl_usage_error(self, "--timeout: \"%s\" is not 1 to 86400 seconds", optarg);
    }
    if (argc - optind < 1)
        return ctl_usage_error(self, "in which container?");
    const char *name = argv[optind++];
    if (optind < argc && argv[optind][0] == '-' && argv[optind][1] == '-' && !argv[optind][2])
        optind++;
    if (optind == argc)
        return ctl_usage_error(self, "which command?");

    struct gi_error err = GI_ERROR_INIT;
    cleanup_lookup struct lookup found = {0};
    cleanup_message Runtime__V1__ExecSyncResponse *r = NULL;
    Runtime__V1__ExecSyncRequest request = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    if (lookup_container(ctl, name, &found, &err) < 0)
        return fail(ctl, &err, NULL);
    request.container_id = found.id;
    request.cmd = argv + optind;
    request.n_cmd = (size_t)(argc - optind);
    request.timeout = timeout;
    /* The runtime keeps the time; ours only covers its death. */
    int rpc_ms = timeout ? (int)timeout * 1000 + 10000 : 0;
    if (ctl_call(ctl, "ExecSync", &request.base, rpc_ms, &r, &err) < 0)
        return fail(ctl, &err, name);
    if (ctl->json) {
        int rc = ctl_print_json(&r->base);
        return rc == EXIT_OK ? r->exit_code & 0xff : EXIT_OWN;
    }
    if (gi_write_full(STDOUT_FILENO, r->stdout.data, r->stdout.len) < 0 ||
        gi_write_full(STDERR_FILENO, r->stderr.data, r->stderr.len) < 0)
        return EXIT_OWN;
    return r->exit_code & 0xff;
}

const struct command cmd_exec = {
    .name = "exec",
    .summary = "run a command in a container",
    .usage =
        "usage: gpuictl exec [--timeout SECONDS] CONTAINER [--] COMMAND [ARG...]\n\n"
        "Runs COMMAND to its end and prints its output (which the runtime bounds); returns its\n"
        "exit code, or 125 when it could not be run.\n\n"
        "  --timeout SECONDS   kill it after that time\n",
    .run = run,
};
