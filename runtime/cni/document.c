/* SPDX-License-Identifier: Apache-2.0 */
#include "cni/document.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENV 8

static void write_port_mappings(yajl_gen g, const struct cni_attachment *a)
{
    cni_gen_string(g, "portMappings");
    yajl_gen_array_open(g);
    for (size_t i = 0; i < a->n_ports; i++) {
        const struct cni_port_mapping *p = &a->ports[i];
        yajl_gen_map_open(g);
        cni_gen_string(g, "hostPort");
        yajl_gen_integer(g, p->host_port);
        cni_gen_string(g, "containerPort");
        yajl_gen_integer(g, p->container_port);
        cni_gen_member(g, "protocol", p->protocol);
        if (p->host_ip && *p->host_ip)
            cni_gen_member(g, "hostIP", p->host_ip);
        yajl_gen_map_close(g);
    }
    yajl_gen_array_close(g);
}

static void write_strings(yajl_gen g, const char *key, const char *const *strings)
{
    if (!strings || !strings[0])
        return;
    cni_gen_string(g, key);
    yajl_gen_array_open(g);
    for (; *strings; strings++)
        cni_gen_string(g, *strings);
    yajl_gen_array_close(g);
}

/* The field's runtimes hand on the burst as large as int32 allows. */
static void write_bandwidth(yajl_gen g, const struct cni_attachment *a)
{
    const long long burst = INT32_MAX;
    cni_gen_string(g, "bandwidth");
    yajl_gen_map_open(g);
    if (a->ingress_bits) {
        cni_gen_string(g, "ingressRate");
        yajl_gen_integer(g, (long long)a->ingress_bits);
        cni_gen_string(g, "ingressBurst");
        yajl_gen_integer(g, burst);
    }
    if (a->egress_bits) {
        cni_gen_string(g, "egressRate");
        yajl_gen_integer(g, (long long)a->egress_bits);
        cni_gen_string(g, "egressBurst");
        yajl_gen_integer(g, burst);
    }
    yajl_gen_map_close(g);
}

static bool wants(yajl_val capabilities, const char *name, bool have)
{
    return have && cni_value_true(capabilities, name);
}

/* SPEC.md "Deriving runtimeConfig": only what the plugin declares. */
static void write_runtime_config(yajl_gen g, yajl_val plugin, const struct cni_attachment *a)
{
    yajl_val caps = cni_value_get(plugin, "capabilities");
    bool dns = (a->dns_servers && a->dns_servers[0]) || (a->dns_searches && a->dns_searches[0]) ||
               (a->dns_options && a->dns_options[0]);
    bool ports = wants(caps, "portMappings", a->n_ports > 0);
    bool bandwidth = wants(caps, "bandwidth", a->ingress_bits || a->egress_bits);
    dns = wants(caps, "dns", dns);
    if (!ports && !bandwidth && !dns)
        return;
    cni_gen_string(g, "runtimeConfig");
    yajl_gen_map_open(g);
    if (ports)
        write_port_mappings(g, a);
    if (bandwidth)
        write_bandwidth(g, a);
    if (dns) {
        cni_gen_string(g, "dns");
        yajl_gen_map_open(g);
        write_strings(g, "servers", a->dns_servers);
        write_strings(g, "searches", a->dns_searches);
        write_strings(g, "options", a->dns_options);
        yajl_gen_map_close(g);
    }
    yajl_gen_map_close(g);
}

static int write_json_text(yajl_gen g, const char *key, const char *text, struct gi_error *err)
{
    cleanup_value yajl_val v = NULL;
    int rc = cni_value_parse(text, strlen(text), key, &v, err);
    if (rc < 0)
        return rc;
    cni_gen_string(g, key);
    cni_value_write(g, v);
    return 0;
}

int cni_document_input(const struct cni_list *l, size_t index, const struct cni_attachment *a,
                       const char *prev_result, char **ret_text, struct gi_error *err)
{
    static const char *const own[] = {"name",         "cniVersion",    "prevResult",
                                      "capabilities", "runtimeConfig", NULL};
    yajl_gen g = yajl_gen_alloc(NULL);
    if (!g)
        return gi_fail_errno(err, ENOMEM, "cni");
    yajl_gen_map_open(g);
    cni_gen_member(g, "name", l->name);
    cni_gen_member(g, "cniVersion", l->version);
    cni_value_write_members(g, l->plugins[index], own);
    if (a)
        write_runtime_config(g, l->plugins[index], a);
    int rc = prev_result ? write_json_text(g, "prevResult", prev_result, err) : 0;
    if (l->valid_attachments) {
        cni_gen_string(g, "cni.dev/valid-attachments");
        yajl_gen_array_open(g);
        for (size_t i = 0; i < l->n_valid; i++) {
            yajl_gen_map_open(g);
            cni_gen_member(g, "containerID", l->valid_attachments[i].container_id);
            cni_gen_member(g, "ifname", l->valid_attachments[i].ifname);
            yajl_gen_map_close(g);
        }
        yajl_gen_array_close(g);
    }
    yajl_gen_map_close(g);
    const unsigned char *text = NULL;
    size_t len = 0;
    if (rc == 0) {
        if (yajl_gen_get_buf(g, &text, &len) != yajl_gen_status_ok)
            rc =
                gi_fail(err, GI_INTERNAL, "network \"%s\": can't write its configuration", l->name);
        else if (!(*ret_text = strndup((const char *)text, len)))
            rc = gi_fail_errno(err, ENOMEM, "cni");
    }
    yajl_gen_free(g);
    return rc;
}

