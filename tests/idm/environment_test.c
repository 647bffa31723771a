/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's own variables mean through libvgpu what they mean to the driver: which devices are
 * seen, in which order, whether launches return at once. Each is looked at by a process of its own.
 *   environment_test GPU-PROXY DRIVER LIBVGPU
 *   environment_test --look LIBRARY
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cu.h"
#include "demo/kernels.h"
#include "minitest.h"
#include "node.h"

static struct node node;
static struct cu cu;
static const char *self, *proxy, *driver, *libvgpu;

/* --- Who looks -------------------------------------------------------------------------------- */

static void show_device(int dev)
{
    CUuuid uuid = {{0}};
    char bus[32] = "";
    int attribute = -1, peer = -1;
    CUcontext context = NULL;
    CUdevice current = -1;
    CUdeviceptr p = 0;
    cu.cuDeviceGetUuid(&uuid, dev);
    cu.cuDeviceGetPCIBusId(bus, sizeof(bus), dev);
    cu.cuDeviceGetAttribute(&attribute, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, dev);
    cu.cuDeviceCanAccessPeer(&peer, dev, 0);
    printf("%d: %s %d %d %d\n", dev, bus, attribute, (unsigned char)uuid.bytes[15], peer);
    CUresult made = cu.cuCtxCreate_v2(&context, 0, dev);
    CUresult asked = cu.cuCtxGetDevice(&current);
    CUresult took = cu.cuMemAlloc_v2(&p, 1000);
    printf("%d %d %d %d\n", (int)made, (int)asked, current, (int)took);
    cu.cuCtxDestroy_v2(context);
}

/* Where a kernel's fault is told. */
static void show_launch(void)
{
    CUcontext context = NULL;
    CUmodule module = NULL;
    CUfunction fn = NULL;
    CUdeviceptr nowhere = 64;
    float two = 2;
    unsigned n = 4;
    void *args[] = {&two, &nowhere, &nowhere, &n};
    cu.cuCtxCreate_v2(&context, 0, 0);
    cu.cuModuleLoadData(&module, PTX_ALL);
    cu.cuModuleGetFunction(&fn, module, "saxpy");
    CUresult launched = cu.cuLaunchKernel(fn, 1, 1, 1, 32, 1, 1, 0, NULL, args, NULL);
    CUresult waited = cu.cuCtxSynchronize();
    /* Without the variable the launch may have said it, or not yet. */
    printf("launch %d %d\n", getenv("CUDA_LAUNCH_BLOCKING") ? (int)launched : -1, (int)waited);
    cu.cuModuleUnload(module);
    cu.cuCtxDestroy_v2(context);
}

static int look(const char *library)
{
    int n = -1;
    if (!cu_load(&cu, library))
        return 1;
    CUresult rc = cu.cuInit(0);
    CUresult counted = cu.cuDeviceGetCount(&n);
    printf("%d %d %d\n", (int)rc, (int)counted, n);
    for (int dev = 0; dev < n; dev++)
        show_device(dev);
    if (n > 0)
        show_launch();
    return 0;
}

/* --- Who compares -------------------------------------------------------------------------------
 */

static void look_with(const char *library, char *out, size_t size)
{
    char command[1024];
    snprintf(command, sizeof(command), "%s --look %s 2>/dev/null", self, library);
    FILE *f = popen(command, "re"); // NOLINT(cert-env33-c)
    size_t n = f ? fread(out, 1, size - 1, f) : 0;
    out[n] = '\0';
    EXPECT(f && pclose(f) == 0);
}

/* With LIST (NULL: none) there are COUNT devices, the first of them FIRST of all. */
static void expect_devices(const char *list, int count, int first)
{
    char native[4096], remote[4096], line[64];
    if (list)
        setenv("CUDA_VISIBLE_DEVICES", list, 1);
    else
        unsetenv("CUDA_VISIBLE_DEVICES");
    look_with(libvgpu, remote, sizeof(remote));
    look_with(driver, native, sizeof(native));
    unsetenv("CUDA_VISIBLE_DEVICES");
    if (count)
        snprintf(line, sizeof(line), "0 0 %d\n0: 0000:", count);
    else
        snprintf(line, sizeof(line), "100 3 -1\n");
    if (strcmp(native, remote) != 0 || strncmp(native, line, strlen(line)) != 0)
        fprintf(stderr, "\"%s\":\n%s---\n%s", list ? list : "(none)", native, remote);
    EXPECT(strcmp(native, remote) == 0);
    EXPECT(strncmp(native, line, strlen(line)) == 0);
    snprintf(line, sizeof(line), " %d 0\n", first); /* no peer of itself */
    EXPECT(!count || strstr(native, line));
}

