/* SPDX-License-Identifier: Apache-2.0 */
/* gpu-isolated-runtime: options, start, signals, end. */
#include <getopt.h>
#include <grp.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/notify.h"
#include "config/config.h"
#include "core/runtime.h"
#include "rpc/rpc.h"

#define STOP_GRACE_MS 5000
#define MAX_QUEUED    1024

struct options {
    const char *config;
    bool config_given;
    bool print_config;
    bool print_doc;
    const char *log_level;
};

static void print_help(void)
{
    printf("Usage: gpu-isolated-runtime [OPTION]...\n"
           "A CRI runtime whose pods are isolated zones; see gpu-isolated-runtime(8).\n"
           "\n"
           "  -c, --config FILE      configuration, with drop-ins in config.d beside it\n"
           "                         (default " CONFIG_DEFAULT_PATH ", if it exists)\n"
           "      --log-level LEVEL  error, warning, info or debug, over the configuration's\n"
           "      --print-config     print what is in force, with explanations, and exit\n"
           "      --print-config-doc print all keys as a table, and exit\n"
           "  -h, --help             print this and exit\n"
           "      --version          print the version and exit\n");
}

enum { OPT_PRINT = 256, OPT_DOC, OPT_VERSION, OPT_LOG };

/* 0: go on; 1: done; 2: wrong usage. */
static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option all[] = {
        {"config", required_argument, NULL, 'c'},
        {"log-level", required_argument, NULL, OPT_LOG},
        {"print-config", no_argument, NULL, OPT_PRINT},
        {"print-config-doc", no_argument, NULL, OPT_DOC},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, OPT_VERSION},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "c:h", all, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->config = optarg;
            o->config_given = true;
            break;
        case OPT_LOG:
            o->log_level = optarg;
            break;
        case OPT_PRINT:
            o->print_config = true;
            break;
        case OPT_DOC:
            o->print_doc = true;
            break;
        case 'h':
            print_help();
            return 1;
        case OPT_VERSION:
            printf("gpu-isolated-runtime %s\n", GI_VERSION);
            return 1;
        default:
            fprintf(stderr, "Try --help.\n");
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "gpu-isolated-runtime: unexpected argument \"%s\"\n", argv[optind]);
        return 2;
    }
    return 0;
}

static int print(const struct options *o, const struct config *config)
{
    cleanup_buf struct gi_buf b = GI_BUF_INIT(1 << 20);
    int rc = o->print_doc ? config_print_doc(&b) : config_print(config, true, &b);
    if (rc < 0 || fwrite(b.data, 1, b.len, stdout) != b.len || fflush(stdout) != 0) {
        fprintf(stderr, "gpu-isolated-runtime: can't print\n");
        return 1;
    }
    return 0;
}

static int find_group(const char *name, int *ret_gid, struct gi_error *err)
{
    *ret_gid = -1;
    if (!*name)
        return 0;
    const struct group *g = getgrnam(name);
    if (!g)
        return gi_fail(err, GI_INVALID_ARGUMENT, "socket_group: there is no group \"%s\"", name);
    *ret_gid = (int)g->gr_gid;
    return 0;
}

/* Every pod holds some descriptors: as many as we may have. */
static void raise_limits(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
    /* Many short-lived threads: their arenas would be kept for ever. */
    mallopt(M_ARENA_MAX, 4);
}

static void await_signal(const sigset_t *signals)
{
    int sig = 0;
    while (sigwait(signals, &sig) != 0)
        ;
    gi_log(GI_LOG_INFO, "stopping; pods run on", "signal", sigabbrev_np(sig), NULL);
}

static int serve(const struct config *config, const sigset_t *signals, struct gi_error *err)
{
    struct runtime *rt = NULL;
    struct rpc_server *server = NULL;
    struct rpc_config rc = {
        .socket = config->socket,
        .mode = (unsigned)config->socket_mode,
        .max_message = (unsigned)config->max_message_bytes,
        .max_calls = (unsigned)config->max_calls,
        .max_queued = MAX_QUEUED,
    };
    int r = find_group(config->socket_group, &rc.gid, err);
    if (r == 0)
        r = runtime_open(config, &rt, err);
    if (r < 0)
        return r;
    r = rpc_server_start(&rc, runtime_methods, runtime_n_methods, rt, &server, err);
    if (r == 0) {
        gi_log(GI_LOG_INFO, "serving", "socket", config->socket, "version", GI_VERSION, NULL);
        gi_notify("READY=1\nSTATUS=serving");
        await_signal(signals);
        gi_notify("STOPPING=1");
        if (!rpc_server_stop(server, STOP_GRACE_MS)) {
            /* A handler hangs: nothing may be freed under it. All that matters is on disk. */
            gi_log(GI_LOG_WARNING, "calls under way are left to the next start", NULL);
            _exit(0);
        }
    }
    runtime_close(rt);
    return r;
}

int main(int argc, char **argv)
{
    struct options o = {.config = CONFIG_DEFAULT_PATH};
    struct gi_error err = GI_ERROR_INIT;
    struct config *config = NULL;
    enum gi_log_level level = GI_LOG_INFO;
#ifdef GI_FAILPOINTS
    if (argc == 2 && strcmp(argv[1], "--list-failpoints") == 0)
        return gi_failpoint_list();
#endif
    int rc = parse_options(argc, argv, &o);
    if (rc != 0)
        return rc == 1 ? 0 : 2;
    rc = config_load(o.config, o.config_given, &config, &err);
    if (rc == 0 && gi_log_parse_level(o.log_level ? o.log_level : config->log_level, &level) < 0)
        rc = gi_fail(&err, GI_INVALID_ARGUMENT, "--log-level: unknown level \"%s\"", o.log_level);
    if (rc < 0) {
        fprintf(stderr, "gpu-isolated-runtime: %s\n", err.message);
        return 2;
    }
    if (o.print_config || o.print_doc) {
        rc = print(&o, config);
        config_free(config);
        return rc;
    }
    gi_log_init("gpu-isolated-runtime", level);
    /* Before any thread: all of them inherit it, and sigwait() gets the signals. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    umask(0022);
    raise_limits();
    rc = serve(config, &signals, &err);
    config_free(config);
    if (rc < 0) {
        gi_log(GI_LOG_ERROR, "can't start", "reason", err.message, NULL);
        return 1;
    }
    return 0;
}
