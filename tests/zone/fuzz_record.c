/* SPDX-License-Identifier: Apache-2.0 */
/* What arrives on an exec's or attachment's connection, at either end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct agent_record *r)
{
    uint16_t width;
    uint16_t height;
    struct agent_record_end end;
    if (r->type == AGENT_RECORD_RESIZE)
        agent_record_size(r, &width, &height);
    if (r->type != AGENT_RECORD_END)
        return;
    agent_record_read_end(r, &end);
    for (const char *p = end.text; *p; p++) {
        if (*p < ' ' || *p > '~')
            abort();
    }
}

static void walk(const uint8_t *data, size_t size, bool from_agent)
{
    struct agent_record r;
    size_t total = 0;
    struct gi_buf again = GI_BUF_INIT(AGENT_RECORD_HEADER + AGENT_RECORD_MAX);
    while (agent_record_peek(data, size, from_agent, &r, &total, NULL) > 0) {
        look(&r);
        /* What can be read can be written, to the same bytes. */
        gi_buf_consume(&again, again.len);
        if (agent_record_append(&again, r.type, r.data, r.len, NULL) < 0 || again.len != total ||
            memcmp(again.data, data, total) != 0)
            abort();
        data += total;
        size -= total;
    }
    gi_buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    walk(data + 1, size - 1, data[0] & 1);
    return 0;
}