static void test_all_of_them(void)
{
    expect_devices(NULL, 4, 0);
    expect_devices("0,1,2,3", 4, 0);
}

static void test_some_of_them(void)
{
    expect_devices("2", 1, 2);
    expect_devices("3,1", 2, 3);
    expect_devices(" 1 , 0 ", 2, 1);
    expect_devices("1,7,0", 1, 1);
    expect_devices("1,-1,0", 1, 1);
    expect_devices("2,nonsense", 1, 2);
    expect_devices("2,no;sense,0", 1, 2);
    expect_devices("GPU-67692d73-696d-4000-8000-000000000003,0", 2, 3);
}

static void test_none_of_them(void)
{
    char longer[600];
    expect_devices("", 0, 0);
    expect_devices("-1", 0, 0);
    expect_devices("9", 0, 0);
    expect_devices("1,1", 0, 0);
    expect_devices("GPU-67692d73", 0, 0); /* all of them begin so */
    memset(longer, '0', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    expect_devices(longer, 0, 0);
}

static void test_order_is_the_bus(void)
{
    setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 1);
    expect_devices("1", 1, 1);
    expect_devices(NULL, 4, 0);
    unsetenv("CUDA_DEVICE_ORDER");
}

static void test_launches_that_wait(void)
{
    char native[4096], remote[4096];
    setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
    look_with(driver, native, sizeof(native));
    look_with(libvgpu, remote, sizeof(remote));
    unsetenv("CUDA_LAUNCH_BLOCKING");
    EXPECT(strcmp(native, remote) == 0);
    EXPECT(strstr(remote, "launch 700 700\n"));
}

/* What the operator has given gpu-proxy is all there is. */
static void test_the_operators_devices(void)
{
    static const struct {
        const char *list;
        int count, first;
    } all[] = {{NULL, 2, 3}, {"0", 1, 3}, {"1,0", 2, 1}, {"0,3", 1, 3}, {"2", 0, 0}, {"", 0, 0}};
    setenv("CUDA_VISIBLE_DEVICES", "3,1", 1);
    bool started = node_start(&node, proxy, driver, 256u << 20);
    unsetenv("CUDA_VISIBLE_DEVICES");
    REQUIRE(started);
    for (size_t i = 0; i < GI_ARRAY_SIZE(all); i++) {
        char remote[4096], line[64];
        if (all[i].list)
            setenv("CUDA_VISIBLE_DEVICES", all[i].list, 1);
        look_with(libvgpu, remote, sizeof(remote));
        unsetenv("CUDA_VISIBLE_DEVICES");
        if (all[i].count)
            snprintf(line, sizeof(line), "0 0 %d\n", all[i].count);
        else
            snprintf(line, sizeof(line), "100 3 -1\n");
        EXPECT(strncmp(remote, line, strlen(line)) == 0);
        snprintf(line, sizeof(line), " %d 0\n", all[i].first);
        EXPECT(!all[i].count || strstr(remote, line));
    }
    EXPECT_EQ(node_stop(&node), 0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--look") == 0)
        return look(argv[2]);
    if (argc < 4)
        return 2;
    self = argv[0];
    proxy = argv[1];
    driver = argv[2];
    libvgpu = argv[3];
    if (!node_has_driver(driver))
        return 77;
    setenv("GI_SIM_DEVICES", "4", 1);
    if (!node_start(&node, proxy, driver, 256u << 20))
        return 1;
    MT_RUN(test_all_of_them);
    MT_RUN(test_some_of_them);
    MT_RUN(test_none_of_them);
    MT_RUN(test_order_is_the_bus);
    MT_RUN(test_launches_that_wait);
    EXPECT_EQ(node_stop(&node), 0);
    MT_RUN(test_the_operators_devices);
    return mt_done();
}
