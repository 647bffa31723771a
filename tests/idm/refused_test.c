/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What isn't offered says so, with the error that the description names; so does what the driver
 * at hand, the simulated one, hasn't.
 *   refused_test GPU-PROXY DRIVER LIBVGPU CALLS
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "minitest.h"
#include "node.h"

#include "cu.h"

static struct cu cu;
static void *library;
static const char *calls;

typedef CUresult any_call(void *, void *, void *, void *, void *, void *, void *, void *);

static any_call *find(const char *symbol)
{
    any_call *fn = NULL;
    void *p = dlsym(library, symbol);
    memcpy(&fn, &p, sizeof(fn));
    return fn;
}

/* With nothing but zeros: it isn't looked at. */
static void check(const char *symbol, const char *error)
{
    const char *name = "";
    any_call *call = find(symbol);
    CUresult rc = call ? call(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) : CUDA_SUCCESS;
    cu.cuGetErrorName(rc, &name);
    if (!call || strcmp(name, error) != 0) {
        fprintf(stderr, "%s: %s instead of %s\n", symbol, call ? name : "nothing", error);
        mt_failed++;
    }
}

static void test_refused_as_described(void)
{
    char line[512], symbol[128], error[128];
    unsigned n = 0;
    cleanup_fclose FILE *f = fopen(calls, "r");
    REQUIRE(f);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "refused %127s %127s", symbol, error) != 2)
            continue;
        check(symbol, error);
        n++;
    }
    EXPECT(n > 50);
}

static const char ptx[] = ".version 7.0\n.target sm_50\n.address_size 64\n"
                          ".visible .entry none() { ret; }\n";

static void test_what_the_driver_has_not(void)
{
    __typeof__(cuTensorMapEncodeTiled) *encode = NULL;
    __typeof__(cuTensorMapReplaceAddress) *replace = NULL;
    __typeof__(cuOccupancyMaxActiveClusters) *clusters = NULL;
    CUtensorMap map = {{0}};
    CUmodule module = NULL;
    CUfunction fn = NULL;
    const uint64_t dim[2] = {64, 64}, stride[1] = {256};
    const uint32_t box[2] = {16, 16}, step[2] = {1, 1};
    int n = 0;
    void *p = dlsym(library, "cuTensorMapEncodeTiled");
    memcpy(&encode, &p, sizeof(p));
    p = dlsym(library, "cuTensorMapReplaceAddress");
    memcpy(&replace, &p, sizeof(p));
    p = dlsym(library, "cuOccupancyMaxActiveClusters");
    memcpy(&clusters, &p, sizeof(p));
    REQUIRE(encode && replace && clusters);
    void *address = (void *)0x10000;
    EXPECT_EQ(encode(&map, 7, 2, address, dim, stride, box, step, 0, 0, 0, 0),
              CUDA_ERROR_NOT_SUPPORTED);
    EXPECT_EQ(encode(&map, 7, 6, address, dim, stride, box, step, 0, 0, 0, 0),
              CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(encode(&map, 7, 0, address, dim, stride, box, step, 0, 0, 0, 0),
              CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(encode(&map, 7, 2, address, dim, NULL, box, step, 0, 0, 0, 0),
              CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(replace(&map, address), CUDA_ERROR_NOT_SUPPORTED);
    EXPECT_EQ(replace(NULL, address), CUDA_ERROR_INVALID_VALUE);
    REQUIRE(cu.cuModuleLoadData(&module, ptx) == CUDA_SUCCESS &&
            cu.cuModuleGetFunction(&fn, module, "none") == CUDA_SUCCESS);
    CUlaunchConfig config = {1, 1, 1, 32, 1, 1, 0, NULL, NULL, 0};
    EXPECT_EQ(clusters(&n, fn, &config), CUDA_ERROR_NOT_SUPPORTED);
    EXPECT_EQ(clusters(&n, (CUfunction)module, &config), CUDA_ERROR_INVALID_HANDLE);
    config.numAttrs = 1;
    EXPECT_EQ(clusters(&n, fn, &config), CUDA_ERROR_INVALID_VALUE);
}

int main(int argc, char **argv)
{
    struct node node;
    CUcontext context;
    if (argc < 5)
        return 2;
    if (!node_has_driver(argv[2]))
        return 77;
    calls = argv[4];
    setenv("GI_SIM_CAPABILITY", "80", 1); /* no clusters, no tensor maps */
    library = dlopen(argv[3], RTLD_NOW | RTLD_LOCAL);
    if (!library || !cu_load(&cu, argv[3]) || !node_start(&node, argv[1], argv[2], 1ull << 30))
        return 1;
    EXPECT_EQ(cu.cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
    MT_RUN(test_refused_as_described);
    MT_RUN(test_what_the_driver_has_not);
    EXPECT_EQ(cu.cuCtxDestroy_v2(context), CUDA_SUCCESS);
    EXPECT_EQ(proxy_stats(&node.proxy, NODE_ZONE).protocol_errors, 0);
    EXPECT_EQ(node_stop(&node), 0);
    return mt_done();
}
