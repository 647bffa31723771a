/* SPDX-License-Identifier: Apache-2.0 */
/* A PodSandboxConfig: what is allowed, what it wants, the files made of it. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "core/runtime.h"
#include "cri/cri.h"

#define GPU_ANNOTATION        "gpu-isolated.dev/gpu"
#define GPU_MEMORY_ANNOTATION "gpu-isolated.dev/gpu-memory"
#define GPU_WEIGHT_ANNOTATION "gpu-isolated.dev/gpu-weight"
#define GPU_CAP_ANNOTATION    "gpu-isolated.dev/gpu-cap"
#define MAX_FILE              (256u << 10)
#define DOMAIN_OVERHEAD       (64 << 20)
#define MAX_CPUS              512u

const char *podconfig_hostname(const Runtime__V1__PodSandboxConfig *pod)
{
    return pod->hostname && *pod->hostname ? pod->hostname : pod->metadata->name;
}

/* ---- checks ---- */

static int invalid(struct gi_error *err, const char *field, const char *why)
{
    return gi_fail(err, GI_INVALID_ARGUMENT, "config.%s: %s", field, why);
}

static int check_metadata(const Runtime__V1__PodSandboxMetadata *m, struct gi_error *err)
{
    if (!m)
        return invalid(err, "metadata", "missing");
    if (!*m->name)
        return invalid(err, "metadata.name", "missing");
    if (!*m->uid)
        return invalid(err, "metadata.uid", "missing");
    /* crictl's and critest's pods may have no namespace set: "default" then. */
    return 0;
}

static int check_handler(const struct config *config, const char *handler, struct gi_error *err)
{
    if (!*handler) {
        if (*config->default_handler)
            return 0;
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "runtime_handler: empty, and this runtime has no default handler");
    }
    for (size_t i = 0; config->handlers[i]; i++) {
        if (strcmp(config->handlers[i], handler) == 0)
            return 0;
    }
    return gi_fail(err, GI_INVALID_ARGUMENT,
                   "runtime_handler: no runtime for \"%.100s\" is configured", handler);
}

static int check_namespaces(const Runtime__V1__NamespaceOption *n, struct gi_error *err)
{
    static const char *const field = "linux.security_context.namespace_options";
    const Runtime__V1__NamespaceMode node = RUNTIME__V1__NAMESPACE_MODE__NODE;
    char text[128];
    if (!n)
        return 0;
    const char *which = n->network == node ? "network" : n->pid == node ? "pid" : NULL;
    if (!which && n->ipc == node)
        which = "ipc";
    if (which) {
        snprintf(text, sizeof(text), "%s.%s", field, which);
        return invalid(err, text, "an isolated pod can't have the node's");
    }
    if (n->pid == RUNTIME__V1__NAMESPACE_MODE__TARGET)
        return invalid(err, "linux.security_context.namespace_options.pid",
                       "a pod has no container yet whose it could be");
    if (n->userns_options && n->userns_options->mode != node)
        return invalid(err, "linux.security_context.namespace_options.userns_options",
                       "user namespaces are not supported");
    return 0;
}

/* 1 to MAX in decimal; 0 when the pod has no such annotation. */
static int check_number(const Runtime__V1__PodSandboxConfig *pod, const char *name, uint32_t max,
                        uint32_t *ret_value, struct gi_error *err)
{
    const char *text = gi_cri_map_get(pod->annotations, pod->n_annotations, name);
    uint32_t value = 0;
    const char *c = text ? text : "";
    for (; *c >= '0' && *c <= '9' && value <= max; c++)
        value = value * 10 + (uint32_t)(*c - '0');
    if (text && (*c || value == 0 || value > max))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.annotations[\"%s\"]: \"%.60s\" is no number from 1 to %u", name,
                       text, max);
    *ret_value = value;
    return 0;
}

static int check_gpu(const struct config *config, const Runtime__V1__PodSandboxConfig *pod,
                     struct pod_wants *w, struct gi_error *err)
{
    const char *gpu = gi_cri_map_get(pod->annotations, pod->n_annotations, GPU_ANNOTATION);
    const char *memory =
        gi_cri_map_get(pod->annotations, pod->n_annotations, GPU_MEMORY_ANNOTATION);
    if (gpu && strcmp(gpu, "1") != 0 && strcmp(gpu, "0") != 0)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.annotations[\"" GPU_ANNOTATION "\"]: \"%.60s\" is neither \"0\" nor "
                       "\"1\"",
                       gpu);
    w->gpu = gpu && gpu[0] == '1';
    w->gpu_memory = config->default_gpu_memory;
    if (memory && (!config_parse_size(memory, &w->gpu_memory) || w->gpu_memory == 0))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.annotations[\"" GPU_MEMORY_ANNOTATION
                       "\"]: \"%.60s\" is not a quantity of bytes such as \"4Gi\"",
                       memory);
    int rc = check_number(pod, GPU_WEIGHT_ANNOTATION, CONTROL_MAX_WEIGHT, &w->gpu_weight, err);
    return rc < 0 ? rc : check_number(pod, GPU_CAP_ANNOTATION, 100, &w->gpu_cap, err);
}

