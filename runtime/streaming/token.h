/* SPDX-License-Identifier: Apache-2.0 */
/* Requests waiting for their connection, each under a one-time random token. */
#ifndef GI_STREAMING_TOKEN_H
#define GI_STREAMING_TOKEN_H

#include "streaming/streaming.h"

#define TOKEN_LENGTH 32 /* hex digits */
#define TOKEN_MAX    1024

struct token_store;

/* A request with everything it points to, in one heap block. */
struct streaming_request *streaming_request_copy(const struct streaming_request *r);

struct token_store *token_store_new(int lifetime_ms);
void token_store_free(struct token_store *t);
int token_put(struct token_store *t, const struct streaming_request *r,
              char ret_token[TOKEN_LENGTH + 1], struct gi_error *err);
/* The request (the caller frees it), once; NULL for an unknown, used or expired
 * token or one of another kind. */
struct streaming_request *token_take(struct token_store *t, enum streaming_kind kind,
                                     const char *token);

#endif
