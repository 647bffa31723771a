/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/wire.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int agent_frame_peek(const void *buf, size_t len, size_t *ret_total, struct gi_error *err)
{
    if (len < AGENT_FRAME_HEADER)
        return 0;
    const uint8_t *b = buf;
    uint32_t payload = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    if (payload == 0 || payload > AGENT_FRAME_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "frame of %u bytes (limit %u)", payload,
                       AGENT_FRAME_MAX);
    if (len - AGENT_FRAME_HEADER < payload)
        return 0;
    *ret_total = AGENT_FRAME_HEADER + payload;
    return 1;
}

int agent_frame_append(struct gi_buf *out, const ProtobufCMessage *msg, struct gi_error *err)
{
    size_t payload = protobuf_c_message_get_packed_size(msg);
    if (payload == 0 || payload > AGENT_FRAME_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "message of %zu bytes (limit %u)", payload,
                       AGENT_FRAME_MAX);
    uint8_t *frame = malloc(AGENT_FRAME_HEADER + payload);
    if (!frame)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a frame");
    for (unsigned i = 0; i < AGENT_FRAME_HEADER; i++)
        frame[i] = (uint8_t)(payload >> 8 * i);
    protobuf_c_message_pack(msg, frame + AGENT_FRAME_HEADER);
    int rc = gi_buf_append(out, frame, AGENT_FRAME_HEADER + payload);
    free(frame);
    return rc == 0 ? 0 : gi_fail(err, GI_RESOURCE_EXHAUSTED, "send queue is full");
}

struct budget {
    size_t left;
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *b = data;
    if (size > b->left)
        return NULL;
    b->left -= size;
    return malloc(size);
}

static void budget_free(void *data, void *p)
{
    free(p);
}

static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *d, const void *bytes, size_t len,
                                struct gi_error *err)
{
    struct budget budget = {AGENT_UNPACK_MAX};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    if (len == 0 || len > AGENT_FRAME_MAX) {
        gi_fail(err, GI_INVALID_ARGUMENT, "message of %zu bytes", len);
        return NULL;
    }
    ProtobufCMessage *m = protobuf_c_message_unpack(d, &allocator, len, bytes);
    if (!m)
        gi_fail(err, GI_INVALID_ARGUMENT, "malformed %s", d->name);
    return m;
}

int agent_unpack_to(const void *data, size_t len, Gi__Agent__ToAgent **ret_msg,
                    struct gi_error *err)
{
    Gi__Agent__ToAgent *m =
        (Gi__Agent__ToAgent *)unpack(&gi__agent__to_agent__descriptor, data, len, err);
    if (!m)
        return -GI_INVALID_ARGUMENT;
    int rc = agent_check_to(m, err);
    if (rc < 0) {
        agent_to_free(m);
        return rc;
    }
    *ret_msg = m;
    return 0;
}

int agent_unpack_from(const void *data, size_t len, Gi__Agent__FromAgent **ret_msg,
                      struct gi_error *err)
{
    Gi__Agent__FromAgent *m =
        (Gi__Agent__FromAgent *)unpack(&gi__agent__from_agent__descriptor, data, len, err);
    if (!m)
        return -GI_INVALID_ARGUMENT;
    int rc = agent_check_from(m, err);
    if (rc < 0) {
        agent_from_free(m);
        return rc;
    }
    *ret_msg = m;
    return 0;
}

/* budget_alloc is malloc, so the default allocator's free fits. */
void agent_to_free(Gi__Agent__ToAgent *msg)
{
    gi__agent__to_agent__free_unpacked(msg, NULL);
}

void agent_from_free(Gi__Agent__FromAgent *msg)
{
    gi__agent__from_agent__free_unpacked(msg, NULL);
}
