/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libnvidia-ml and vgpu-smi: what they tell is the zone's, and only the zone's.
 *   nvml_test GPU-PROXY DRIVER LIBVGPU LIBNVIDIA-ML VGPU-SMI
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cu.h"
#include "minitest.h"
#include "node.h"
#include "nvml.h"
#include "proxy/peer.h"

#define QUOTA (256ull << 20)
#define MIB   (1ull << 20)

#define NVML_CALLS(X)                                                                              \
    X(nvmlInit_v2)                                                                                 \
    X(nvmlInitWithFlags)                                                                           \
    X(nvmlShutdown)                                                                                \
    X(nvmlErrorString)                                                                             \
    X(nvmlSystemGetDriverVersion)                                                                  \
    X(nvmlSystemGetNVMLVersion)                                                                    \
    X(nvmlSystemGetCudaDriverVersion)                                                              \
    X(nvmlSystemGetProcessName)                                                                    \
    X(nvmlDeviceGetCount_v2)                                                                       \
    X(nvmlDeviceGetHandleByIndex_v2)                                                               \
    X(nvmlDeviceGetHandleByUUID)                                                                   \
    X(nvmlDeviceGetHandleByPciBusId_v2)                                                            \
    X(nvmlDeviceGetName)                                                                           \
    X(nvmlDeviceGetUUID)                                                                           \
    X(nvmlDeviceGetIndex)                                                                          \
    X(nvmlDeviceGetMinorNumber)                                                                    \
    X(nvmlDeviceGetPciInfo)                                                                        \
    X(nvmlDeviceGetPciInfo_v2)                                                                     \
    X(nvmlDeviceGetPciInfo_v3)                                                                     \
    X(nvmlDeviceGetCudaComputeCapability)                                                          \
    X(nvmlDeviceGetArchitecture)                                                                   \
    X(nvmlDeviceGetComputeMode)                                                                    \
    X(nvmlDeviceGetPersistenceMode)                                                                \
    X(nvmlDeviceGetMemoryInfo)                                                                     \
    X(nvmlDeviceGetMemoryInfo_v2)                                                                  \
    X(nvmlDeviceGetUtilizationRates)                                                               \
    X(nvmlDeviceGetComputeRunningProcesses)                                                        \
    X(nvmlDeviceGetComputeRunningProcesses_v3)                                                     \
    X(nvmlDeviceGetGraphicsRunningProcesses_v3)                                                    \
    X(nvmlDeviceGetP2PStatus)

static struct {
#define POINTER(call) __typeof__(call) *call;
    NVML_CALLS(POINTER)
#undef POINTER
    nvmlReturn_t (*nvmlDeviceGetTemperature)(nvmlDevice_t device, unsigned type, unsigned *out);
    nvmlReturn_t (*nvmlDeviceSetPowerManagementLimit)(nvmlDevice_t device, unsigned limit);
} nv;

static struct node node;
static struct cu cu;
static const char *smi;

static bool load(const char *library)
{
    bool complete = true;
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        return false;
    }
