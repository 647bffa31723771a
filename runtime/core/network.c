/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods' networks. The order that a crash can't break:
 *
 *   namespace made -> record says so -> CNI ADD ... machine in it ...
 *   machine gone -> CNI DEL -> namespace removed -> record says so
 *
 * A record that says "attached" may be ahead of the truth, never behind it: a
 * DEL too many is nothing to a plugin, one too few leaks an address.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/io.h"
#include "base/log.h"
#include "cni/cni.h"
#include "core/runtime.h"
#include "netns.h"
#include "rpc/pb.h"

#define INTERFACE      "eth0"
#define SWEEP_EVERY_NS 5000000000LL

int network_open(struct runtime *rt, struct gi_error *err)
{
    const struct config *c = rt->config;
    cleanup_free char *cache = NULL;
    if (asprintf(&rt->netns_dir, "%s/netns", c->run_dir) < 0 ||
        asprintf(&cache, "%s/cni", c->state_dir) < 0)
        abort();
    int rc = gi_mkdir_p(rt->netns_dir, 0711, err);
    if (rc < 0 || strcmp(c->network, "none") == 0)
        return rc;
    const struct cni_config cc = {
        .conf_dir = c->cni_conf_dir,
        .bin_dirs = (const char *const *)c->cni_bin_dirs,
        .cache_dir = cache,
    };
    return cni_open(&cc, &rt->cni, err);
}

void network_close(struct runtime *rt)
{
    if (rt->cni)
        cni_close(rt->cni);
    free(rt->netns_dir);
}

int network_ready(struct runtime *rt, struct gi_error *err)
{
    return rt->cni ? cni_ready(rt->cni, err) : 0;
}

/* ---- what a pod asks for ---- */

struct wishes {
    struct cni_attachment a;
    struct cni_port_mapping *ports;
    char **lists[3]; /* NULL-terminated copies of the DNS lists' pointers */
};

static void wishes_free(struct wishes *w)
{
    free(w->ports);
    for (size_t i = 0; i < GI_ARRAY_SIZE(w->lists); i++)
        free(w->lists[i]);
}
#define cleanup_wishes __attribute__((cleanup(wishes_free)))

static const char *const *terminated(char **list, size_t n, char ***ret_copy)
{
    *ret_copy = calloc(n + 1, sizeof(char *));
    if (!*ret_copy)
        abort();
    for (size_t i = 0; i < n; i++)
        (*ret_copy)[i] = list[i];
    return (const char *const *)*ret_copy;
}

static int fill_ports(struct wishes *w, const Runtime__V1__PodSandboxConfig *config,
                      struct gi_error *err)
{
    static const char *const protocols[] = {"tcp", "udp", "sctp"};
    w->ports = calloc(config->n_port_mappings + 1, sizeof(*w->ports));
    if (!w->ports)
        abort();
    for (size_t i = 0; i < config->n_port_mappings; i++) {
        const Runtime__V1__PortMapping *m = config->port_mappings[i];
        if (m->host_port == 0)
            continue;
        if (m->host_port < 0 || m->host_port > 65535 || m->container_port < 1 ||
            m->container_port > 65535 || (unsigned)m->protocol >= GI_ARRAY_SIZE(protocols))
            return gi_fail(err, GI_INVALID_ARGUMENT,
                           "config.port_mappings[%zu]: not ports of a protocol that can be mapped",
                           i);
        w->ports[w->a.n_ports++] = (struct cni_port_mapping){
            .protocol = protocols[m->protocol],
            .container_port = (uint16_t)m->container_port,
            .host_port = (uint16_t)m->host_port,
            .host_ip = m->host_ip,
        };
    }
    w->a.ports = w->ports;
    return 0;
}

/* kubernetes.io/ingress-bandwidth: bits per second, a quantity as "10M". */
static int bandwidth(const Runtime__V1__PodSandboxConfig *config, const char *key,
                     uint64_t *ret_bits, struct gi_error *err)
{
    const char *text = gi_cri_map_get(config->annotations, config->n_annotations, key);
    if (text && !config_parse_size(text, ret_bits))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.annotations[\"%s\"]: \"%.60s\" is not a quantity such as \"10M\"",
                       key, text);
    return 0;
}

static int fill(struct wishes *w, const struct pod *p, struct gi_error *err)
{
    const Runtime__V1__PodSandboxConfig *config = p->rec->config;
    const Runtime__V1__DNSConfig *d = config->dns_config;
    w->a.container_id = p->id;
    w->a.netns = netns_exists(p->rec->netns) ? p->rec->netns : "";
    w->a.ifname = INTERFACE;
    w->a.pod_namespace = config->metadata->namespace_;
    w->a.pod_name = config->metadata->name;
    w->a.pod_uid = config->metadata->uid;
    if (d) {
        w->a.dns_servers = terminated(d->servers, d->n_servers, &w->lists[0]);
        w->a.dns_searches = terminated(d->searches, d->n_searches, &w->lists[1]);
        w->a.dns_options = terminated(d->options, d->n_options, &w->lists[2]);
    }
    int rc = fill_ports(w, config, err);
    if (rc == 0)
        rc = bandwidth(config, "kubernetes.io/ingress-bandwidth", &w->a.ingress_bits, err);
    if (rc == 0)
        rc = bandwidth(config, "kubernetes.io/egress-bandwidth", &w->a.egress_bits, err);
    return rc;
}

