/* SPDX-License-Identifier: Apache-2.0 */
/* First byte: 0 SPDY, 1 WebSocket v4, 2 WebSocket v5, 3 an HTTP head, 4 SPDY in a WebSocket. */
#include <stdlib.h>
#include <string.h>

#include "streaming/http.h"
#include "streaming/mux.h"
#include "streaming/remote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_opened(void *data, struct mux_stream *s)
{
    return s->type == MUX_UNKNOWN ? -1 : 0;
}

static void on_received(void *data, struct mux_stream *s, const void *bytes, size_t len, bool fin)
{
    uint16_t w;
    uint16_t h;
    if (s->type == MUX_RESIZE)
        (void)remote_parse_resize(bytes, len, &w, &h);
}

static void on_reset(void *data, struct mux_stream *s)
{
}

static void feed_in_pieces(struct mux *m, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t n = 1 + (at * 7) % 13;
        n = n < size - at ? n : size - at;
        if (m->ops->feed(m, data + at, n, NULL) < 0)
            break;
        at += n;
    }
    m->ops->goodbye(m);
    m->ops->free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct gi_buf out = GI_BUF_INIT(1 << 20);
    struct mux_events events = {.opened = on_opened, .received = on_received, .reset = on_reset};
    if (data[0] == 3) {
        char *head = strndup((const char *)data + 1, size - 1);
        struct http_request r;
        if (head)
            (void)http_parse(head, &r, NULL);
        free(head);
    } else {
        struct mux *m = data[0] == 4 ? ws_tunnel_new(&events, &out)
                        : data[0]
                            ? ws_new(&events, &out, data[0] == 1 ? 4 : 5, true, true, true, true)
                            : spdy_new(&events, &out);
        if (m)
            feed_in_pieces(m, data + 1, size - 1);
    }
    gi_buf_free(&out);
    return 0;
}
