/* SPDX-License-Identifier: Apache-2.0 */
/* A zone of the broker's with clients that have no worker but us: its shelf, by itself. */
#ifndef GI_TESTS_PROXY_SHELF_ZONE_H
#define GI_TESTS_PROXY_SHELF_ZONE_H

#include <stdbool.h>

#include "broker.h"

#define SHELF_CLIENTS 3

struct shelf_zone {
    struct proxy_options options;
    struct broker broker;
    struct zone zone;
    struct client *clients[SHELF_CLIENTS];
    int worker[SHELF_CLIENTS]; /* their workers' ends */
};

bool shelf_zone_open(struct shelf_zone *s, uint32_t number);
void shelf_zone_close(struct shelf_zone *s);
/* The broker hasn't ended client I. */
bool shelf_zone_has(const struct shelf_zone *s, unsigned i);
/* The broker looks at what client I's worker has sent. */
void shelf_zone_step(struct shelf_zone *s, unsigned i);
/* LEN bytes from client I's worker with NFDS times FD (at most 4). */
bool shelf_send(struct shelf_zone *s, unsigned i, const void *bytes, size_t len, int fd,
                unsigned nfds);
/* The answer, if there is one; *RET_FD (-1: none) is the caller's. */
bool shelf_answer(struct shelf_zone *s, unsigned i, struct shelf_message *ret_message, int *ret_fd);

#endif
