/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "base/cleanup.h"

enum option_kind { TEXT, SIZE, NUMBER, UID, LEVEL };

/* What a context of NVIDIA's driver may take; the device node that says it is theirs. */
#define NVIDIA_CONTEXT (512ull << 20)
#define NVIDIA_CONTROL "/dev/nvidiactl"
#define UNSET          UINT64_MAX

#define AT(member)     offsetof(struct proxy_options, member)

/* One line per option: parsing and --help both come from here. */
static const struct option_row {
    const char *name;
    enum option_kind kind;
    size_t at;
    uint64_t max;
    const char *argument;
    const char *help;
} rows[] = {
    {"driver", TEXT, AT(driver), 0, "PATH", "the libcuda to use: libcuda.so.1 or libcuda-sim.so"},
    {"control", TEXT, AT(control), 0, "SOCKET", "control socket (made with mode 0660)"},
    {"zones-dir", TEXT, AT(zones_dir), 0, "DIR", "folder of the zones' sockets, DIR/<zone>.sock"},
    {"default-memory", SIZE, AT(defaults.memory_bytes), UINT64_MAX, "BYTES",
     "device memory of a zone that names no quota (Ki, Mi, Gi)"},
    {"default-clients", NUMBER, AT(defaults.max_clients), CONTROL_MAX_CLIENTS, "N",
     "clients of a zone that names no limit"},
    {"default-handles", NUMBER, AT(defaults.max_handles), 1u << 24, "N",
     "objects of one client in a zone that names no limit"},
    {"default-channel-bytes", SIZE, AT(defaults.max_channel_bytes), UINT64_MAX, "BYTES",
     "ring and arena of all clients of a zone that names no limit"},
    {"default-weight", NUMBER, AT(defaults.compute_weight), CONTROL_MAX_WEIGHT, "N",
     "part of GPU time of a zone that names none, beside others'"},
    {"default-cap", NUMBER, AT(defaults.compute_cap), 100, "PERCENT",
     "the most GPU time of a zone that names no cap"},
    {"max-clients", NUMBER, AT(max_clients), 16384, "N", "clients over all zones"},
    {"worker-memory", SIZE, AT(worker_memory), UINT64_MAX, "BYTES",
     "host memory of a worker beyond its zone's device memory"},
    {"context-memory", SIZE, AT(context_memory), UINT64_MAX, "BYTES",
     "device memory a CUDA context takes, charged to its zone; 512Mi with NVIDIA's driver"},
    {"worker-uid", UID, AT(worker_uid), UINT32_MAX - 1, "UID",
     "user of the workers when started by root"},
    {"worker-gid", UID, AT(worker_gid), UINT32_MAX - 1, "GID", "their group"},
    {"agent-uid", UID, AT(agent_uid), UINT32_MAX - 1, "UID",
     "may connect to zones' sockets, besides root and gpu-proxy's own user"},
    {"handover-timeout", NUMBER, AT(handover_timeout_ms), INT_MAX, "MS",
     "how long a connection may wait before it hands its channel over"},
    {"start-timeout", NUMBER, AT(start_timeout_ms), INT_MAX, "MS",
     "how long a worker may take to load the driver"},
    {"log-level", LEVEL, AT(log_level), 0, "LEVEL", "error, warning, info or debug"},
};

#define N_ROWS GI_ARRAY_SIZE(rows)

enum { OPT_HELP = 1000, OPT_VERSION };

static const struct proxy_options defaults = {
    .mode = PROXY_BROKER,
    .control = "/run/gpu-isolated/gpu-proxy.sock",
    .zones_dir = "/run/gpu-isolated/zones",
    .defaults = {.memory_bytes = 1ull << 30,
                 .max_clients = 16,
                 .max_handles = 65536,
                 .max_channel_bytes = 1ull << 30,
                 .compute_weight = 100,
                 .compute_cap = 100},
    .max_clients = 256,
    .worker_memory = 4ull << 30,
    .context_memory = UNSET,
    .worker_uid = 65534,
    .worker_gid = 65534,
    .handover_timeout_ms = 5000,
    .start_timeout_ms = 60000,
    .log_level = GI_LOG_INFO,
};

int proxy_parse_size(const char *text, uint64_t *ret_bytes, struct gi_error *err)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } units[] = {{"", 0}, {"Ki", 10}, {"Mi", 20}, {"Gi", 30}, {"Ti", 40}};
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (end == text || *text == '-' || errno)
        return gi_fail(err, GI_INVALID_ARGUMENT, "\"%.40s\" is no size", text);
    for (size_t i = 0; i < GI_ARRAY_SIZE(units); i++) {
        if (strcmp(end, units[i].suffix) != 0)
            continue;
        if (n > UINT64_MAX >> units[i].shift)
            return gi_fail(err, GI_INVALID_ARGUMENT, "\"%.40s\" is too large", text);
        *ret_bytes = (uint64_t)n << units[i].shift;
        return 0;
    }
    return gi_fail(err, GI_INVALID_ARGUMENT, "\"%.40s\" has an unknown unit (Ki, Mi, Gi, Ti)",
                   text);
}