void cni_document_env_free(char **envp)
{
    for (char **e = envp; e && *e; e++)
        free(*e);
    free(envp);
}

static int add_env(char **envp, size_t *n, const char *key, const char *value)
{
    if (asprintf(&envp[*n], "%s=%s", key, value) < 0) {
        envp[*n] = NULL;
        return -1;
    }
    (*n)++;
    return 0;
}

/* A ';' or '=' in a value would start another CNI_ARGS pair. Kubernetes names
 * hold neither; what does is left out. */
static bool is_plain(const char *s)
{
    return s && *s && !strpbrk(s, ";=\n");
}

static int args_text(const struct cni_attachment *a, char **ret_text)
{
    return asprintf(ret_text, "IgnoreUnknown=1%s%s%s%s%s%s;K8S_POD_INFRA_CONTAINER_ID=%s",
                    is_plain(a->pod_namespace) ? ";K8S_POD_NAMESPACE=" : "",
                    is_plain(a->pod_namespace) ? a->pod_namespace : "",
                    is_plain(a->pod_name) ? ";K8S_POD_NAME=" : "",
                    is_plain(a->pod_name) ? a->pod_name : "",
                    is_plain(a->pod_uid) ? ";K8S_POD_UID=" : "",
                    is_plain(a->pod_uid) ? a->pod_uid : "", a->container_id);
}

int cni_document_env(const char *command, const struct cni_attachment *a, const char *path_list,
                     char ***ret_envp, struct gi_error *err)
{
    char **envp = calloc(MAX_ENV, sizeof(char *));
    if (!envp)
        return gi_fail_errno(err, ENOMEM, "cni");
    size_t n = 0;
    int bad =
        add_env(envp, &n, "CNI_COMMAND", command) | add_env(envp, &n, "CNI_PATH", path_list) |
        /* bridge and portmap look for iptables. */
        add_env(envp, &n, "PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
    if (a) {
        cleanup_free char *args = NULL;
        if (args_text(a, &args) < 0)
            args = NULL;
        bad |= add_env(envp, &n, "CNI_CONTAINERID", a->container_id) |
               add_env(envp, &n, "CNI_NETNS", a->netns ? a->netns : "") |
               add_env(envp, &n, "CNI_IFNAME", a->ifname) |
               (args ? add_env(envp, &n, "CNI_ARGS", args) : -1);
    }
    if (bad) {
        cni_document_env_free(envp);
        return gi_fail_errno(err, ENOMEM, "cni");
    }
    *ret_envp = envp;
    return 0;
}

/* An ip entry belongs to the pod when its interface has a sandbox, or when no
 * interface is named (chained and macvlan-less plugins). */
static bool is_pods(yajl_val result, yajl_val ip)
{
    yajl_val index = cni_value_get(ip, "interface");
    yajl_val interfaces = cni_value_get(result, "interfaces");
    if (!index || !YAJL_IS_INTEGER(index) || !interfaces || !YAJL_IS_ARRAY(interfaces))
        return true;
    long long i = YAJL_GET_INTEGER(index);
    if (i < 0 || (size_t)i >= interfaces->u.array.len)
        return false;
    const char *sandbox = cni_value_string(interfaces->u.array.values[i], "sandbox");
    return sandbox && *sandbox;
}

static int read_address(const char *text, char out[64])
{
    char addr[64];
    unsigned char bin[16];
    size_t len = strcspn(text, "/");
    if (len >= sizeof(addr))
        return -1;
    memcpy(addr, text, len);
    addr[len] = '\0';
    int family = strchr(addr, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(family, addr, bin) != 1 || !inet_ntop(family, bin, out, 64))
        return -1;
    return 0;
}

int cni_document_result(const char *text, const char *network, struct cni_result *ret_result,
                        struct gi_error *err)
{
    cleanup_value yajl_val doc = NULL;
    int rc = cni_value_parse(text, strlen(text), "CNI result", &doc, err);
    if (rc < 0)
        return rc;
    struct cni_result r = {.n_ips = 0};
    snprintf(r.network, sizeof(r.network), "%s", network);
    yajl_val ips = cni_value_get(doc, "ips");
    if (ips && !YAJL_IS_ARRAY(ips))
        return gi_fail(err, GI_INVALID_ARGUMENT, "CNI result: ips is no list");
    for (size_t i = 0; ips && i < ips->u.array.len; i++) {
        yajl_val ip = ips->u.array.values[i];
        if (!is_pods(doc, ip))
            continue;
        const char *address = cni_value_string(ip, "address");
        if (r.n_ips == CNI_MAX_IPS || !address || read_address(address, r.ips[r.n_ips]) < 0)
            return gi_fail(err, GI_INVALID_ARGUMENT, "CNI result: ips[%zu].address is unusable", i);
        r.n_ips++;
    }
    *ret_result = r;
    return 0;
}
