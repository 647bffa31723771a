/* SPDX-License-Identifier: Apache-2.0 */
/* Images a client may send: whose sizes are true may pass. */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "minitest.h"
#include "worker/internal.h"

/* On the heap, exactly as long: a byte too far is seen. */
static bool valid(const void *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (!copy)
        return false;
    memcpy(copy, data, bytes);
    bool v = worker_image_valid(copy, bytes);
    free(copy);
    return v;
}

static size_t fatbin(uint8_t *out, uint64_t payload, uint32_t header)
{
    uint32_t magic = 0xba55ed50u;
    uint16_t version = 1, header_bytes = 16, kind = 1;
    uint64_t all = header + payload;
    memset(out, 0, 256);
    memcpy(out, &magic, 4);
    memcpy(out + 4, &version, 2);
    memcpy(out + 6, &header_bytes, 2);
    memcpy(out + 8, &all, 8);
    memcpy(out + 16, &kind, 2);
    memcpy(out + 20, &header, 4);
    memcpy(out + 24, &payload, 8);
    return 16 + 64 + 8;
}

static void test_fatbins(void)
{
    uint8_t b[256];
    size_t n = fatbin(b, 8, 64);
    EXPECT(valid(b, n));
    for (size_t i = 4; i < n; i++) /* 0 to 3 are too short to be anything but text */
        EXPECT(!valid(b, i));
    fatbin(b, UINT64_MAX - 10, 64);
    EXPECT(!valid(b, n));
    fatbin(b, 8, 0); /* an entry without a header would be read for ever */
    EXPECT(!valid(b, n));
    fatbin(b, 8, 0xffffffffu);
    EXPECT(!valid(b, n));
}

/* One fatbin behind the other: each is looked at, and the driver gets a wrapper of ours. */
static void test_parts(void)
{
    uint8_t b[1024];
    void *room = NULL;
    size_t n = fatbin(b, 8, 64), all = 3 * n;
    fatbin(b + n, 8, 64);
    fatbin(b + 2 * n, 8, 64);
    EXPECT(valid(b, all));
    EXPECT(valid(b, all + 40)); /* what is behind them is none of them */
    const uint64_t *w = worker_image_for_driver(b, all, &room);
    REQUIRE(w && room);
    EXPECT_EQ(w[0], 0x2466243b1ull);
    EXPECT_EQ(w[1], (uintptr_t)b);
    const uint64_t *part = (const uint64_t *)(uintptr_t)w[2];
    EXPECT(part[0] == (uintptr_t)b + n && part[1] == (uintptr_t)b + 2 * n && part[2] == 0);
    free(room);
    EXPECT(worker_image_for_driver(b, n, &room) == (void *)b && !room);
    EXPECT(!valid(b, all - 1));
    EXPECT(!valid(b, 2 * n + 20));
    fatbin(b + n, UINT64_MAX - 100, 64);
    EXPECT(!valid(b, all));
    fatbin(b + n, 8, 0);
    EXPECT(!valid(b, all));
}

static void test_wrappers_are_never_followed(void)
{
    uint64_t wrapper[3] = {0x1466243b1ull, 0x4141414141414141ull, 0};
    EXPECT(!valid(wrapper, sizeof(wrapper)));
}

static void test_elf(void)
{
    struct {
        Elf64_Ehdr h;
        Elf64_Shdr s[2];
        char data[16];
    } e = {.h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB},
                 .e_shoff = sizeof(Elf64_Ehdr),
                 .e_shnum = 2,
                 .e_shentsize = sizeof(Elf64_Shdr)}};
    e.s[1] = (Elf64_Shdr){.sh_type = SHT_PROGBITS,
                          .sh_offset = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Shdr),
                          .sh_size = 16};
    EXPECT(valid(&e, sizeof(e)));
    EXPECT(!valid(&e, sizeof(e) - 1));
    e.s[1].sh_size = UINT64_MAX;
    EXPECT(!valid(&e, sizeof(e)));
    e.s[1].sh_type = SHT_NOBITS;
    EXPECT(valid(&e, sizeof(e)));
    e.h.e_shnum = 60000;
    EXPECT(!valid(&e, sizeof(e)));
    e.h.e_shnum = 2;
    e.h.e_shoff = UINT64_MAX - 64;
    EXPECT(!valid(&e, sizeof(e)));
    EXPECT(!valid(&e, 20));
}

static void test_text(void)
{
    EXPECT(valid(".version 8.0", 12));
    EXPECT(valid("", 0));
}

int main(void)
{
    MT_RUN(test_fatbins);
    MT_RUN(test_parts);
    MT_RUN(test_wrappers_are_never_followed);
    MT_RUN(test_elf);
    MT_RUN(test_text);
    return mt_done();
}