static int64_t sum(int64_t a, int64_t b)
{
    int64_t s;
    return a < 0 || b < 0 || __builtin_add_overflow(a, b, &s) ? INT64_MAX : s;
}

static unsigned cpus_of(const Runtime__V1__LinuxContainerResources *r)
{
    if (!r || r->cpu_quota <= 0)
        return 0;
    int64_t period = r->cpu_period > 0 ? r->cpu_period : 100000;
    int64_t n = r->cpu_quota / period + (r->cpu_quota % period != 0);
    return n > MAX_CPUS ? MAX_CPUS : (unsigned)n;
}

/* What a domain's kernel and agent take of its memory, where no RuntimeClass says
 * (podFixed): a pod's limit is what its containers may use. */
static int64_t own_overhead(const struct config *config)
{
    return strcmp(config->machine_driver, "xen") == 0 ? DOMAIN_OVERHEAD : 0;
}

/* A machine's size: the pod's limits and the overhead of its RuntimeClass. What has no
 * limit stays as it is in W. */
static void size_machine(const struct config *config, const Runtime__V1__LinuxContainerResources *r,
                         const Runtime__V1__LinuxContainerResources *o, struct pod_wants *w)
{
    if (r && r->memory_limit_in_bytes > 0)
        w->memory_bytes = (uint64_t)sum(r->memory_limit_in_bytes, o && o->memory_limit_in_bytes
                                                                      ? o->memory_limit_in_bytes
                                                                      : own_overhead(config));
    unsigned n = cpus_of(r);
    if (n > 0)
        w->vcpus = n + cpus_of(o);
}

void podconfig_resize(const struct config *config, const Runtime__V1__PodSandboxConfig *pod,
                      const Runtime__V1__LinuxContainerResources *resources,
                      const Runtime__V1__LinuxContainerResources *overhead,
                      struct pod_wants *ret_wants)
{
    struct pod_wants w = {.memory_bytes = 0};
    if (!overhead && pod->linux)
        overhead = pod->linux->overhead;
    size_machine(config, resources, overhead, &w);
    *ret_wants = w;
}

/* As systemd's slice or as a path; a pod that is a domain has no use for it. */
static bool good_cgroup_parent(const char *parent)
{
    size_t len = strlen(parent);
    bool slice = !strchr(parent, '/') && len > 6 && strcmp(parent + len - 6, ".slice") == 0;
    return (slice || parent[0] == '/' || len == 0) && len < PATH_MAX / 2 && !strstr(parent, "..") &&
           !strchr(parent, '\n');
}

int podconfig_check(const struct config *config, const Runtime__V1__PodSandboxConfig *pod,
                    const char *handler, struct pod_wants *ret_wants, struct gi_error *err)
{
    if (!pod)
        return gi_fail(err, GI_INVALID_ARGUMENT, "config: missing");
    int rc = check_metadata(pod->metadata, err);
    if (rc == 0)
        rc = check_handler(config, handler, err);
    if (rc < 0)
        return rc;
    const char *hostname = podconfig_hostname(pod);
    if (pod->hostname && *pod->hostname && strlen(hostname) > 64)
        return invalid(err, "hostname", "longer than 64 bytes");
    if (pod->log_directory && *pod->log_directory && pod->log_directory[0] != '/')
        return invalid(err, "log_directory", "not an absolute path");
    if (pod->linux && !good_cgroup_parent(pod->linux->cgroup_parent))
        return invalid(err, "linux.cgroup_parent", "neither an absolute path nor NAME.slice");
    if (pod->linux && pod->linux->security_context) {
        rc = check_namespaces(pod->linux->security_context->namespace_options, err);
        if (rc < 0)
            return rc;
    }
    struct pod_wants w = {.gpu = false};
    rc = check_gpu(config, pod, &w, err);
    if (rc < 0)
        return rc;
    w.memory_bytes = config->default_memory;
    w.vcpus = (unsigned)config->default_vcpus;
    if (pod->linux)
        size_machine(config, pod->linux->resources, pod->linux->overhead, &w);
    *ret_wants = w;
    return 0;
}

/* ---- files ---- */

