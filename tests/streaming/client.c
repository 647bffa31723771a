/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/io.h"
#include "streaming/spdy_dictionary.h"

static int connect_to(const char *url, char path[256])
{
    unsigned port = 0;
    if (sscanf(url, "http://127.0.0.1:%u%255s", &port, path) != 2)
        return -1;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 10};
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(sock);
        return -1;
    }
    return sock;
}

int client_open(struct client *c, const char *url, bool spdy, const char *protocol)
{
    char path[256];
    char text[1024];
    memset(c, 0, sizeof(*c));
    c->spdy = spdy;
    c->next_id = 1;
    c->sock = connect_to(url, path);
    if (c->sock < 0)
        return 0;
    deflateInit(&c->deflate, 9);
    deflateSetDictionary(&c->deflate, spdy_dictionary(), SPDY_DICTIONARY_LEN);
    int n = spdy ? snprintf(text, sizeof(text),
                            "POST %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: "
                            "SPDY/3.1\r\nX-Stream-Protocol-Version: %s\r\n\r\n",
                            path, protocol)
                 : snprintf(text, sizeof(text),
                            "GET %s HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n"
                            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                            "Sec-WebSocket-Protocol: %s\r\n\r\n",
                            path, protocol);
    if (gi_write_full(c->sock, text, (size_t)n) < 0)
        return 0;
    c->tunnel = !spdy && strncmp(protocol, "SPDY", 4) == 0;
    size_t len = 0;
    while (len < sizeof(text) - 1 && recv(c->sock, text + len, 1, 0) == 1) {
        text[++len] = '\0';
        if (len >= 4 && strcmp(text + len - 4, "\r\n\r\n") == 0)
            break;
    }
    if (!spdy && strncmp(text, "HTTP/1.1 101", 12) == 0 &&
        !strstr(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) /* RFC 6455's own example */
        return -1;
    return len > 12 ? atoi(text + 9) : 0; // NOLINT: a test's own bounded text
}

void client_close(struct client *c)
{
    deflateEnd(&c->deflate);
    if (c->sock >= 0)
        close(c->sock);
    c->sock = -1;
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* A masked binary message; BYTES are changed. */
static int send_message(struct client *c, uint8_t *bytes, size_t len)
{
    static const uint8_t mask[4] = {1, 2, 3, 4};
    uint8_t head[16] = {0x82, 0x80 | (len < 126 ? (uint8_t)len : 127)};
    size_t h = 2;
    if (len >= 126) {
        put32(head + 2, 0);
        put32(head + 6, (uint32_t)len);
        h = 10;
    }
    memcpy(head + h, mask, 4);
    for (size_t i = 0; i < len; i++)
        bytes[i] ^= mask[i % 4];
    int rc = gi_write_full(c->sock, head, h + 4);
    return rc < 0 ? rc : gi_write_full(c->sock, bytes, len);
}

/* SPDY's bytes, through the tunnel in messages of 7 bytes: they may be cut anywhere. */
static int send_bytes(struct client *c, const void *bytes, size_t len)
{
    if (!c->tunnel)
        return gi_write_full(c->sock, bytes, len);
    int rc = 0;
    for (size_t at = 0; rc >= 0 && at < len; at += 7) {
        uint8_t piece[7];
        size_t n = len - at < 7 ? len - at : 7;
        memcpy(piece, (const uint8_t *)bytes + at, n);
        rc = send_message(c, piece, n);
    }
    return rc;
}

uint32_t client_stream(struct client *c, const char *const *headers)
{
    uint8_t plain[1024];
    uint8_t out[2048] = {0x80, 3, 0, 1};
    uint32_t n = 0;
    size_t len = 4;
    for (; headers[2 * n]; n++) {
        for (size_t k = 0; k < 2; k++) {
            size_t l = strlen(headers[2 * n + k]);
            put32(plain + len, (uint32_t)l);
            memcpy(plain + len + 4, headers[2 * n + k], l);
            len += 4 + l;
        }
    }
    put32(plain, n);
    uint32_t id = c->next_id;
    c->next_id += 2;
    put32(out + 8, id);
    c->deflate.next_in = plain;
    c->deflate.avail_in = (uInt)len;
    c->deflate.next_out = out + 18;
    c->deflate.avail_out = sizeof(out) - 18;
    deflate(&c->deflate, Z_SYNC_FLUSH);
    size_t total = sizeof(out) - c->deflate.avail_out;
    put32(out + 4, (uint32_t)total - 8);
    send_bytes(c, out, total);
    return id;
}

int client_send(struct client *c, uint32_t id, const void *bytes, size_t len, bool fin)
{
    uint8_t head[16];
    if (c->spdy || c->tunnel) {
        put32(head, id);
        put32(head + 4, (uint32_t)len);
        head[4] = fin ? 1 : 0;
        return send_bytes(c, head, 8) < 0 ? -1 : send_bytes(c, bytes, len);
    }
    uint8_t *copy = malloc(len + 2);
    if (!copy)
        return -1;
    copy[0] = fin ? 255 : (uint8_t)id;
    if (fin) {
        copy[1] = (uint8_t)id;
        len = 1;
    } else {
        memcpy(copy + 1, bytes, len);
    }
    int rc = send_message(c, copy, len + 1);
    free(copy);
    return rc;
}

/* The head of an unmasked message: its first byte and length. */
static int recv_head(struct client *c, uint8_t *ret_first, size_t *ret_len)
{
    uint8_t head[2];
    uint8_t more[8];
    if (gi_read_full(c->sock, head, 2) < 0)
        return -1;
    size_t len = head[1] & 0x7f;
    size_t extra = len == 126 ? 2 : len == 127 ? 8 : 0;
    if (extra && gi_read_full(c->sock, more, extra) < 0)
        return -1;
    if (extra)
        len = 0;
    for (size_t i = 0; i < extra; i++)
        len = len << 8 | more[i];
    *ret_first = head[0];
    *ret_len = len;
    return 0;
}

static int recv_bytes(struct client *c, uint8_t *bytes, size_t len)
{
    while (c->tunnel && len) {
        uint8_t first;
        while (c->left == 0) {
            if (recv_head(c, &first, &c->left) < 0 || first != 0x82)
                return -1;
        }
        size_t n = c->left < len ? c->left : len;
        if (gi_read_full(c->sock, bytes, n) < 0)
            return -1;
        bytes += n;
        len -= n;
        c->left -= n;
    }
    return len ? gi_read_full(c->sock, bytes, len) : 0;
}

static int recv_spdy(struct client *c, struct frame *f)
{
    uint8_t head[8];
    if (recv_bytes(c, head, 8) < 0)
        return -1;
    f->control = head[0] & 0x80;
    f->id = ((uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3]) &
            0x7fffffff;
    f->len = (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
    f->fin = head[4] & 1;
    if (f->control)
        f->id = head[3]; /* the frame's type */
    return f->len > sizeof(f->bytes) ? -1 : recv_bytes(c, f->bytes, f->len);
}

int client_recv(struct client *c, struct frame *f)
{
    memset(f, 0, offsetof(struct frame, bytes));
    if (c->spdy || c->tunnel)
        return recv_spdy(c, f);
    uint8_t first;
    if (recv_head(c, &first, &f->len) < 0)
        return -1;
    f->control = (first & 0x0f) >= 8;
    uint8_t channel = 0;
    if (f->len > sizeof(f->bytes))
        return -1;
    if (!f->control && f->len) {
        if (gi_read_full(c->sock, &channel, 1) < 0)
            return -1;
        f->len--;
    }
    f->id = f->control ? first & 0x0f : channel;
    return gi_read_full(c->sock, f->bytes, f->len);
}

void client_answer_free(struct client_answer *a)
{
    for (int i = 0; i < 5; i++)
        free(a->text[i]);
}

void client_read_all(struct client *c, const uint32_t ids[5], struct client_answer *a)
{
    static struct frame f;
    memset(a, 0, sizeof(*a));
    for (int i = 0; i < 5; i++)
        a->text[i] = calloc(1, 1);
    while (client_recv(c, &f) == 0) {
        if (f.control && !c->spdy && f.id == 8)
            return;
        bool known = f.control;
        for (int i = 0; i < 5 && !f.control; i++) {
            if (ids[i] != f.id)
                continue;
            known = true;
            a->text[i] = realloc(a->text[i], a->len[i] + f.len + 1);
            memcpy(a->text[i] + a->len[i], f.bytes, f.len);
            a->len[i] += f.len;
            a->text[i][a->len[i]] = '\0';
        }
        a->strange += !known;
    }
}

const uint32_t client_ws_ids[5] = {0, 1, 2, 3, 4};

void client_spdy_streams(struct client *c, bool in, bool tty, uint32_t ids[5])
{
    static const char *const names[] = {"stdin", "stdout", "stderr", "error", "resize"};
    const bool wanted[] = {in, true, !tty, true, tty};
    for (int i = 4; i >= 0; i--) {
        const char *headers[] = {"streamtype", names[i], NULL};
        ids[i] = wanted[i] ? client_stream(c, headers) : UINT32_MAX;
    }
}
