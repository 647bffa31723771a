/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/record.h"

#include <signal.h>
#include <string.h>

#define END_HEAD 2u

void agent_record_head(uint8_t head[AGENT_RECORD_HEADER], enum agent_record_type type, size_t len)
{
    head[0] = (uint8_t)type;
    head[1] = (uint8_t)len;
    head[2] = (uint8_t)(len >> 8);
    head[3] = (uint8_t)(len >> 16);
}

static bool fits(unsigned type, size_t len, bool from_agent)
{
    switch (type) {
    case AGENT_RECORD_IN:
        return !from_agent && len > 0;
    case AGENT_RECORD_IN_END:
        return !from_agent && len == 0;
    case AGENT_RECORD_RESIZE:
        return !from_agent && len == 4;
    case AGENT_RECORD_SIGNAL:
        return !from_agent && len == 1;
    case AGENT_RECORD_OUT:
    case AGENT_RECORD_ERR:
        return from_agent && len > 0;
    case AGENT_RECORD_END:
        return from_agent && len >= END_HEAD && len <= END_HEAD + AGENT_RECORD_TEXT_MAX;
    default:
        return false;
    }
}

static bool content_fits(const struct agent_record *r)
{
    if (r->type == AGENT_RECORD_SIGNAL)
        return r->data[0] > 0 && r->data[0] < _NSIG;
    if (r->type == AGENT_RECORD_END)
        return r->data[1] <= GI_UNAUTHENTICATED;
    return true;
}

int agent_record_peek(const void *buf, size_t len, bool from_agent, struct agent_record *ret,
                      size_t *ret_total, struct gi_error *err)
{
    if (len < AGENT_RECORD_HEADER)
        return 0;
    const uint8_t *b = buf;
    size_t payload = b[1] | (size_t)b[2] << 8 | (size_t)b[3] << 16;
    if (payload > AGENT_RECORD_MAX || !fits(b[0], payload, from_agent))
        return gi_fail(err, GI_INVALID_ARGUMENT, "record of type %u with %zu bytes", b[0], payload);
    if (len - AGENT_RECORD_HEADER < payload)
        return 0;
    const struct agent_record r = {(enum agent_record_type)b[0], b + AGENT_RECORD_HEADER, payload};
    if (!content_fits(&r))
        return gi_fail(err, GI_INVALID_ARGUMENT, "record of type %u makes no sense", b[0]);
    *ret = r;
    *ret_total = AGENT_RECORD_HEADER + payload;
    return 1;
}

int agent_record_append(struct gi_buf *out, enum agent_record_type type, const void *data,
                        size_t len, struct gi_error *err)
{
    uint8_t head[AGENT_RECORD_HEADER];
    if (len > AGENT_RECORD_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "record of %zu bytes", len);
    agent_record_head(head, type, len);
    size_t before = out->len;
    if (gi_buf_append(out, head, sizeof(head)) == 0) {
        if (!len || gi_buf_append(out, data, len) == 0)
            return 0;
        out->len = before;
        out->data[before] = '\0';
    }
    return gi_fail(err, GI_RESOURCE_EXHAUSTED, "send queue is full");
}

int agent_record_append_end(struct gi_buf *out, int exit_code, const struct gi_error *why,
                            struct gi_error *err)
{
    uint8_t body[END_HEAD + AGENT_RECORD_TEXT_MAX];
    size_t n = why && why->code ? strnlen(why->message, AGENT_RECORD_TEXT_MAX) : 0;
    body[0] = (uint8_t)exit_code;
    body[1] = why ? (uint8_t)why->code : 0;
    if (n)
        memcpy(body + END_HEAD, why->message, n);
    return agent_record_append(out, AGENT_RECORD_END, body, END_HEAD + n, err);
}

void agent_record_size(const struct agent_record *r, uint16_t *ret_width, uint16_t *ret_height)
{
    *ret_width = (uint16_t)(r->data[0] | r->data[1] << 8);
    *ret_height = (uint16_t)(r->data[2] | r->data[3] << 8);
}

/* The text goes into logs and into CRI's UTF-8 strings. */
void agent_record_read_end(const struct agent_record *r, struct agent_record_end *ret)
{
    ret->exit_code = r->data[0];
    ret->code = (enum gi_code)r->data[1];
    size_t n = r->len - END_HEAD;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = r->data[END_HEAD + i];
        ret->text[i] = (char)(c >= ' ' && c < 0x7f ? c : '?');
    }
    ret->text[n] = '\0';
}
