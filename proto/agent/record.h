/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records: what a stream's connection (exec, attach) carries once it is open.
 * A 32-bit little-endian head, type in the low 8 bits, length in the others,
 * and at most AGENT_RECORD_MAX bytes. No state, no threads.
 */
#ifndef GI_AGENT_RECORD_H
#define GI_AGENT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define AGENT_RECORD_HEADER   4u
#define AGENT_RECORD_MAX      (32u << 10)
#define AGENT_RECORD_TEXT_MAX 400u

enum agent_record_type {
    /* to the agent */
    AGENT_RECORD_IN = 1,     /* 1.. bytes of stdin */
    AGENT_RECORD_IN_END = 2, /* empty: no more stdin */
    AGENT_RECORD_RESIZE = 3, /* width, height: 16-bit little-endian */
    AGENT_RECORD_SIGNAL = 4, /* one byte */
    /* from the agent */
    AGENT_RECORD_OUT = 16, /* 1.. bytes of stdout */
    AGENT_RECORD_ERR = 17, /* 1.. bytes of stderr */
    AGENT_RECORD_END = 18, /* the last one: exit code, error code, text of the error */
};

struct agent_record {
    enum agent_record_type type;
    const uint8_t *data;
    size_t len;
};

/* What IN_END, RESIZE, SIGNAL and END say. */
struct agent_record_end {
    int exit_code; /* 0..255 */
    enum gi_code code;
    char text[AGENT_RECORD_TEXT_MAX + 1]; /* printable ASCII */
};

void agent_record_head(uint8_t head[AGENT_RECORD_HEADER], enum agent_record_type type, size_t len);

/* Does BUF begin with a whole record of that direction? 1: yes, of *ret_total
 * bytes with the head, RET points into BUF; 0: more bytes are needed;
 * -INVALID_ARGUMENT: no such record. */
int agent_record_peek(const void *buf, size_t len, bool from_agent, struct agent_record *ret,
                      size_t *ret_total, struct gi_error *err);

/* Appends one record. RESOURCE_EXHAUSTED when OUT's ceiling doesn't let it. */
int agent_record_append(struct gi_buf *out, enum agent_record_type type, const void *data,
                        size_t len, struct gi_error *err);
int agent_record_append_end(struct gi_buf *out, int exit_code, const struct gi_error *why,
                            struct gi_error *err);

/* Contents of records that agent_record_peek has passed. */
void agent_record_size(const struct agent_record *r, uint16_t *ret_width, uint16_t *ret_height);
void agent_record_read_end(const struct agent_record *r, struct agent_record_end *ret);

#endif
