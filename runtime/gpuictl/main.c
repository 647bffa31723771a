/* SPDX-License-Identifier: Apache-2.0 */
/* gpuictl: a small client that speaks only CRI, so it works with any runtime. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ctl.h"

static const struct command *const commands[] = {
    &cmd_run,  &cmd_ps,      &cmd_logs,    &cmd_exec,   &cmd_stats,
    &cmd_stop, &cmd_update,  &cmd_rm,      &cmd_pull,   &cmd_images,
    &cmd_rmi,  &cmd_inspect, &cmd_console, &cmd_status, &cmd_version,
};

static void usage(FILE *out)
{
    fputs("usage: gpuictl [--endpoint unix:///PATH] [--json] [--timeout SECONDS] COMMAND ...\n\n"
          "Speaks the Kubernetes Container Runtime Interface, so it works with any runtime.\n\n"
          "Commands (each has --help):\n",
          out);
    for (size_t i = 0; i < GI_ARRAY_SIZE(commands); i++)
        fprintf(out, "  %-8s  %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nOptions:\n"
          "  --endpoint URL     the runtime's socket; default $CONTAINER_RUNTIME_ENDPOINT, else\n"
          "                     " CTL_DEFAULT_ENDPOINT "\n"
          "  --json             the runtime's answer as JSON instead of a table\n"
          "  --timeout SECONDS  of one call (default 120); pulls have none\n"
          "  --log-root DIR     where logs of pods made by `run` are kept, a folder a pod;\n"
          "                     default $GPUICTL_LOG_ROOT, else " CTL_LOG_ROOT "\n"
          "  --help, --version\n\n"
          "Exit codes: 0 success, 1 the runtime refused or failed, 2 bad command line,\n"
          "3 no runtime answers, 4 no such pod, container or image, 130 interrupted.\n"
          "run and exec return the program's exit code, or 125 when they failed themselves.\n",
          out);
}

static const char *env_or(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static int run_command(struct ctl *ctl, int argc, char **argv)
{
    char name[64];
    for (size_t i = 0; i < GI_ARRAY_SIZE(commands); i++) {
        if (strcmp(argv[0], commands[i]->name) != 0)
            continue;
        /* getopt's messages begin with argv[0]. */
        snprintf(name, sizeof(name), "gpuictl %s", argv[0]);
        argv[0] = name;
        optind = 0;
        return commands[i]->run(ctl, commands[i], argc, argv);
    }
    fprintf(stderr, "gpuictl: \"%s\" is no command; try: gpuictl --help\n", argv[0]);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    enum { OPT_ENDPOINT = 256, OPT_JSON, OPT_TIMEOUT, OPT_LOG_ROOT, OPT_VERSION };
    static const struct option options[] = {
        {"endpoint", required_argument, NULL, OPT_ENDPOINT},
        {"json", no_argument, NULL, OPT_JSON},
        {"timeout", required_argument, NULL, OPT_TIMEOUT},
        {"log-root", required_argument, NULL, OPT_LOG_ROOT},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct ctl ctl = {
        .endpoint = env_or("CONTAINER_RUNTIME_ENDPOINT", CTL_DEFAULT_ENDPOINT),
        .log_root = env_or("GPUICTL_LOG_ROOT", CTL_LOG_ROOT),
        .timeout_ms = 120000,
    };
    int opt;

    argv[0] = (char *)"gpuictl";
    while ((opt = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        char *end = NULL;
        long seconds;
        switch (opt) {
        case OPT_ENDPOINT:
            ctl.endpoint = optarg;
            break;
        case OPT_JSON:
            ctl.json = true;
            break;
        case OPT_TIMEOUT:
            seconds = strtol(optarg, &end, 10);
            if (*end || end == optarg || seconds < 1 || seconds > 86400) {
                fprintf(stderr, "gpuictl: --timeout: \"%s\" is not 1 to 86400 seconds\n", optarg);
                return EXIT_USAGE;
            }
            ctl.timeout_ms = (int)seconds * 1000;
            break;
        case OPT_LOG_ROOT:
            ctl.log_root = optarg;
            break;
        case OPT_VERSION:
            printf("gpuictl %s\n", GI_VERSION);
            return EXIT_OK;
        case 'h':
            usage(stdout);
            return EXIT_OK;
        default:
            fprintf(stderr, "try: gpuictl --help\n");
            return EXIT_USAGE;
        }
    }
    if (optind >= argc) {
        usage(stderr);
        return EXIT_USAGE;
    }
    ctl_interrupt_init();
    int rc = run_command(&ctl, argc - optind, argv + optind);
    gi_cri_client_free(ctl.client);
    if (fflush(stdout) != 0 && rc == EXIT_OK)
        rc = EXIT_FAILED;
    return rc;
}
