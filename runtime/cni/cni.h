/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pod networks by CNI plugins (https://github.com/containernetworking/cni,
 * SPEC.md 0.3.1 to 1.1): loads network configuration lists, runs their plugins
 * and remembers what they answered, so that a pod's network can be taken down
 * again by exactly the configuration that set it up, whatever the folder says
 * by then.
 *
 * Configuration is the administrator's and trusted; what a plugin prints is
 * bounded and checked. All functions may be called from any thread; calls for
 * one attachment must not overlap.
 */
#ifndef GI_CNI_H
#define GI_CNI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct cni;

struct cni_config {
    const char *conf_dir;        /* *.conflist, *.conf, *.json; the first by name counts */
    const char *const *bin_dirs; /* NULL-terminated; where plugins are looked for, in order */
    const char *cache_dir;       /* results of attachments; made 0700 */
    int plugin_timeout_ms;       /* of one plugin's run; 0: 60 s */
};

int cni_open(const struct cni_config *config, struct cni **ret_cni, struct gi_error *err);
void cni_close(struct cni *c);

struct cni_port_mapping {
    const char *protocol; /* "tcp", "udp", "sctp" */
    uint16_t container_port;
    uint16_t host_port;
    const char *host_ip; /* NULL or "": all addresses */
};

/* One pod's interface. Pointers are only read during the call. */
struct cni_attachment {
    const char *container_id;  /* [A-Za-z0-9][A-Za-z0-9_.-]* */
    const char *netns;         /* path; "" on a DEL when it is gone */
    const char *ifname;        /* "eth0" */
    const char *pod_namespace; /* CNI_ARGS, may be NULL */
    const char *pod_name;
    const char *pod_uid;
    const struct cni_port_mapping *ports;
    size_t n_ports;
    const char *const *dns_servers; /* NULL-terminated, may be NULL */
    const char *const *dns_searches;
    const char *const *dns_options;
    uint64_t ingress_bits; /* per second; 0: no limit asked for */
    uint64_t egress_bits;
};

#define CNI_MAX_IPS 16

struct cni_result {
    char ips[CNI_MAX_IPS][64]; /* without the prefix length; of interfaces inside the pod */
    size_t n_ips;
    char network[128];
};

/* UNAVAILABLE with the reason when no usable configuration is there or a
 * plugin's STATUS (1.1) says it isn't ready. Reads the folder again, so a
 * configuration that was just installed counts. */
int cni_ready(struct cni *c, struct gi_error *err);

/* Attaches, in the list's order. On failure what was done is undone (DEL). A
 * second ADD of an attachment that is cached answers from the cache. */
int cni_add(struct cni *c, const struct cni_attachment *a, struct cni_result *ret_result,
            struct gi_error *err);

/* Detaches in reverse order with the configuration and result of the ADD.
 * Unknown or already detached: success. On failure the cached result stays, so
 * the caller can (and must) try again. */
int cni_del(struct cni *c, const struct cni_attachment *a, struct gi_error *err);

/* FAILED_PRECONDITION when a plugin finds that the attachment isn't as it made it. */
int cni_check(struct cni *c, const struct cni_attachment *a, struct gi_error *err);

/* Whether a DEL is owed for it. */
bool cni_has(const struct cni *c, const char *container_id, const char *ifname);

/* The cached result of an attachment. NOT_FOUND. */
int cni_result(struct cni *c, const char *container_id, const char *ifname,
               struct cni_result *ret_result, struct gi_error *err);

/* Detaches every cached attachment KEEP doesn't want; goes on past failures and
 * reports the first. Others may be attached and detached meanwhile. */
int cni_sweep(struct cni *c, bool (*keep)(void *data, const char *container_id), void *data,
              struct gi_error *err);

/* That, and tells plugins of a 1.1 list which attachments are valid (GC): nothing may be
 * attached meanwhile, a plugin would take it for garbage. */
int cni_gc(struct cni *c, bool (*keep)(void *data, const char *container_id), void *data,
           struct gi_error *err);

#endif
