/* SPDX-License-Identifier: Apache-2.0 */
/* The export tables over a driver made up here; the self-test's digest. Built
 * twice: with the self-test's answer and without. */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// NOLINTNEXTLINE(bugprone-suspicious-include): its digest is no name of its own
#include "../../proto/idm/self_test.c"
#include "minitest.h"

/* --- A driver ------------------------------------------------------------------ */

static CUcontext current;

CUresult cuCtxGetCurrent(CUcontext *ctx)
{
    *ctx = current;
    return CUDA_SUCCESS;
}

CUresult export_primary_context(CUcontext *ctx, CUdevice dev)
{
    *ctx = (CUcontext)(uintptr_t)(0x100 + dev);
    return CUDA_SUCCESS;
}

static int devices = 1;
static char first_byte;

CUresult cuDriverGetVersion(int *version)
{
    *version = 13000;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    *count = devices;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
    uuid->bytes[0] = first_byte;
    return dev < devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attrib, CUdevice dev)
{
    *value = (int)attrib + dev;
    return CUDA_SUCCESS;
}

/* Modules are the number of their functions. */
CUresult cuModuleGetFunctionCount(unsigned *n, CUmodule module)
{
    *n = (unsigned)(uintptr_t)module;
    return module ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuModuleEnumerateFunctions(CUfunction *all, unsigned n, CUmodule module)
{
    for (unsigned i = 0; i < n; i++)
        all[i] = (CUfunction)(0x1000 * (uintptr_t)module + i);
    return CUDA_SUCCESS;
}

/* --- Tests --------------------------------------------------------------------- */

typedef CUresult put_function(CUcontext ctx, void *key, void *value,
                              void (*ends)(CUcontext, void *, void *));
typedef CUresult delete_function(CUcontext ctx, void *key);
typedef CUresult get_function(void **value, CUcontext ctx, void *key);
typedef CUresult self_test_function(uint32_t version, uint64_t seconds, uint8_t answer[16]);

/* UUID as 32 digits. */
static void *const *table(const char *digits)
{
    CUuuid id;
    const void *t = NULL;
    for (unsigned i = 0; i < 16; i++) {
        char byte[3] = {digits[2 * i], digits[2 * i + 1], 0};
        id.bytes[i] = (char)strtoul(byte, NULL, 16);
    }
    return cuGetExportTable(&t, &id) == CUDA_SUCCESS ? t : NULL;
}

#define STORAGE   "c693336e1121df11a8c368f355d89593"
#define INTEGRITY "d4082055bde6704b8d34ba123c66e1f2"
#define MODULES   "6e163fbeb958444d835ce182aff1991e"
#define RUNTIME   "6bd5fb6c5bf4e74a8987d93912fd9df9"

struct told {
    unsigned n;
    uintptr_t sum, owner;
};

static void tell(void *opaque, CUfunction fn, uint64_t owner)
{
    struct told *t = opaque;
    t->n++;
    t->sum += (uintptr_t)fn;
    t->owner = owner;
}

typedef int functions_function(CUcontext, CUmodule, void (*)(void *, CUfunction, uint64_t), void *);

static void functions_of_a_module(void)
{
    struct told told = {0};
    functions_function *each = (functions_function *)table(MODULES)[7];
    EXPECT_EQ(each(NULL, (CUmodule)3, tell, &told), 3);
    EXPECT_EQ(told.n, 3);
    EXPECT_EQ(told.sum, 3 * 0x3000 + 3);
    EXPECT_EQ(told.owner, 3);
    EXPECT_EQ(each(NULL, NULL, tell, &told), 0);
    EXPECT_EQ(each(NULL, (CUmodule)3, NULL, &told), 0);
    EXPECT_EQ(told.n, 3);
}

static void sizes(void)
{
    static const struct {
        const char *id;
        unsigned slots;
    } known[] = {{RUNTIME, 13},
                 {"a094798c2e742e7493f20800200c0a66", 7},
                 {"42d85a8123f6cb478298f6e78a3aecdc", 4},
                 {"263e88607cd2614392f6bbd5006dfa7e", 4},
                 {INTEGRITY, 3},
                 {"21318c60971432488ca641ff7324c8f2", 52},
                 {"1734dc26800d47458726c0f1e7dd8bca", 5},
                 {"6e163fbeb958444d835ce182aff1991e", 8}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        void *const *t = table(known[i].id);
        REQUIRE(t);
        size_t slots = (size_t)(uintptr_t)t[0] / sizeof(void *);
        EXPECT(slots >= known[i].slots);
        for (size_t k = 1; k < slots; k++)
            EXPECT(t[k] != NULL);
    }
    EXPECT(!table("00000000000000000000000000000000"));
    EXPECT(!table("6bd5fb6c5bf4e74a8987d93912fd9df8"));
    CUuuid id = {{0}};
    const void *t;
    EXPECT_EQ(cuGetExportTable(NULL, &id), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuGetExportTable(&t, NULL), CUDA_ERROR_INVALID_VALUE);
}

static void primary(void)
{
    CUresult (*get)(CUcontext *, CUdevice);
    CUcontext c = NULL;
    void *const *t = table(RUNTIME);
    REQUIRE(t);
    memcpy(&get, &t[2], sizeof(get));
    EXPECT_EQ(get(&c, 3), CUDA_SUCCESS);
    EXPECT_EQ((uintptr_t)c, 0x103);
}

static unsigned ended;
static void *last_value;

static void ends(CUcontext ctx, void *k, void *value)
{
    ended++;
    last_value = value;
    EXPECT(ctx && k);
}

static put_function *put;
static delete_function *drop;
static get_function *get;

static bool storage_functions(void)
{
    void *const *t = table(STORAGE);
    if (t) {
        memcpy(&put, &t[0], sizeof(put));
        memcpy(&drop, &t[1], sizeof(drop));
        memcpy(&get, &t[2], sizeof(get));
    }
    return t != NULL;
}

static void storage(void)
{
    CUcontext a = (CUcontext)8, b = (CUcontext)16;
    char k1, k2;
    void *v = NULL;
    REQUIRE(storage_functions());
    current = NULL;
    EXPECT_EQ(get(&v, NULL, &k1), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(put(NULL, &k1, &v, NULL), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(get(&v, a, &k1), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(put(a, &k1, &k1, ends), CUDA_SUCCESS);
    EXPECT_EQ(put(a, &k2, &k2, ends), CUDA_SUCCESS);
    EXPECT_EQ(put(b, &k1, &k2, ends), CUDA_SUCCESS);
    EXPECT_EQ(get(&v, a, &k1), CUDA_SUCCESS);
    EXPECT(v == &k1);
    current = b;
    EXPECT_EQ(get(&v, NULL, &k1), CUDA_SUCCESS);
    EXPECT(v == &k2);
    EXPECT_EQ(put(a, &k1, &k2, ends), CUDA_SUCCESS); /* again: replaced */
    EXPECT_EQ(get(&v, a, &k1), CUDA_SUCCESS);
    EXPECT(v == &k2);
    EXPECT_EQ(drop(a, &k2), CUDA_SUCCESS);
    EXPECT_EQ(drop(a, &k2), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(get(&v, a, &k2), CUDA_ERROR_INVALID_HANDLE);
    export_context_ends(a);
    EXPECT_EQ(ended, 1);
    EXPECT(last_value == &k2);
    EXPECT_EQ(get(&v, a, &k1), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(get(&v, b, &k1), CUDA_SUCCESS);
    export_forget();
    EXPECT_EQ(ended, 1);
    EXPECT_EQ(get(&v, b, &k1), CUDA_ERROR_INVALID_HANDLE);
    uintptr_t n = 1;
    while (n < 10000 && put(b, (void *)n, &v, NULL) == CUDA_SUCCESS)
        n++;
    EXPECT(n > 200 && n < 10000);
    export_context_ends(b);
    EXPECT_EQ(put(b, &k1, &v, NULL), CUDA_SUCCESS);
    export_context_ends(b);
}

static _Atomic bool stop;

static void *disturb(void *unused)
{
    (void)unused;
    CUcontext other = (CUcontext)24;
    while (!stop) {
        for (uintptr_t i = 1; i < 8; i++)
            put(other, (void *)i, (void *)i, NULL);
        export_context_ends(other);
    }
    return NULL;
}

/* Whoever reads while others write sees what it put there. */
static void storage_and_threads(void)
{
    CUcontext a = (CUcontext)8;
    pthread_t t;
    unsigned wrong = 0;
    REQUIRE(storage_functions());
    EXPECT_EQ(put(a, &t, &wrong, NULL), CUDA_SUCCESS);
    REQUIRE(pthread_create(&t, NULL, disturb, NULL) == 0);
    for (unsigned i = 0; i < 200000; i++) {
        void *v = NULL;
        wrong += get(&v, a, &t) != CUDA_SUCCESS || v != &wrong;
    }
    stop = true;
    pthread_join(t, NULL);
    EXPECT_EQ(wrong, 0);
    export_context_ends(a);
}

#ifdef GI_CUDART_INTEROP

static bool digest_is(const char *text, const char *expected)
{
    struct md2 m;
    uint8_t digest[MD2_BLOCK];
    char hex[2 * MD2_BLOCK + 1] = "";
    memset(&m, 0, sizeof(m));
    md2_add(&m, text, strlen(text));
    md2_end(&m, digest);
    for (unsigned i = 0; i < MD2_BLOCK; i++)
        snprintf(hex + (size_t)2 * i, 3, "%02x", digest[i]);
    return strcmp(hex, expected) == 0;
}

/* RFC 1319, A.5. */
static void digest(void)
{
    EXPECT(digest_is("", "8350e5a3e24c153df2275c9f80692773"));
    EXPECT(digest_is("a", "32ec01ec4a6dac72c0ab96fb34c0b5d1"));
    EXPECT(digest_is("abc", "da853b0d3f88d99b30283a69e6ded6bb"));
    EXPECT(digest_is("message digest", "ab4f496bfb2a530b219ff33031fe06b0"));
    EXPECT(digest_is("abcdefghijklmnopqrstuvwxyz", "4e8ddff3650292ab5a4108c3aa47940b"));
    EXPECT(digest_is(
        "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
        "d5976f79d83d3a0dc9806c3c66f3efd8"));
}

static void answers(void)
{
    self_test_function *ask;
    uint8_t a[16], b[16];
    void *const *t = table(INTEGRITY);
    REQUIRE(t);
    memcpy(&ask, &t[1], sizeof(ask));
    EXPECT_EQ(ask(13000, 1, NULL), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(ask(13000, 1, a), CUDA_SUCCESS);
    EXPECT_EQ(ask(12080, 99, b), CUDA_SUCCESS);
    EXPECT(memcmp(a, b, 16) == 0 && a[0] == 0x5c && a[15] == 0x8e);
    EXPECT_EQ(ask(13002, 1, a), CUDA_SUCCESS);
    EXPECT_EQ(ask(13002, 1, b), CUDA_SUCCESS);
    EXPECT(memcmp(a, b, 16) == 0);
    EXPECT_EQ(ask(13002, 2, b), CUDA_SUCCESS);
    EXPECT(memcmp(a, b, 16) != 0);
    first_byte = 1;
    EXPECT_EQ(ask(13002, 1, b), CUDA_SUCCESS);
    EXPECT(memcmp(a, b, 16) != 0);
    first_byte = 0;
    devices = 2;
    EXPECT_EQ(ask(13002, 1, b), CUDA_SUCCESS);
    EXPECT(memcmp(a, b, 16) != 0);
}

#else

static void answers(void)
{
    self_test_function *ask;
    uint8_t a[16];
    void *const *t = table(INTEGRITY);
    REQUIRE(t);
    memcpy(&ask, &t[1], sizeof(ask));
    EXPECT_EQ(ask(13000, 1, a), CUDA_ERROR_NOT_SUPPORTED);
    EXPECT_EQ(ask(13002, 1, a), CUDA_ERROR_NOT_SUPPORTED);
}

#endif

int main(void)
{
    MT_RUN(sizes);
    MT_RUN(primary);
    MT_RUN(functions_of_a_module);
    MT_RUN(storage);
    MT_RUN(storage_and_threads);
#ifdef GI_CUDART_INTEROP
    MT_RUN(digest);
#endif
    MT_RUN(answers);
    return mt_done();
}
