/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever arrives on the agent's or the runtime's socket: frames, messages, checks. */
#include <stdint.h>
#include <string.h>

#include "agent/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_frame(const uint8_t *payload, size_t len)
{
    Gi__Agent__FromAgent *from = NULL;
    Gi__Agent__ToAgent *to = NULL;
    struct gi_error err = GI_ERROR_INIT;
    if (agent_unpack_from(payload, len, &from, &err) == 0) {
        struct gi_buf again = GI_BUF_INIT(AGENT_FRAME_MAX * 2u);
        agent_frame_append(&again, &from->base, &err);
        gi_buf_free(&again);
        agent_from_free(from);
    }
    if (agent_unpack_to(payload, len, &to, &err) == 0) {
        struct gi_buf again = GI_BUF_INIT(AGENT_FRAME_MAX * 2u);
        agent_frame_append(&again, &to->base, &err);
        gi_buf_free(&again);
        agent_to_free(to);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;
    size_t total = 0;
    while (agent_frame_peek(data + at, size - at, &total, NULL) > 0) {
        one_frame(data + at + AGENT_FRAME_HEADER, total - AGENT_FRAME_HEADER);
        at += total;
    }
    return 0;
}
