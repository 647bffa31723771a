/* SPDX-License-Identifier: Apache-2.0 */
/* gpu-isolated-agent: the init of a zone. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "cgroup.h"
#include "net.h"
#include "proc.h"

static const char usage[] =
    "usage: gpu-isolated-agent OPTIONS\n"
    "The init of a zone: runs OCI containers for gpu-isolated-runtime.\n\n"
    "  --listen-fd N          listening stream socket, inherited\n"
    "  --listen PATH          or: unix socket to listen on (mode 0600)\n"
    "  --ready-fd N           where to write \"ok\" or the reason of a failure\n"
    "  --scratch DIR          folder for the containers' writable layers\n"
    "  --oci PATH             crun or runc\n"
    "  --oci-kind crun|runc   whose command line it has\n"
    "  --cgroup v1|v2|none    what containers' cgroups are made in\n"
    "  --cgroup-path PATH     parent of the containers' cgroups\n"
    "  --libvgpu PATH         libcuda.so.1 for GPU containers\n"
    "  --gpu-socket PATH      gpu-proxy's socket of this zone\n"
    "  --gpu-domain N         or: the Xen domain that has gpu-proxy\n"
    "  --gpu-front PATH       program that serves a GPU client over Xen\n"
    "  --zone N               the zone's number\n"
    "  --address IP/PREFIX    of eth0; repeatable\n"
    "  --route IP/PREFIX=IP   through a gateway; repeatable\n"
    "  --mtu N                of eth0\n"
    "  --sysctl KEY=VALUE     set in this zone's namespaces; repeatable\n"
    "  --version, --help\n";

enum {
    OPT_LISTEN_FD = 256,
    OPT_LISTEN,
    OPT_READY_FD,
    OPT_SCRATCH,
    OPT_OCI,
    OPT_OCI_KIND,
    OPT_CGROUP,
    OPT_CGROUP_PATH,
    OPT_LIBVGPU,
    OPT_GPU_SOCKET,
    OPT_GPU_DOMAIN,
    OPT_GPU_FRONT,
    OPT_ZONE,
    OPT_SYSCTL,
    OPT_ADDRESS,
    OPT_ROUTE,
    OPT_MTU,
    OPT_VERSION,
    OPT_HELP
};

static const struct option long_options[] = {
    {"listen-fd", required_argument, NULL, OPT_LISTEN_FD},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"ready-fd", required_argument, NULL, OPT_READY_FD},
    {"scratch", required_argument, NULL, OPT_SCRATCH},
    {"oci", required_argument, NULL, OPT_OCI},
    {"oci-kind", required_argument, NULL, OPT_OCI_KIND},
    {"cgroup", required_argument, NULL, OPT_CGROUP},
    {"cgroup-path", required_argument, NULL, OPT_CGROUP_PATH},
    {"libvgpu", required_argument, NULL, OPT_LIBVGPU},
    {"gpu-socket", required_argument, NULL, OPT_GPU_SOCKET},
    {"gpu-domain", required_argument, NULL, OPT_GPU_DOMAIN},
    {"gpu-front", required_argument, NULL, OPT_GPU_FRONT},
    {"zone", required_argument, NULL, OPT_ZONE},
    {"address", required_argument, NULL, OPT_ADDRESS},
    {"route", required_argument, NULL, OPT_ROUTE},
    {"mtu", required_argument, NULL, OPT_MTU},
    {"sysctl", required_argument, NULL, OPT_SYSCTL},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static int parse_number(const char *text, long max, long *ret)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < 0 || n > max)
        return -1;
    *ret = n;
    return 0;
}

static int take_number(int opt, const char *text, struct options *o)
{
    long n = 0;
    if (parse_number(text, opt == OPT_ZONE || opt == OPT_GPU_DOMAIN ? (long)UINT32_MAX : 1 << 20,
                     &n) < 0)
        return -1;
    if (opt == OPT_LISTEN_FD)
        o->listen_fd = (int)n;
    else if (opt == OPT_READY_FD)
        o->ready_fd = (int)n;
    else if (opt == OPT_MTU)
        o->mtu = n;
    else if (opt == OPT_GPU_DOMAIN)
        o->gpu_domain = (uint32_t)n;
    else
        o->zone = (uint32_t)n;
    return 0;
}

static int take_word(int opt, const char *text, struct options *o)
{
    if (opt == OPT_OCI_KIND) {
        o->oci_is_crun = strcmp(text, "crun") == 0;
        return o->oci_is_crun || strcmp(text, "runc") == 0 ? 0 : -1;
    }
    o->cgroup = strcmp(text, "v1") == 0 ? 1 : strcmp(text, "v2") == 0 ? 2 : 0;
    return o->cgroup || strcmp(text, "none") == 0 ? 0 : -1;
}

static int take_option(int opt, const char *text, struct options *o)
{
    switch (opt) {
    case OPT_LISTEN_FD:
    case OPT_READY_FD:
    case OPT_MTU:
    case OPT_GPU_DOMAIN:
    case OPT_ZONE:
        return take_number(opt, text, o);
    case OPT_OCI_KIND:
    case OPT_CGROUP:
        return take_word(opt, text, o);
    case OPT_LISTEN:
        o->listen_path = text;
        return 0;
    case OPT_SCRATCH:
        o->scratch = text;
        return 0;
    case OPT_OCI:
        o->oci = text;
        return 0;
    case OPT_CGROUP_PATH:
        o->cgroup_path = text;
        return 0;
    case OPT_LIBVGPU:
        o->libvgpu = text;
        return 0;
    case OPT_GPU_SOCKET:
        o->gpu_socket = text;
        return 0;
    case OPT_GPU_FRONT:
        o->gpu_front = text;
        return 0;
    case OPT_ADDRESS:
        o->addresses[o->n_addresses++] = text; /* argc of them fit */
        return 0;
    case OPT_ROUTE:
        o->routes[o->n_routes++] = text;
        return 0;
    case OPT_SYSCTL:
        o->sysctls[o->n_sysctls++] = text; /* argc of them fit */
        return 0;
    case OPT_VERSION:
        puts("gpu-isolated-agent " GI_VERSION);
        exit(0);
    case OPT_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        return -1;
    }
}

