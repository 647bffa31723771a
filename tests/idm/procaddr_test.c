/* SPDX-License-Identifier: Apache-2.0 */
/* cuGetProcAddress of a libcuda: the right form of each call or none.
 *   procaddr_test LIBCUDA REQUESTS */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "cu.h"
#include "minitest.h"
#include "node.h"

static void *library;
static const char *requests;
static __typeof__(cuGetProcAddress_v2) *get;

static void *find(const char *name, int version, uint64_t flags, CUresult expected, int state)
{
    void *fn = &fn;
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
    EXPECT_EQ(get(name, &fn, version, flags, &status), expected);
    EXPECT_EQ(status, state);
    return fn;
}

/* NAME is answered with SYMBOL. */
static void gives(const char *name, int version, uint64_t flags, const char *symbol)
{
    void *fn = find(name, version, flags, CUDA_SUCCESS, CU_GET_PROC_ADDRESS_SUCCESS);
    if (!fn || fn != dlsym(library, symbol)) {
        fprintf(stderr, "%s, version %d, flags %d isn't %s\n", name, version, (int)flags, symbol);
        mt_failed++;
    }
}

static void unknown(const char *name, int version, uint64_t flags)
{
    EXPECT(!find(name, version, flags, CUDA_ERROR_NOT_FOUND, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND));
}

static void too_new(const char *name, int version, uint64_t flags)
{
    EXPECT(!find(name, version, flags, CUDA_ERROR_NOT_FOUND,
                 CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT));
}

static void forms(void)
{
    const uint64_t own = CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    const uint64_t legacy = CU_GET_PROC_ADDRESS_LEGACY_STREAM;
    gives("cuInit", 2000, 0, "cuInit");
    gives("cuMemAlloc", 12000, 0, "cuMemAlloc_v2");
    gives("cuDeviceGetUuid", 9020, 0, "cuDeviceGetUuid");
    gives("cuDeviceGetUuid", 11030, 0, "cuDeviceGetUuid");
    gives("cuDeviceGetUuid", 11040, 0, "cuDeviceGetUuid_v2");
    gives("cuCtxGetDevice", 12090, 0, "cuCtxGetDevice");
    gives("cuCtxGetDevice", 13000, 0, "cuCtxGetDevice_v2");
    gives("cuDevicePrimaryCtxRelease", 7000, 0, "cuDevicePrimaryCtxRelease");
    gives("cuDevicePrimaryCtxRelease", 11000, 0, "cuDevicePrimaryCtxRelease_v2");
    gives("cuGetProcAddress", 11030, 0, "cuGetProcAddress");
    gives("cuGetProcAddress", 13000, 0, "cuGetProcAddress_v2");
    gives("cuLaunchKernel", 13000, 0, "cuLaunchKernel");
    gives("cuLaunchKernel", 13000, legacy, "cuLaunchKernel");
    gives("cuLaunchKernel", 13000, own, "cuLaunchKernel_ptsz");
    gives("cuMemcpyHtoD", 13000, own, "cuMemcpyHtoD_v2_ptds");
    gives("cuInit", 13000, own, "cuInit"); /* there is but one */
    too_new("cuLaunchKernel", 4000, own);
    too_new("cuMemPoolCreate", 2000, 0);
    unknown("cuNoSuchCall", 13000, 0);
    unknown("", 13000, 0);
    unknown("cuzzz", 13000, 0);
    unknown("cuMemAlloc_v2", 13000, 0);
}

static void nonsense(void)
{
    void *fn;
    EXPECT_EQ(get(NULL, &fn, 12000, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(get("cuInit", NULL, 12000, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(get("cuInit", &fn, 12000, 8, NULL), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(get("cuInit", &fn, 12000, 3, NULL), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(get("cuInit", &fn, -1, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(get("cuInit", &fn, 12000, 0, NULL), CUDA_SUCCESS);
}

/* Each of the runtime's requests: the driver's answer, and never another form of it, which
 * would take other parameters. */
static void the_runtime(void)
{
    char line[256], name[100], symbol[100];
    int version, flags;
    unsigned asked = 0, had = 0;
    FILE *f = fopen(requests, "r");
    REQUIRE(f);
    while (fgets(line, sizeof(line), f)) {
        if (*line == '#' || sscanf(line, "%99s %d %d %99s", name, &version, &flags, symbol) != 4)
            continue;
        void *fn = NULL;
        CUdriverProcAddressQueryResult status;
        bool here = strcmp(symbol, "-") != 0; /* the driver has one */
        CUresult rc = get(name, &fn, version, (uint64_t)flags, &status);
        asked++;
        had += fn != NULL;
        if (rc != (here ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND) ||
            fn != (here ? dlsym(library, symbol) : NULL)) {
            fprintf(stderr, "%s, version %d, flags %d: %d %p instead of %s\n", name, version, flags,
                    (int)rc, fn, symbol);
            mt_failed++;
        }
    }
    fclose(f);
    printf("%u of %u requests have an answer\n", had, asked);
    EXPECT(asked > 400 && had > 400);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    requests = argv[2];
    if (!node_has_driver(argv[1]))
        return 77;
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    void *p = dlsym(library, "cuGetProcAddress_v2");
    memcpy(&get, &p, sizeof(p));
    if (!get)
        return 1;
    MT_RUN(forms);
    MT_RUN(nonsense);
    MT_RUN(the_runtime);
    return mt_done();
}
