/* SPDX-License-Identifier: Apache-2.0 */
/* A consumer over memory that says anything: eight bytes of head, eight of
 * tail for a producer, then what is in the ring. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "idm/ring.h"
#include "idm_wire.h"

#define RING_BYTES (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void consume(void *memory)
{
    /* The exact room, so that a sanitizer sees a byte too many. */
    const uint32_t room = 4096;
    uint8_t *payload = malloc(room);
    struct idm_consumer c;
    struct idm_header h;
    if (payload && idm_consumer_init(&c, memory, RING_BYTES, true) == 0) {
        while (idm_next(&c, &h, payload, room) == 1)
            idm_decode_any(h.msg_type, h.flags & IDM_FLAG_REPLY, payload, h.payload_len);
    }
    free(payload);
}

static void produce(void *memory)
{
    struct idm_producer p;
    void *to;
    if (idm_producer_init(&p, memory, RING_BYTES, true) < 0)
        return;
    for (uint32_t i = 0; i < 64 && idm_reserve(&p, i * 97, &to) == 0; i++) {
        memset(to, 0x5a, i * 97);
        idm_publish(&p, IDM_hello, i, 0, i * 97);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct idm_layout l;
    if (size < 16 || !idm_layout(RING_BYTES, &l))
        return 0;
    uint8_t *memory = aligned_alloc(4096, RING_BYTES);
    if (!memory)
        return 0;
    memset(memory, 0, RING_BYTES);
    struct idm_ring_page *page = (struct idm_ring_page *)memory;
    uint64_t words[2];
    memcpy(words, data, sizeof(words));
    atomic_store(&page->submission.head, words[0]);
    size_t n = size - 16 < l.submission_bytes ? size - 16 : l.submission_bytes;
    memcpy(memory + l.submission_at, data + 16, n);
    consume(memory);
    atomic_store(&page->submission.head, 0);
    atomic_store(&page->submission.tail, words[1]);
    produce(memory);
    free(memory);
    return 0;
}
