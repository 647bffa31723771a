/* SPDX-License-Identifier: Apache-2.0 */
#include "streaming/mux.h"

#include <string.h>

struct mux_stream *mux_find(struct mux *m, enum mux_type type)
{
    for (size_t i = 0; i < MUX_MAX_STREAMS; i++) {
        if (m->streams[i].open && m->streams[i].type == type)
            return &m->streams[i];
    }
    return NULL;
}

struct mux_stream *mux_by_id(struct mux *m, uint32_t id)
{
    for (size_t i = 0; i < MUX_MAX_STREAMS; i++) {
        if (m->streams[i].open && m->streams[i].id == id)
            return &m->streams[i];
    }
    return NULL;
}

struct mux_stream *mux_add(struct mux *m, uint32_t id)
{
    for (size_t i = 0; i < MUX_MAX_STREAMS; i++) {
        struct mux_stream *s = &m->streams[i];
        if (s->open)
            continue;
        memset(s, 0, sizeof(*s));
        s->open = true;
        s->id = id;
        s->type = MUX_UNKNOWN;
        return s;
    }
    return NULL;
}