static int parse(int argc, char **argv, struct options *o)
{
    o->sysctls = calloc((size_t)argc, sizeof(*o->sysctls));
    o->addresses = calloc((size_t)argc, sizeof(*o->addresses));
    o->routes = calloc((size_t)argc, sizeof(*o->routes));
    int opt;
    while (o->sysctls && o->addresses && o->routes &&
           (opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (take_option(opt, optarg, o) < 0) {
            fprintf(stderr, "gpu-isolated-agent: bad value or option; see --help\n");
            return -1;
        }
    }
    bool complete = (o->listen_fd >= 0 || o->listen_path) && o->scratch && o->oci &&
                    o->scratch[0] == '/' && o->oci[0] == '/' && (!o->cgroup || o->cgroup_path);
    if (!complete || optind != argc)
        fprintf(stderr, "gpu-isolated-agent: options are missing; see --help\n");
    return complete && optind == argc ? 0 : -1;
}

/* "net.ipv4.ip_forward=1" → /proc/sys/net/ipv4/ip_forward. */
static int set_sysctl(const char *text, struct gi_error *err)
{
    char path[256] = "/proc/sys/";
    const char *eq = strchr(text, '=');
    size_t n = eq ? (size_t)(eq - text) : 0;
    size_t at = strlen(path);
    if (n == 0 || n >= sizeof(path) - at || memmem(text, n, "..", 2))
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad sysctl \"%s\"", text);
    for (size_t i = 0; i < n; i++)
        path[at++] = text[i] == '.' ? '/' : text[i] == '/' ? '.' : text[i];
    path[at] = '\0';
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return gi_fail_errno(err, errno, "sysctl %s", text);
    int rc = gi_write_full(fd, eq + 1, strlen(eq + 1));
    return rc < 0 ? gi_fail_errno(err, -rc, "sysctl %s", text) : 0;
}

/* Without CAP_SYS_RESOURCE nobody can give a process less than he has. */
static int lowest_oom_score(void)
{
    cleanup_free char *status = NULL;
    cleanup_free char *own = NULL;
    if (gi_read_file("/proc/self/status", 65536, &status, NULL, NULL) < 0 ||
        gi_read_file("/proc/self/oom_score_adj", 64, &own, NULL, NULL) < 0)
        return 0;
    const char *caps = strstr(status, "\nCapEff:");
    uint64_t eff = caps ? strtoull(caps + 8, NULL, 16) : 0;
    return eff & (1u << 24) ? -1000 : (int)strtol(own, NULL, 10);
}

static void on_terminate(void *data)
{
    agent_end(data);
}

static int set_up(struct agent *a, struct gi_error *err)
{
    umask(0022);
    if (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return gi_fail_errno(err, errno, "subreaper");
    a->oom_score_min = lowest_oom_score();
    for (size_t i = 0; i < a->opt.n_sysctls; i++) {
        if (set_sysctl(a->opt.sysctls[i], err) < 0)
            return -GI_INVALID_ARGUMENT;
    }
    if (net_set_up(&a->opt, err) < 0)
        return -GI_INTERNAL;
    int rc = cgroup_init(a->opt.cgroup, err);
    if (rc == 0)
        rc = gi_mkdir_p(a->opt.scratch, 0700, err);
    if (rc == 0)
        rc = loop_new(&a->loop, err);
    if (rc == 0)
        rc = proc_init(a->loop, on_terminate, a, err);
    if (rc == 0)
        rc = conn_listen(a, err);
    return rc;
}

static void tell_ready(const struct agent *a, const char *line)
{
    if (a->opt.ready_fd < 0)
        return;
    gi_write_full(a->opt.ready_fd, line, strlen(line));
    close(a->opt.ready_fd);
}

int main(int argc, char **argv)
{
    static struct agent a = {
        .opt = {.listen_fd = -1, .ready_fd = -1},
        .listener = {.fd = -1},
    };
    struct gi_error err = GI_ERROR_INIT;
    gi_log_init("gpu-isolated-agent", GI_LOG_INFO);
    if (parse(argc, argv, &a.opt) < 0)
        return 2;
    if (a.opt.ready_fd >= 0)
        fcntl(a.opt.ready_fd, F_SETFD, FD_CLOEXEC);
    if (set_up(&a, &err) < 0) {
        gi_log(GI_LOG_ERROR, "agent can't start", "reason", err.message, NULL);
        tell_ready(&a, err.message);
        return 1;
    }
    tell_ready(&a, "ok");
    gi_log(GI_LOG_INFO, "agent ready", "version", GI_VERSION, "oci", a.opt.oci, NULL);
    int rc = loop_run(a.loop, &err);
    if (rc < 0)
        gi_log(GI_LOG_ERROR, "agent failed", "reason", err.message, NULL);
    return rc < 0;
}
