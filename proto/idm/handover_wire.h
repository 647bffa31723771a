/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the parties' sides of the hand-over, proto/grants among them; not for others. */
#ifndef GI_IDM_HANDOVER_WIRE_H
#define GI_IDM_HANDOVER_WIRE_H

#include <stdbool.h>

#include "idm/handover.h"

int handover_check_sizes(uint64_t ring_bytes, uint64_t arena_bytes, struct gi_error *err);
int handover_wait_readable(int sock, int timeout_ms, struct gi_error *err);
int handover_send(int sock, const struct handover_message *m, const struct handover_channel *ch,
                  struct gi_error *err);
/* Never blocks. RET_CHANNEL NULL: no descriptors may come. */
int handover_recv(int sock, enum handover_kind kind, struct handover_message *ret_message,
                  struct handover_channel *ret_channel, struct gi_error *err);
/* To a zone's socket. UNAVAILABLE: nobody is there. */
int handover_connect(const char *path, int *ret_fd, struct gi_error *err);
int handover_answer_to_error(const struct handover_message *m, struct gi_error *err);

#endif
