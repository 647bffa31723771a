/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of libvgpu by themselves: its handles, and how long an image is. */
#include <elf.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "handles.h"
#include "minitest.h"
#include "module.h"

#define TAG 77
#define MAX 64

static uint64_t current;

/* What handles.c asks of the rest. */
uint64_t vg_current(void)
{
    return current;
}

static bool fresh(void)
{
    handles_close();
    current = 0;
    return handles_open(MAX, TAG) == 0;
}

static void test_fields(void)
{
    uint64_t id;
    REQUIRE(fresh());
    EXPECT_EQ(vg_new(IDM_KIND_event, &id), CUDA_SUCCESS);
    EXPECT_EQ(idm_handle_kind(id), IDM_KIND_event);
    EXPECT_EQ(idm_handle_tag(id), TAG);
    EXPECT_EQ(idm_handle_generation(id), 1);
    uint64_t all = idm_handle(IDM_KIND_stream, UINT32_MAX, UINT32_MAX, UINT32_MAX);
    EXPECT_EQ(idm_handle_kind(all), IDM_KIND_stream);
    EXPECT_EQ(idm_handle_tag(all), 0xffff);
    EXPECT_EQ(idm_handle_generation(all), IDM_MAX_GENERATION);
    EXPECT_EQ(idm_handle_index(all), IDM_MAX_HANDLES - 1);
}

