/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime → gpu-proxy: zones, their quotas and their counters. Libc only.
 * Client side. One connection per handle, calls are serialized inside; each has
 * a timeout and the connection is made again after the proxy restarted.
 * Wire format: proto/control/README.md.
 */
#ifndef GI_CONTROL_H
#define GI_CONTROL_H

#include <stdint.h>

#include "base/error.h"

struct control_client;

#define CONTROL_LABEL_MAX   128u /* bytes of a zone's label (the pod's name) */
#define CONTROL_PATH_MAX    107u /* sun_path */
#define CONTROL_MAX_WEIGHT  10000u
#define CONTROL_MAX_CLIENTS 256u /* per zone, whatever its quota says */

struct control_quota {
    uint64_t memory_bytes;      /* device memory; 0: the proxy's default */
    uint32_t max_clients;       /* 0: default */
    uint32_t max_handles;       /* per client; 0: default */
    uint64_t max_channel_bytes; /* ring + arena over all clients; 0: default */
    uint32_t compute_weight;    /* of GPU time, beside other zones' weights; 0: default (100) */
    uint32_t compute_cap;       /* most per cent of GPU time; 0: the default, 100: none */
};

struct control_zone_stats {
    uint32_t zone;
    uint32_t clients; /* now */
    uint64_t clients_total;
    uint64_t calls;
    uint64_t launches;
    uint64_t bytes_to_device;
    uint64_t bytes_from_device;
    uint64_t memory_used;
    uint64_t memory_quota;
    uint64_t memory_shared; /* of memory_used: what its clients share, charged to none of them */
    uint64_t shared_items;
    uint64_t gpu_ns;
    uint64_t refused_handles;   /* foreign, stale or of the wrong kind */
    uint64_t refused_addresses; /* device addresses that aren't the client's */
    uint64_t protocol_errors;
    uint64_t quota_refusals;
    uint64_t worker_crashes;
};

/* A zone as the proxy keeps it: the quota with its defaults filled in. */
struct control_zone_info {
    uint32_t zone;
    char label[CONTROL_LABEL_MAX + 1];
    char path[CONTROL_PATH_MAX + 1];
    struct control_quota quota;
};

enum control_client_state {
    CONTROL_CLIENT_ACCEPTED = 1, /* connected, channel not handed over yet */
    CONTROL_CLIENT_STARTING = 2, /* its worker is preparing */
    CONTROL_CLIENT_RUNNING = 3,
    CONTROL_CLIENT_ENDING = 4, /* its worker is being killed */
};

struct control_client_stats {
    uint32_t id;  /* unique for the proxy's lifetime */
    uint32_t pid; /* of its worker; 0 when there is none (yet) */
    uint32_t state;
    uint32_t handles;
    uint64_t age_ns;
    uint64_t calls;
    uint64_t launches;
    uint64_t memory_used;
    uint64_t channel_bytes;
    uint64_t gpu_ns;
};

/* Doesn't connect yet. */
int control_client_new(const char *socket_path, struct control_client **ret_client,
                       struct gi_error *err);
void control_client_free(struct control_client *c);

/* *ret_socket_path (heap) is the zone's own channel socket, which only this
 * zone's machine may reach. Idempotent for the same id and quota (0 and the
 * default are the same); ALREADY_EXISTS for the same id with another one.
 * ZONE 0 is nobody's: INVALID_ARGUMENT. */
int control_create_zone(struct control_client *c, uint32_t zone, const char *label,
                        const struct control_quota *quota, char **ret_socket_path,
                        struct gi_error *err);
/* Ends its clients. Unknown zone: success. */
int control_drop_zone(struct control_client *c, uint32_t zone, struct gi_error *err);
int control_zone_stats(struct control_client *c, uint32_t zone,
                       struct control_zone_stats *ret_stats, struct gi_error *err);
/* Zone numbers, heap array the caller frees. */
int control_list_zones(struct control_client *c, uint32_t **ret_zones, uint32_t *ret_n,
                       struct gi_error *err);
int control_zone_info(struct control_client *c, uint32_t zone, struct control_zone_info *ret_info,
                      struct gi_error *err);
/* The zone's clients now, heap array the caller frees. */
int control_list_clients(struct control_client *c, uint32_t zone,
                         struct control_client_stats **ret_clients, uint32_t *ret_n,
                         struct gi_error *err);
/* Version and driver in use, heap string. */
int control_info(struct control_client *c, char **ret_text, struct gi_error *err);

#endif
