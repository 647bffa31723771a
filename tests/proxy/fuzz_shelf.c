/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What workers that were taken over say to their zone's shelf. A byte of control before each
 * message: bits 0-1 whose worker, 2-3 descriptors beside it, 4 with the token of the last answer,
 * 5 cut short, 6 its worker is dead.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shelf_zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every hold is some client's, and the page says what is there. */
static void check(const struct shelf_zone *s)
{
    if (s->zone.shelf.n > SHELF_MAX_ITEMS)
        abort();
    uint32_t n = 0;
    for (unsigned i = 0; i < SHELF_BUCKETS; i++)
        n += s->zone.shelf.buckets[i] != NULL;
    if (n > s->zone.shelf.n || (n == 0 && (s->zone.shelf.n || page_memory_used(s->zone.page))))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct shelf_zone s;
    struct shelf_token last = {{0}};
    if (!shelf_zone_open(&s, 1))
        abort();
    while (size > 0) {
        uint8_t what = *data++;
        unsigned i = (what & 3) % SHELF_CLIENTS;
        struct shelf_message m = {.op = 0};
        size_t n = --size < sizeof(m) ? size : sizeof(m);
        memcpy(&m, data, n);
        data += n;
        size -= n;
        if (what & 16)
            m.token = last;
        shelf_send(&s, i, &m, what & 32 ? n : sizeof(m), s.zone.page_fd, what >> 2 & 3);
        shelf_zone_step(&s, i);
        int fd;
        if (shelf_answer(&s, i, &m, &fd) && m.code == 0)
            last = m.token;
        if (fd >= 0)
            close(fd);
        if (what & 64 && shelf_zone_has(&s, i))
            client_end(s.clients[i], "its worker is dead");
        check(&s);
    }
    shelf_zone_close(&s);
    if (s.zone.shelf.n)
        abort();
    return 0;
}