static void test_stale_and_foreign(void)
{
    uint64_t id, again, out;
    REQUIRE(fresh());
    REQUIRE(vg_new(IDM_KIND_module, &id) == CUDA_SUCCESS);
    EXPECT(vg_find(IDM_KIND_module, id));
    EXPECT(!vg_find(IDM_KIND_function, id));
    EXPECT(!vg_find(IDM_KIND_module, 0));
    EXPECT(!vg_find(IDM_KIND_module, id + 1));
    EXPECT(!vg_find(IDM_KIND_module, idm_handle(IDM_KIND_module, TAG + 1, 1, 0)));
    EXPECT(!vg_find(IDM_KIND_module, idm_handle(IDM_KIND_module, TAG, 1, MAX)));
    EXPECT(!vg_find(IDM_KIND_module, idm_handle(IDM_KIND_module, TAG, 1, IDM_MAX_HANDLES - 1)));
    vg_forget(id);
    vg_forget(id); /* twice does nothing */
    EXPECT(!vg_find(IDM_KIND_module, id));
    REQUIRE(vg_new(IDM_KIND_module, &again) == CUDA_SUCCESS);
    EXPECT(again != id && idm_handle_index(again) == idm_handle_index(id));
    vg_forget(id); /* nor does a stale one */
    EXPECT(vg_find(IDM_KIND_module, again));
    EXPECT_EQ(vg_use(IDM_KIND_module, vg_pointer(id), false, &out), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(vg_use(IDM_KIND_context, vg_pointer(again), false, &out), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(vg_use(IDM_KIND_module, vg_pointer(again), false, &out), CUDA_SUCCESS);
    EXPECT(out == again);
}

static void test_limit(void)
{
    uint64_t ids[MAX], id;
    REQUIRE(fresh());
    for (unsigned i = 0; i < MAX; i++)
        EXPECT_EQ(vg_new(IDM_KIND_event, &ids[i]), CUDA_SUCCESS);
    EXPECT_EQ(vg_new(IDM_KIND_event, &id), CUDA_ERROR_OUT_OF_MEMORY);
    vg_forget(ids[13]);
    EXPECT_EQ(vg_new(IDM_KIND_event, &id), CUDA_SUCCESS);
    EXPECT_EQ(idm_handle_index(id), 13);
}

/* A place whose generations are used up is left alone: no id comes twice. */
static void test_generations_end(void)
{
    uint64_t id = 0, next = 0;
    REQUIRE(fresh());
    for (uint32_t i = 0; i < IDM_MAX_GENERATION; i++) {
        if (vg_new(IDM_KIND_event, &id) != CUDA_SUCCESS)
            break;
        vg_forget(id);
    }
    EXPECT_EQ(idm_handle_generation(id), IDM_MAX_GENERATION);
    EXPECT_EQ(vg_new(IDM_KIND_event, &next), CUDA_SUCCESS);
    EXPECT_EQ(idm_handle_index(next), 1);
    EXPECT_EQ(idm_handle_generation(next), 1);
}

static bool is_text(const void *data, const void *arg)
{
    return data && strcmp(data, arg) == 0;
}

static void test_orphans(void)
{
    uint64_t context, other, module, function, stream, foreign;
    REQUIRE(fresh());
    REQUIRE(vg_new(IDM_KIND_context, &context) == CUDA_SUCCESS);
    current = context;
    /* A context made while another is current isn't its child. */
    REQUIRE(vg_new(IDM_KIND_context, &other) == CUDA_SUCCESS);
    REQUIRE(vg_new(IDM_KIND_module, &module) == CUDA_SUCCESS);
    REQUIRE(vg_new(IDM_KIND_function, &function) == CUDA_SUCCESS);
    vg_describe(function, module, 7, strdup("name")); /* freed with it */
    REQUIRE(vg_new(IDM_KIND_stream, &stream) == CUDA_SUCCESS);
    current = other;
    REQUIRE(vg_new(IDM_KIND_stream, &foreign) == CUDA_SUCCESS);
    EXPECT(vg_find_child(IDM_KIND_function, module, context, is_text, "name") == function);
    EXPECT(vg_find_child(IDM_KIND_function, module, context, is_text, "nobody") == 0);
    EXPECT(vg_find_child(IDM_KIND_function, context, context, is_text, "name") == 0);
    vg_forget_orphans(module);
    EXPECT(!vg_find(IDM_KIND_function, function) && vg_find(IDM_KIND_module, module));
    vg_forget_orphans(context);
    EXPECT(!vg_find(IDM_KIND_module, module) && !vg_find(IDM_KIND_stream, stream));
    EXPECT(vg_find(IDM_KIND_context, context) && vg_find(IDM_KIND_context, other));
    EXPECT(vg_find(IDM_KIND_stream, foreign));
}

static void *churn(void *unused)
{
    uint64_t ids[4];
    unsigned wrong = 0;
    (void)unused;
    for (unsigned round = 0; round < 20000; round++) {
        unsigned n = 0;
        while (n < 4 && vg_new(IDM_KIND_event, &ids[n]) == CUDA_SUCCESS)
            n++;
        for (unsigned i = 0; i < n; i++) {
            wrong += !vg_find(IDM_KIND_event, ids[i]);
            vg_forget(ids[i]);
            wrong += vg_find(IDM_KIND_event, ids[i]) != NULL;
        }
    }
    return (void *)(uintptr_t)wrong;
}

static void test_threads(void)
{
    pthread_t threads[3];
    uint64_t id;
    REQUIRE(fresh());
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(pthread_create(&threads[i], NULL, churn, NULL) == 0);
    for (unsigned i = 0; i < 3; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        EXPECT(wrong == NULL);
    }
    for (unsigned i = 0; i < MAX; i++) /* every place came back */
        EXPECT_EQ(vg_new(IDM_KIND_event, &id), CUDA_SUCCESS);
    handles_close();
}

static void test_text(void)
{
    uint32_t len = 0;
    EXPECT_EQ(vg_use_text(NULL, 8, &len), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(vg_use_text("1234567", 8, &len), CUDA_SUCCESS);
    EXPECT_EQ(len, 8);
    EXPECT_EQ(vg_use_text("12345678", 8, &len), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(vg_use_text("", 8, &len), CUDA_SUCCESS);
    EXPECT_EQ(len, 1);
}

static void test_image_text(void)
{
    /* An exact-size copy: nothing behind the NUL is looked at. */
    static const char *const texts[] = {".version 6.4\n", "x",    "\x7f",
                                        "\x7f\x45",       "\x50", "\x50\xed"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t n = strlen(texts[i]) + 1;
        char *copy = malloc(n);
        REQUIRE(copy);
        memcpy(copy, texts[i], n);
        EXPECT_EQ(image_bytes(copy), n);
        EXPECT(image_unwrap(copy) == copy);
        free(copy);
    }
    EXPECT_EQ(image_bytes(""), 0);
}

static void test_image_elf(void)
{
    struct {
        Elf64_Ehdr h;
        Elf64_Shdr s[3];
        char data[104];
    } elf;
    memset(&elf, 0, sizeof(elf));
    memcpy(elf.h.e_ident, ELFMAG, SELFMAG);
    elf.h.e_ident[EI_CLASS] = ELFCLASS64;
    elf.h.e_shoff = sizeof(elf.h);
    elf.h.e_shnum = 3;
    elf.h.e_shentsize = sizeof(elf.s[0]);
    EXPECT_EQ(image_bytes(&elf), sizeof(elf.h) + sizeof(elf.s));
    elf.s[1] = (Elf64_Shdr){.sh_type = SHT_PROGBITS,
                            .sh_offset = sizeof(elf.h) + sizeof(elf.s),
                            .sh_size = sizeof(elf.data)};
    elf.s[2] = (Elf64_Shdr){.sh_type = SHT_NOBITS, .sh_offset = 4096, .sh_size = 1 << 20};
    EXPECT_EQ(image_bytes(&elf), sizeof(elf));
    elf.h.e_shnum = 0; /* extended numbering */
    elf.s[0].sh_size = 3;
    EXPECT_EQ(image_bytes(&elf), sizeof(elf));
    elf.s[1].sh_size = 1ull << 40;
    EXPECT_EQ(image_bytes(&elf), 0);
    elf.h.e_ident[EI_CLASS] = ELFCLASS32;
    EXPECT_EQ(image_bytes(&elf), 0);
}

static void test_image_fatbin(void)
{
    struct {
        uint32_t magic;
        uint16_t version;
        uint16_t header;
        uint64_t bytes;
    } fat = {0xba55ed50u, 1, 16, 1234};
    struct {
        uint32_t magic;
        uint32_t version;
        const void *data;
        const void *more;
    } wrapper = {0x466243b1u, 1, &fat, NULL};
    EXPECT(image_unwrap(&wrapper) == &fat);
    EXPECT_EQ(image_bytes(&fat), 1250);
    fat.bytes = 1ull << 40;
    EXPECT_EQ(image_bytes(&fat), 0);
}

int main(void)
{
    MT_RUN(test_fields);
    MT_RUN(test_stale_and_foreign);
    MT_RUN(test_limit);
    MT_RUN(test_generations_end);
    MT_RUN(test_orphans);
    MT_RUN(test_threads);
    MT_RUN(test_text);
    MT_RUN(test_image_text);
    MT_RUN(test_image_elf);
    MT_RUN(test_image_fatbin);
    return mt_done();
}