/* What of the pod's wishes can't be, by its field. */
static int check(const struct pod *p, struct gi_error *err)
{
    cleanup_wishes struct wishes w = {.ports = NULL};
    return fill(&w, p, err);
}

/* ---- up ---- */

int network_up(struct pod *p, struct gi_error *err)
{
    cleanup_wishes struct wishes w = {.ports = NULL};
    cleanup_free struct cni_result *result = NULL;
    char path[PATH_MAX];
    int rc = check(p, err); /* before there is anything that only good wishes take down */
    if (rc < 0 || !p->rt->cni)
        return rc;
    rc = cni_ready(p->rt->cni, err);
    if (rc < 0)
        return gi_prefix(err, "the network is not ready");
    snprintf(path, sizeof(path), "%s/%s", p->rt->netns_dir, p->id);
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        pb_set(&p->rec->netns, path);
        p->rec->attached = true;
    }
    rc = pod_save(p, err);
    GI_FAILPOINT(rc, "network_record_saved", err);
    if (rc == 0)
        rc = netns_create(path, err);
    GI_FAILPOINT(rc, "network_netns_made", err);
    if (rc == 0)
        rc = fill(&w, p, err);
    if (rc < 0)
        return rc;
    result = calloc(1, sizeof(*result));
    if (!result)
        abort();
    rc = cni_add(p->rt->cni, &w.a, result, err);
    GI_FAILPOINT(rc, "network_cni_added", err);
    if (rc < 0)
        return gi_prefix(err, "set up the network of pod %s", p->id);
    GI_LOCK_SCOPE(&p->rt->lock);
    for (size_t i = 0; i < result->n_ips; i++)
        pb_push_string(&p->rec->ips, &p->rec->n_ips, result->ips[i]);
    return 0;
}

/* ---- down ---- */

int network_down(struct pod *p, struct gi_error *err)
{
    cleanup_wishes struct wishes w = {.ports = NULL};
    if (!p->rec->attached)
        return 0;
    if (!p->rt->cni)
        return gi_fail(err, GI_FAILED_PRECONDITION,
                       "pod %s has a network, and \"network\" is \"none\"", p->id);
    int rc = fill(&w, p, err);
    if (rc == 0)
        rc = cni_del(p->rt->cni, &w.a, err);
    GI_FAILPOINT(rc, "network_cni_deleted", err);
    if (rc == 0)
        rc = netns_remove(p->rec->netns, err);
    GI_FAILPOINT(rc, "network_netns_removed", err);
    if (rc < 0)
        return gi_prefix(err, "take down the network of pod %s", p->id);
    GI_LOCK_SCOPE(&p->rt->lock);
    p->rec->attached = false;
    return 0;
}

/* ---- after a restart ---- */

static bool wanted(void *data, const char *id)
{
    struct runtime *rt = data;
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        if (strcmp(rt->pods[i]->id, id) == 0)
            return rt->pods[i]->unknown || rt->pods[i]->rec->attached;
    }
    return false;
}

/* Whether nothing is left of networks and namespaces that no pod has. */
static bool sweep(struct runtime *rt, bool at_start)
{
    struct gi_error err = GI_ERROR_INIT;
    bool clean = true;
    if (rt->cni && (at_start ? cni_gc : cni_sweep)(rt->cni, wanted, rt, &err) < 0) {
        gi_log(GI_LOG_ERROR, "a network that belongs to no pod stays, trying again later", "reason",
               err.message, NULL);
        clean = false;
    }
    cleanup_closedir DIR *d = opendir(rt->netns_dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char path[PATH_MAX];
        if (e->d_name[0] == '.' || wanted(rt, e->d_name) ||
            (rt->cni && cni_has(rt->cni, e->d_name, INTERFACE)))
            continue;
        snprintf(path, sizeof(path), "%s/%s", rt->netns_dir, e->d_name);
        if (netns_remove(path, &err) < 0) {
            gi_log(GI_LOG_ERROR, "a network namespace stays", "reason", err.message, NULL);
            clean = false;
        }
    }
    return clean;
}

void network_sweep(struct runtime *rt)
{
    bool clean = sweep(rt, true);
    GI_LOCK_SCOPE(&rt->lock);
    rt->networks_doubtful = !clean;
}

/* ---- as time goes by ---- */

void network_owed(struct runtime *rt)
{
    GI_LOCK_SCOPE(&rt->lock);
    rt->networks_doubtful = true;
}

static void sweep_job(void *arg)
{
    struct runtime *rt = arg;
    bool clean = sweep(rt, false);
    GI_LOCK_SCOPE(&rt->lock);
    if (!clean)
        rt->networks_doubtful = true;
    rt->networks_ns = gi_monotonic_ns();
    rt->networks_busy = false;
}

void network_tick(struct runtime *rt)
{
    {
        GI_LOCK_SCOPE(&rt->lock);
        if (!rt->networks_doubtful || rt->networks_busy ||
            gi_monotonic_ns() - rt->networks_ns < SWEEP_EVERY_NS)
            return;
        rt->networks_busy = true;
        rt->networks_doubtful = false; /* what is owed from here on is for the next one */
    }
    if (pool_submit(rt->jobs, sweep_job, rt) < 0) {
        GI_LOCK_SCOPE(&rt->lock);
        rt->networks_busy = false;
        rt->networks_doubtful = true;
    }
}