/* Not synced: a machine crash ends the pod, too. */
static int write_file(const struct pod *p, const char *name, const struct gi_buf *b,
                      struct gi_error *err)
{
    char path[PATH_MAX];
    pod_path(p, name, path, sizeof(path));
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    int rc = fd < 0 ? -errno : gi_write_full(fd, b->data, b->len);
    return rc < 0 ? gi_fail_errno(err, -rc, "write %s", path) : 0;
}

/* Text of a request in a line of a file must not make lines of its own. */
static bool one_line(const char *s)
{
    for (; *s; s++) {
        if (iscntrl((unsigned char)*s))
            return false;
    }
    return true;
}

static int add_dns(struct gi_buf *b, const char *field, const char *word, char **list, size_t n,
                   bool a_line_each, struct gi_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!one_line(list[i]))
            return gi_fail(err, GI_INVALID_ARGUMENT,
                           "config.dns_config.%s[%zu]: control characters", field, i);
        rc = gi_buf_printf(b, "%s%s%s%s", a_line_each || i == 0 ? word : "", " ", list[i],
                           a_line_each ? "\n" : "");
    }
    if (rc == 0 && n && !a_line_each)
        rc = gi_buf_printf(b, "\n");
    return rc < 0 ? gi_fail(err, GI_INVALID_ARGUMENT, "config.dns_config: too long") : 0;
}

static int write_resolv_conf(const struct pod *p, struct gi_error *err)
{
    cleanup_buf struct gi_buf b = GI_BUF_INIT(MAX_FILE);
    const Runtime__V1__DNSConfig *d = p->rec->config->dns_config;
    if (!d) {
        /* As on the host; without one, none. */
        cleanup_free char *text = NULL;
        size_t len = 0;
        if (gi_read_file("/etc/resolv.conf", MAX_FILE, &text, &len, NULL) == 0)
            gi_buf_append(&b, text, len);
        return write_file(p, "etc/resolv.conf", &b, err);
    }
    int rc = add_dns(&b, "searches", "search", d->searches, d->n_searches, false, err);
    if (rc == 0)
        rc = add_dns(&b, "servers", "nameserver", d->servers, d->n_servers, true, err);
    if (rc == 0)
        rc = add_dns(&b, "options", "options", d->options, d->n_options, false, err);
    return rc < 0 ? rc : write_file(p, "etc/resolv.conf", &b, err);
}

int podconfig_write_files(const struct pod *p, struct gi_error *err)
{
    char path[PATH_MAX];
    cleanup_buf struct gi_buf hosts = GI_BUF_INIT(MAX_FILE);
    cleanup_buf struct gi_buf hostname = GI_BUF_INIT(MAX_FILE);
    const char *name = podconfig_hostname(p->rec->config);
    const char *address = p->rec->n_ips > 0 ? p->rec->ips[0] : "127.0.0.1";
    if (!one_line(name))
        return gi_fail(err, GI_INVALID_ARGUMENT, "config.hostname: control characters");
    pod_path(p, "etc", path, sizeof(path));
    /* Containers' processes of any user read these files through their mounts. */
    int rc = gi_mkdir_p(path, 0755, err);
    if (rc == 0 && (gi_buf_printf(&hosts,
                                  "127.0.0.1\tlocalhost\n"
                                  "::1\tlocalhost ip6-localhost ip6-loopback\n"
                                  "%s\t%s\n",
                                  address, name) < 0 ||
                    gi_buf_printf(&hostname, "%s\n", name) < 0))
        rc = gi_fail(err, GI_INVALID_ARGUMENT, "config.hostname: too long");
    if (rc == 0)
        rc = write_file(p, "etc/hosts", &hosts, err);
    if (rc == 0)
        rc = write_file(p, "etc/hostname", &hostname, err);
    return rc < 0 ? rc : write_resolv_conf(p, err);
}

/* To a zone that doesn't see ours. Once: nobody changes them later. */
int podconfig_send_files(const struct pod *p, struct agent_client *agent, int timeout_ms,
                         struct gi_error *err)
{
    static const char *const names[] = {"hosts", "hostname", "resolv.conf"};
    const struct agent_volume v = {.name = POD_ETC_VOLUME};
    int rc = agent_make_volume(agent, &v, timeout_ms, err);
    for (size_t i = 0; rc == 0 && i < GI_ARRAY_SIZE(names); i++) {
        char path[PATH_MAX], name[32];
        cleanup_free char *text = NULL;
        struct agent_file f = {.path = names[i], .mode = 0644};
        snprintf(name, sizeof(name), "etc/%s", names[i]);
        pod_path(p, name, path, sizeof(path));
        rc = gi_read_file(path, MAX_FILE, &text, &f.len, err);
        f.data = text;
        if (rc == 0)
            rc = agent_put_files(agent, v.name, false, &f, 1, timeout_ms, err);
    }
    return rc;
}
