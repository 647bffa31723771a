/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker: zones, their clients, and the processes that serve them. One
 * thread, no CUDA. Invariants and the diagram of a client: proxy/README.md.
 */
#ifndef GI_PROXY_BROKER_H
#define GI_PROXY_BROKER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "audit.h"
#include "base/error.h"
#include "control/messages.h"
#include "loop.h"
#include "options.h"
#include "page.h"
#include "share.h"
#include "shelf.h"
#include "worker_log.h"

struct broker;
struct zone;

enum client_state {
    CLIENT_ACCEPTED = CONTROL_CLIENT_ACCEPTED,
    CLIENT_STARTING = CONTROL_CLIENT_STARTING,
    CLIENT_RUNNING = CONTROL_CLIENT_RUNNING,
    CLIENT_ENDING = CONTROL_CLIENT_ENDING,
};

struct client {
    struct client *next; /* in its zone */
    struct zone *zone;
    uint32_t id;
    uint32_t slot; /* in the zone's page */
    uint32_t tag;  /* of the client's handles, 1..65535 */
    enum client_state state;
    int64_t since_ns; /* of its state, CLOCK_MONOTONIC */
    int64_t accepted_ns;
    struct source handover; /* the agent's connection; its end is the client's end */
    struct source status;   /* the worker's word that it is ready */
    struct source worker;   /* pidfd */
    struct source shelf;    /* what the worker asks of the zone's shelf */
    struct worker_log log;
    pid_t pid;              /* 0: no worker */
    uint64_t channel_bytes; /* counted against the zone's quota */
};

struct zone {
    struct zone *next;
    struct broker *broker;
    uint32_t number;
    bool dropped; /* by control: no new clients; freed with its last one */
    bool dropping;
    char label[CONTROL_LABEL_MAX + 1];
    char path[CONTROL_PATH_MAX + 1];
    struct control_quota quota; /* defaults filled in */
    struct source listener;
    int page_fd;
    struct zone_page *page;
    struct client *clients;
    uint32_t n_clients;
    uint64_t channel_bytes;
    /* Of clients that are gone. */
    struct page_counters totals;
    uint64_t clients_total;
    uint64_t worker_crashes;
    uint64_t broker_protocol_errors; /* bad hand-overs */
    uint64_t broker_quota_refusals;
    struct audit audit;
    struct zone_share share;
    struct shelf shelf;
};

#define MAX_CONTROL_CONNECTIONS 32

struct control_connection {
    struct broker *broker;
    struct source socket; /* off: the entry is free */
    int64_t used_ns;
};

struct broker {
    const struct proxy_options *options;
    struct loop *loop;
    bool stopping;
    struct source signals;
    struct source tick;
    unsigned quiet_ticks; /* in a row */
    bool rests;           /* the tick is off until something happens */
    struct source control;
    struct control_connection connections[MAX_CONTROL_CONNECTIONS];
    struct zone *zones;
    uint32_t n_zones;
    uint32_t n_clients; /* over all zones */
    uint32_t next_client_id;
    uint32_t next_tag;
    struct share share;
    sigset_t parent_mask; /* signal mask to give to workers */
};

/* To be called when n_clients has changed. */
void broker_clients_changed(struct broker *b);
/* To be called when something happens that the tick looks after: it goes on if it rested. */
void broker_watch(struct broker *b);

/* Runs until SIGTERM or SIGINT. */
int broker_run(const struct proxy_options *options, struct gi_error *err);

/* control.c: the control socket. */
int control_start(struct broker *b, struct gi_error *err);
void control_stop(struct broker *b);

/* zone.c */
int zone_create(struct broker *b, uint32_t number, const char *label,
                const struct control_quota *quota, struct zone **ret_zone, struct gi_error *err);
/* NULL when there is none (dropped ones don't count). */
struct zone *zone_find(struct broker *b, uint32_t number);
/* Ends its clients; the zone goes with the last of them. */
void zone_drop(struct zone *z);
/* Called when a client has gone: frees a dropped zone that has none left. */
void zone_release(struct zone *z);
void zone_stats(struct zone *z, struct control_zone_stats *ret_stats);
/* Writes what was refused since the last time to the log. */
void zone_audit(struct zone *z);

/* client.c: the life of a client (diagram in README.md). */
void client_accept(struct zone *z, int fd);
void client_end(struct client *c, const char *why);
/* Time-outs of hand-over and start. */
void client_tick(struct client *c, int64_t now_ns);
void client_stats(const struct client *c, struct control_client_stats *ret_stats);

#endif