static int set_row(struct proxy_options *o, const struct option_row *row, const char *arg,
                   struct gi_error *err)
{
    void *at = (char *)o + row->at;
    uint64_t n = 0;
    int rc = 0;
    switch (row->kind) {
    case TEXT:
        if (!*arg)
            return gi_fail(err, GI_INVALID_ARGUMENT, "--%s is empty", row->name);
        *(const char **)at = arg;
        return 0;
    case LEVEL:
        if (gi_log_parse_level(arg, at) < 0)
            return gi_fail(err, GI_INVALID_ARGUMENT, "--%s: \"%.40s\" is no level", row->name, arg);
        return 0;
    case SIZE:
    case NUMBER:
    case UID:
        rc = proxy_parse_size(arg, &n, err);
        break;
    }
    if (rc < 0)
        return gi_prefix(err, "--%s", row->name);
    if (n > row->max || (n == 0 && row->kind != UID))
        return gi_fail(err, GI_INVALID_ARGUMENT, "--%s: %s is out of range", row->name, arg);
    if (row->kind == SIZE)
        *(uint64_t *)at = n;
    else
        *(uint32_t *)at = (uint32_t)n;
    if (at == &o->agent_uid)
        o->have_agent_uid = true;
    return 0;
}

static int check(const struct proxy_options *o, struct gi_error *err)
{
    if (o->mode == PROXY_BROKER && !o->driver)
        return gi_fail(err, GI_INVALID_ARGUMENT, "--driver is missing (see --help)");
    if (strlen(o->control) > CONTROL_PATH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "--control: path longer than %u bytes",
                       CONTROL_PATH_MAX);
    /* "/4294967295.sock" */
    if (strlen(o->zones_dir) + 16 > CONTROL_PATH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "--zones-dir: path longer than %u bytes",
                       CONTROL_PATH_MAX - 16);
    if (o->worker_uid == 0 || o->worker_gid == 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "workers never run as root");
    return 0;
}

int proxy_options_parse(int argc, char **argv, struct proxy_options *ret_options,
                        struct gi_error *err)
{
    _Static_assert(sizeof(uid_t) == 4 && sizeof(gid_t) == 4 && sizeof(int) == 4, "UID, NUMBER");
    struct proxy_options o = defaults;
    struct option longs[N_ROWS + 3] = {0};
    for (size_t i = 0; i < N_ROWS; i++)
        longs[i] = (struct option){rows[i].name, required_argument, NULL, (int)i};
    longs[N_ROWS] = (struct option){"help", no_argument, NULL, OPT_HELP};
    longs[N_ROWS + 1] = (struct option){"version", no_argument, NULL, OPT_VERSION};
    optind = 1;
    opterr = 0;
    for (;;) {
        int got = getopt_long(argc, argv, ":h", longs, NULL);
        if (got == -1)
            break;
        int rc = 0;
        if (got == OPT_HELP || got == 'h')
            o.mode = PROXY_HELP;
        else if (got == OPT_VERSION)
            o.mode = PROXY_VERSION;
        else if (got == ':')
            rc = gi_fail(err, GI_INVALID_ARGUMENT, "%s needs a value", argv[optind - 1]);
        else if (got == '?')
            rc = gi_fail(err, GI_INVALID_ARGUMENT, "unknown option %.100s (see --help)",
                         argv[optind - 1]);
        else
            rc = set_row(&o, &rows[got], optarg, err);
        if (rc < 0)
            return rc;
        if (o.mode == PROXY_HELP || o.mode == PROXY_VERSION) {
            *ret_options = o;
            return 0;
        }
    }
    if (o.context_memory == UNSET)
        o.context_memory = access(NVIDIA_CONTROL, F_OK) == 0 ? NVIDIA_CONTEXT : 0;
    if (optind < argc)
        return gi_fail(err, GI_INVALID_ARGUMENT, "unexpected argument \"%.100s\"", argv[optind]);
    int rc = check(&o, err);
    if (rc == 0)
        *ret_options = o;
    return rc;
}

void proxy_options_help(void)
{
    printf("gpu-proxy owns the GPU and lends it to isolated zones, one process per client.\n\n"
           "  gpu-proxy --driver PATH [--control SOCKET] [--zones-dir DIR] [options]\n"
           "  gpu-proxy --help | --version\n\n");
    for (size_t i = 0; i < N_ROWS; i++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].argument ? " " : "",
                 rows[i].argument ? rows[i].argument : "");
        printf("  %-30s %s", left, rows[i].help);
        const void *at = (const char *)&defaults + rows[i].at;
        if (rows[i].kind == SIZE && *(const uint64_t *)at != UNSET)
            printf(" [%lluMi]", (unsigned long long)*(const uint64_t *)at >> 20);
        else if (rows[i].kind == NUMBER || (rows[i].kind == UID && *(const uint32_t *)at))
            printf(" [%u]", *(const uint32_t *)at);
        else if (rows[i].kind == TEXT && *(const char *const *)at)
            printf(" [%s]", *(const char *const *)at);
        printf("\n");
    }
    printf("\nman 8 gpu-proxy has more.\n");
}