#define LOAD(call)                                                                                 \
    {                                                                                              \
        void *p = dlsym(handle, #call);                                                            \
        memcpy(&nv.call, &p, sizeof(p));                                                           \
        if (!p)                                                                                    \
            fprintf(stderr, "no %s\n", #call);                                                     \
        complete = complete && p;                                                                  \
    }
    NVML_CALLS(LOAD)
    LOAD(nvmlDeviceGetTemperature)
    LOAD(nvmlDeviceSetPowerManagementLimit)
#undef LOAD
    return complete;
}

/* The first device, after nvmlInit; NULL with a failed check. */
static nvmlDevice_t device(void)
{
    nvmlDevice_t d = NULL;
    EXPECT_EQ(nv.nvmlInit_v2(), NVML_SUCCESS);
    EXPECT_EQ(nv.nvmlDeviceGetHandleByIndex_v2(0, &d), NVML_SUCCESS);
    return d;
}

static void test_order(void)
{
    unsigned n = 0;
    nvmlDevice_t d;
    EXPECT_EQ(nv.nvmlDeviceGetCount_v2(&n), NVML_ERROR_UNINITIALIZED);
    EXPECT_EQ(nv.nvmlDeviceGetTemperature(NULL, 0, &n), NVML_ERROR_UNINITIALIZED);
    EXPECT_EQ(nv.nvmlShutdown(), NVML_ERROR_UNINITIALIZED);
    setenv("GI_GPU_SOCKET", "/nonexistent/gpu.sock", 1);
    EXPECT_EQ(nv.nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
    setenv("GI_GPU_SOCKET", node.agent.path, 1);
    EXPECT_EQ(nv.nvmlInit_v2(), NVML_SUCCESS);
    EXPECT_EQ(nv.nvmlInitWithFlags(1), NVML_SUCCESS);
    EXPECT_EQ(nv.nvmlShutdown(), NVML_SUCCESS);
    EXPECT_EQ(nv.nvmlDeviceGetCount_v2(&n), NVML_SUCCESS);
    EXPECT_EQ(n, 2);
    EXPECT_EQ(nv.nvmlDeviceGetHandleByIndex_v2(2, &d), NVML_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(nv.nvmlDeviceGetIndex((nvmlDevice_t)&n, &n), NVML_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(nv.nvmlShutdown(), NVML_SUCCESS);
    EXPECT_EQ(nv.nvmlDeviceGetCount_v2(&n), NVML_ERROR_UNINITIALIZED);
    /* Its place is free again. */
    EXPECT(WAIT_FOR(5000, proxy_stats(&node.proxy, NODE_ZONE).clients == 0));
}

/* Both libraries tell the same. */
static void test_facts(void)
{
    char name[128], cuda_name[128], text[96];
    unsigned n = 9;
    int version = 0, cuda_version = 0, major = 0, minor = 0, cc = 0;
    CUuuid uuid;
    nvmlPciInfo_t pci;
    nvmlDevice_t d = device(), same = NULL;
    REQUIRE(d && cu.cuInit(0) == CUDA_SUCCESS);
    EXPECT_EQ(nv.nvmlDeviceGetName(d, name, sizeof(name)), NVML_SUCCESS);
    EXPECT_EQ(cu.cuDeviceGetName(cuda_name, sizeof(cuda_name), 0), CUDA_SUCCESS);
    EXPECT(strcmp(name, cuda_name) == 0 && name[0]);
    EXPECT_EQ(nv.nvmlDeviceGetName(d, name, 3), NVML_ERROR_INSUFFICIENT_SIZE);
    EXPECT_EQ(nv.nvmlDeviceGetName(d, NULL, 3), NVML_ERROR_INVALID_ARGUMENT);

    EXPECT_EQ(nv.nvmlDeviceGetUUID(d, text, sizeof(text)), NVML_SUCCESS);
    EXPECT_EQ(cu.cuDeviceGetUuid(&uuid, 0), CUDA_SUCCESS);
    char first[16];
    snprintf(first, sizeof(first), "GPU-%02x%02x", (unsigned char)uuid.bytes[0],
             (unsigned char)uuid.bytes[1]);
    EXPECT(strncmp(text, first, 8) == 0 && strlen(text) == 40);
    EXPECT_EQ(nv.nvmlDeviceGetHandleByUUID(text, &same), NVML_SUCCESS);
    EXPECT(same == d);
    EXPECT_EQ(nv.nvmlDeviceGetHandleByUUID("GPU-0", &same), NVML_ERROR_NOT_FOUND);

    EXPECT_EQ(nv.nvmlDeviceGetPciInfo_v3(d, &pci), NVML_SUCCESS);
    same = NULL;
    EXPECT_EQ(nv.nvmlDeviceGetHandleByPciBusId_v2(pci.busId, &same), NVML_SUCCESS);
    EXPECT(same == d);
    EXPECT_EQ(cu.cuDeviceGetPCIBusId(text, sizeof(text), 0), CUDA_SUCCESS);
    EXPECT_EQ(nv.nvmlDeviceGetHandleByPciBusId_v2(text, &same), NVML_SUCCESS);
    EXPECT_EQ(nv.nvmlDeviceGetHandleByPciBusId_v2("00000000:FE:00.0", &same), NVML_ERROR_NOT_FOUND);
    EXPECT_EQ(nv.nvmlDeviceGetHandleByPciBusId_v2("what", &same), NVML_ERROR_INVALID_ARGUMENT);
    /* Old structs are shorter: nothing behind their end is written. */
    memset(&pci, 0x5a, sizeof(pci));
    EXPECT_EQ(nv.nvmlDeviceGetPciInfo_v2(d, &pci), NVML_SUCCESS);
    EXPECT(pci.busId[0] == 0x5a && pci.pciSubSystemId == 0);
    memset(&pci, 0x5a, sizeof(pci));
    EXPECT_EQ(nv.nvmlDeviceGetPciInfo(d, &pci), NVML_SUCCESS);
    EXPECT(pci.pciSubSystemId == 0x5a5a5a5a && strlen(pci.busIdLegacy) == 12);

    EXPECT_EQ(nv.nvmlDeviceGetCudaComputeCapability(d, &major, &minor), NVML_SUCCESS);
    EXPECT_EQ(cu.cuDeviceGetAttribute(&cc, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0), 0);
    EXPECT_EQ(major, cc);
    EXPECT_EQ(nv.nvmlSystemGetCudaDriverVersion(&version), NVML_SUCCESS);
    EXPECT_EQ(cu.cuDriverGetVersion(&cuda_version), CUDA_SUCCESS);
    EXPECT_EQ(version, cuda_version);
    EXPECT_EQ(nv.nvmlSystemGetDriverVersion(text, sizeof(text)), NVML_SUCCESS);
    EXPECT(strchr(text, '.'));
    EXPECT_EQ(nv.nvmlSystemGetNVMLVersion(text, sizeof(text)), NVML_SUCCESS);
    EXPECT(strncmp(text, "13.", 3) == 0);
    EXPECT(nv.nvmlDeviceGetIndex(d, &n) == NVML_SUCCESS && n == 0);
    EXPECT(nv.nvmlDeviceGetMinorNumber(d, &n) == NVML_SUCCESS && n == 0);
    EXPECT(nv.nvmlDeviceGetPersistenceMode(d, &n) == NVML_SUCCESS && n == 1);
    EXPECT(nv.nvmlDeviceGetComputeMode(d, &n) == NVML_SUCCESS && n == 0);
    EXPECT(nv.nvmlDeviceGetArchitecture(d, &n) == NVML_SUCCESS && n >= 7);
}

static void test_peers(void)
{
    unsigned status = 9;
    nvmlDevice_t a = device(), b = NULL;
    REQUIRE(a && nv.nvmlDeviceGetHandleByIndex_v2(1, &b) == NVML_SUCCESS);
    for (unsigned way = 0; way < 5; way++) {
        EXPECT_EQ(nv.nvmlDeviceGetP2PStatus(a, b, way, &status), NVML_SUCCESS);
        EXPECT_EQ(status, way < 2 ? 0 : 5); /* reading and writing; others aren't told */
    }
    EXPECT_EQ(nv.nvmlDeviceGetP2PStatus(a, a, 0, &status), NVML_SUCCESS);
    EXPECT_EQ(status, 5);
    EXPECT_EQ(nv.nvmlDeviceGetP2PStatus(a, b, 0, NULL), NVML_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(nv.nvmlDeviceGetP2PStatus(a, NULL, 0, &status), NVML_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(nv.nvmlDeviceGetP2PStatus(NULL, b, 0, &status), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_not_supported(void)
{
    unsigned n = 0;
    nvmlDevice_t d = device();
    EXPECT_EQ(nv.nvmlDeviceGetTemperature(d, 0, &n), NVML_ERROR_NOT_SUPPORTED);
    EXPECT_EQ(nv.nvmlDeviceSetPowerManagementLimit(d, 1), NVML_ERROR_NOT_SUPPORTED);
    EXPECT(nv.nvmlErrorString(NVML_ERROR_NOT_SUPPORTED)[0]);
    EXPECT(nv.nvmlErrorString((nvmlReturn_t)12345)[0]);
}

static unsigned long long used(nvmlDevice_t d)
{
    nvmlMemory_t m = {0};
    EXPECT_EQ(nv.nvmlDeviceGetMemoryInfo(d, &m), NVML_SUCCESS);
    EXPECT_EQ(m.total, QUOTA);
    EXPECT_EQ(m.free + m.used, m.total);
    return m.used;
}

static void test_memory(void)
{
    CUcontext context;
    CUdeviceptr p = 0;
    nvmlMemory_v2_t v2 = {.version = NVML_STRUCT_VERSION(nvmlMemory_v2_t, 2)};
    nvmlUtilization_t rates = {999, 999};
    nvmlDevice_t d = device();
    REQUIRE(d && cu.cuInit(0) == CUDA_SUCCESS);
    REQUIRE(cu.cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS);
    unsigned long long before = used(d);
    REQUIRE(cu.cuMemAlloc_v2(&p, 64 * MIB) == CUDA_SUCCESS);
    EXPECT_EQ(used(d), before + 64 * MIB);
    EXPECT_EQ(nv.nvmlDeviceGetMemoryInfo_v2(d, &v2), NVML_SUCCESS);
    EXPECT_EQ(v2.used, before + 64 * MIB);
    v2.version++;
    EXPECT_EQ(nv.nvmlDeviceGetMemoryInfo_v2(d, &v2), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    EXPECT_EQ(cu.cuMemFree_v2(p), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT_EQ(used(d), before);
    EXPECT_EQ(nv.nvmlDeviceGetUtilizationRates(d, &rates), NVML_SUCCESS);
    EXPECT(rates.gpu <= 100 && rates.memory == 0);
}

/* Of a busy second most was on the GPU; of an idle one nothing. */
static void test_utilisation(void)
{
    CUcontext context;
    CUdeviceptr p = 0;
    nvmlUtilization_t rates = {999, 999};
    nvmlDevice_t d = device();
    REQUIRE(d && cu.cuInit(0) == CUDA_SUCCESS && cu.cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS);
    REQUIRE(cu.cuMemAlloc_v2(&p, 64 * MIB) == CUDA_SUCCESS);
    EXPECT_EQ(nv.nvmlDeviceGetUtilizationRates(d, &rates), NVML_SUCCESS);
    EXPECT(rates.gpu <= 5);
    bool busy = false;
    for (int i = 0; i < 4000 && !busy; i++) {
        for (int k = 0; k < 4; k++)
            EXPECT_EQ(cu.cuMemsetD8Async(p, (unsigned char)i, 64 * MIB, NULL), CUDA_SUCCESS);
        EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
        EXPECT_EQ(nv.nvmlDeviceGetUtilizationRates(d, &rates), NVML_SUCCESS);
        busy = rates.gpu >= 40;
    }
    EXPECT(busy && rates.gpu <= 100);
    EXPECT(WAIT_FOR(5000, nv.nvmlDeviceGetUtilizationRates(d, &rates) == 0 && rates.gpu <= 2));
}

/* Who only looks is no process of the GPU's; who has a context is. */
static void test_processes(void)
{
    CUcontext context;
    CUdeviceptr p = 0;
    nvmlProcessInfo_t infos[4];
    nvmlProcessInfo_v1_t old[4];
    char name[96], exe[96] = "";
    unsigned n = 4;
    nvmlDevice_t d = device();
    REQUIRE(d && cu.cuInit(0) == CUDA_SUCCESS);
    EXPECT_EQ(nv.nvmlDeviceGetComputeRunningProcesses_v3(d, &n, infos), NVML_SUCCESS);
    EXPECT_EQ(n, 0);
    REQUIRE(cu.cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS);
    REQUIRE(cu.cuMemAlloc_v2(&p, 8 * MIB) == CUDA_SUCCESS);
    n = 0;
    EXPECT_EQ(nv.nvmlDeviceGetComputeRunningProcesses_v3(d, &n, NULL),
              NVML_ERROR_INSUFFICIENT_SIZE);
    EXPECT_EQ(n, 1);
    EXPECT_EQ(nv.nvmlDeviceGetComputeRunningProcesses_v3(d, &n, NULL), NVML_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(nv.nvmlDeviceGetComputeRunningProcesses_v3(d, &n, infos), NVML_SUCCESS);
    EXPECT_EQ(infos[0].pid, getpid());
    EXPECT_EQ(infos[0].usedGpuMemory, 8 * MIB);
    EXPECT_EQ(infos[0].gpuInstanceId, NVML_NO_INSTANCE);
    n = 4;
    EXPECT_EQ(nv.nvmlDeviceGetComputeRunningProcesses(d, &n, old), NVML_SUCCESS);
    EXPECT(n == 1 && old[0].pid == (unsigned)getpid() && old[0].usedGpuMemory == 8 * MIB);
    n = 4;
    EXPECT_EQ(nv.nvmlDeviceGetGraphicsRunningProcesses_v3(d, &n, infos), NVML_SUCCESS);
    EXPECT_EQ(n, 0);
    EXPECT_EQ(nv.nvmlSystemGetProcessName((unsigned)getpid(), name, sizeof(name)), NVML_SUCCESS);
    EXPECT(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
    EXPECT(strncmp(name, exe, 60) == 0);
    EXPECT_EQ(nv.nvmlSystemGetProcessName(1, name, sizeof(name)), NVML_ERROR_NOT_FOUND);
}

/* Another zone's memory and processes are in no report of ours. */
static void test_other_zone(void)
{
    char path[128];
    struct raw other, own;
    nvmlProcessInfo_t infos[4];
    const struct control_quota quota = {.memory_bytes = QUOTA, .max_clients = 2};
    unsigned n = 4;
    nvmlDevice_t d = device();
    REQUIRE(d && proxy_zone(&node.proxy, NODE_ZONE + 1, &quota, path, sizeof(path)));
    REQUIRE(raw_start(&other, path));
    struct idm_client_process who = {.pid = 77};
    struct idm_part parts[2] = {{&who, sizeof(who)}, {"", 0}};
    EXPECT_EQ(raw_call(&other, IDM_client_process, parts, 2, NULL, 0).result, CUDA_SUCCESS);
    EXPECT(raw_alloc(&other, 32 * MIB, NULL));
    EXPECT_EQ(used(d), 0);
    EXPECT_EQ(nv.nvmlDeviceGetComputeRunningProcesses_v3(d, &n, infos), NVML_SUCCESS);
    EXPECT_EQ(n, 0);
    /* While one of ours is. */
    REQUIRE(raw_start(&own, node.zone));
    EXPECT_EQ(raw_call(&own, IDM_client_process, parts, 2, NULL, 0).result, CUDA_SUCCESS);
    EXPECT(raw_alloc(&own, 16 * MIB, NULL));
    EXPECT_EQ(used(d), 16 * MIB);
    n = 4;
    EXPECT_EQ(nv.nvmlDeviceGetComputeRunningProcesses_v3(d, &n, infos), NVML_SUCCESS);
    EXPECT(n == 1 && infos[0].pid == 77);
    raw_stop(&own);
    raw_stop(&other);
    EXPECT(WAIT_FOR(5000, used(d) == 0));
}

/* A name is shown on others' terminals: nothing but printable characters, cut. */
static void test_hostile_name(void)
{
    struct raw r;
    char name[96], longest[4096];
    nvmlDevice_t d = device();
    REQUIRE(d && raw_start(&r, node.zone));
    struct idm_client_process who = {.pid = 78, .name_len = 6};
    struct idm_part parts[2] = {{&who, sizeof(who)}, {"a\x1b[\n\x80z", 6}};
    EXPECT_EQ(raw_call(&r, IDM_client_process, parts, 2, NULL, 0).result, CUDA_SUCCESS);
    EXPECT_EQ(nv.nvmlSystemGetProcessName(78, name, sizeof(name)), NVML_SUCCESS);
    EXPECT(strcmp(name, "a?[??z") == 0);
    memset(longest, 'x', sizeof(longest));
    who.name_len = sizeof(longest);
    parts[1] = (struct idm_part){longest, sizeof(longest)};
    EXPECT_EQ(raw_call(&r, IDM_client_process, parts, 2, NULL, 0).result, CUDA_SUCCESS);
    EXPECT_EQ(nv.nvmlSystemGetProcessName(78, name, sizeof(name)), NVML_SUCCESS);
    EXPECT_EQ(strlen(name), 95);
    /* A length that lies is malformed. */
    parts[1].len = 8;
    EXPECT_EQ(raw_call(&r, IDM_client_process, parts, 2, NULL, 0).result, CUDA_ERROR_INVALID_VALUE);
    raw_stop(&r);
}

static int wait_for(pid_t pid)
{
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_fork(void)
{
    nvmlDevice_t d = device();
    pid_t child = fork();
    if (child == 0) {
        mt_failed = 0;
        used(d);
        _exit(mt_failed != 0);
    }
    EXPECT_EQ(wait_for(child), 0);
    used(d);
}

static void test_worker_dies(void)
{
    nvmlMemory_t m;
    nvmlDevice_t d = device();
    kill((pid_t)proxy_client(&node.proxy, NODE_ZONE).pid, SIGKILL);
    EXPECT(WAIT_FOR(5000, proxy_stats(&node.proxy, NODE_ZONE).clients == 0));
    EXPECT_EQ(nv.nvmlDeviceGetMemoryInfo(d, &m), NVML_ERROR_GPU_IS_LOST);
    EXPECT_EQ(nv.nvmlDeviceGetMemoryInfo(d, &m), NVML_ERROR_GPU_IS_LOST);
    EXPECT_EQ(nv.nvmlShutdown(), NVML_SUCCESS);
    used(device());
}

static void run_smi(const char *arguments, char *out, size_t size)
{
    char command[512];
    snprintf(command, sizeof(command), "%s %s", smi, arguments);
    FILE *f = popen(command, "r");
    size_t n = f ? fread(out, 1, size - 1, f) : 0;
    out[n] = '\0';
    EXPECT(f && pclose(f) == 0);
}

static void test_smi(void)
{
    static char text[16384];
    char name[128], pid[32];
    CUcontext context;
    CUdeviceptr p;
    REQUIRE(cu.cuInit(0) == CUDA_SUCCESS && cu.cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS);
    REQUIRE(cu.cuMemAlloc_v2(&p, 64 * MIB) == CUDA_SUCCESS);
    EXPECT_EQ(cu.cuDeviceGetName(name, sizeof(name), 0), CUDA_SUCCESS);
    run_smi("", text, sizeof(text));
    snprintf(pid, sizeof(pid), " %d ", (int)getpid());
    EXPECT(strstr(text, name) && strstr(text, "64MiB / 256MiB") && strstr(text, pid));
    for (char *l = text, *end; (end = strchr(l, '\n')); l = end + 1)
        EXPECT(end == l || end - l == 79);
    run_smi("--json", text, sizeof(text));
    snprintf(pid, sizeof(pid), "\"pid\": %d,", (int)getpid());
    EXPECT(strstr(text, "\"memory_quota\": 268435456, \"memory_used\": 67108864"));
    EXPECT(strstr(text, pid));
    run_smi("-L", text, sizeof(text));
    EXPECT(strncmp(text, "GPU 0: ", 7) == 0 && strstr(text, "UUID: GPU-"));
    run_smi("--query-gpu=index,memory.total,memory.used,power.draw --format=csv", text,
            sizeof(text));
    static const char table[] = "index, memory.total [MiB], memory.used [MiB], power.draw\n"
                                "0, 256 MiB, 64 MiB, [N/A]\n";
    EXPECT(strncmp(text, table, strlen(table)) == 0);
    run_smi("-i 0 --query-gpu=name,memory.free --format=csv,noheader,nounits", text, sizeof(text));
    EXPECT(strncmp(text, name, strlen(name)) == 0 && strstr(text, ", 192\n"));
    run_smi("--query-compute-apps=pid,used_memory --format=csv,noheader", text, sizeof(text));
    snprintf(pid, sizeof(pid), "%d, 64 MiB\n", (int)getpid());
    EXPECT(strcmp(text, pid) == 0);
    char command[512];
    snprintf(command, sizeof(command), "%s --query-gpu=name,nonsense --format=csv", smi);
    EXPECT(WEXITSTATUS(system(command)) == 2);
    snprintf(command, sizeof(command), "%s -i 7 --query-gpu=name --format=csv 2>/dev/null", smi);
    EXPECT(WEXITSTATUS(system(command)) == NVML_ERROR_NOT_FOUND);
    EXPECT(setenv("GI_GPU_SOCKET", "/nonexistent", 1) == 0);
    snprintf(command, sizeof(command), "%s 2>/dev/null", smi);
    int status = system(command);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == NVML_ERROR_DRIVER_NOT_LOADED);
}

NODE_APART(&node, test_order)
NODE_APART(&node, test_facts)
NODE_APART(&node, test_peers)
NODE_APART(&node, test_not_supported)
NODE_APART(&node, test_memory)
NODE_APART(&node, test_utilisation)
NODE_APART(&node, test_processes)
NODE_APART(&node, test_other_zone)
NODE_APART(&node, test_hostile_name)
NODE_APART(&node, test_fork)
NODE_APART(&node, test_worker_dies)
NODE_APART(&node, test_smi)

int main(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    if (!node_has_driver(argv[2]))
        return 77;
    smi = argv[5];
    setenv("GI_SIM_DEVICES", "2", 1);
    if (!cu_load(&cu, argv[3]) || !load(argv[4]) || !node_start(&node, argv[1], argv[2], QUOTA))
        return 1;
    MT_RUN(apart_test_order);
    MT_RUN(apart_test_facts);
    MT_RUN(apart_test_peers);
    MT_RUN(apart_test_not_supported);
    MT_RUN(apart_test_memory);
    MT_RUN(apart_test_utilisation);
    MT_RUN(apart_test_processes);
    MT_RUN(apart_test_other_zone);
    MT_RUN(apart_test_hostile_name);
    MT_RUN(apart_test_fork);
    MT_RUN(apart_test_worker_dies);
    MT_RUN(apart_test_smi);
    EXPECT_EQ(node_stop(&node), 0);
    return mt_done();
}
