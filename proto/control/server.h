/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy's end of the control protocol, without its sockets: one packet in,
 * one packet out. Connections, credentials and time are the caller's.
 */
#ifndef GI_CONTROL_SERVER_H
#define GI_CONTROL_SERVER_H

#include "control/messages.h"

/* One function per call of messages.h: fills *ret_response (zeroed before) and
 * returns 0, or -code with ERR set. All must be set. */
struct control_ops {
#define CONTROL_OP(number, name, request, response)                                                \
    int (*name)(void *data, const struct control_##request *req,                                   \
                struct control_##response *ret_response, struct gi_error *err);
    CONTROL_CALLS(CONTROL_OP)
#undef CONTROL_OP
};

/* Decodes the request IN, calls its function and encodes the response or the
 * failure into OUT (CONTROL_MAX_MESSAGE bytes). Returns the bytes to send.
 * -code when there is nothing to answer to (no sound header, or a response):
 * the connection is to be closed. */
int control_serve(const struct control_ops *ops, void *data, const void *in, size_t len, void *out,
                  struct gi_error *err);

#endif
