/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu, or libnvidia-ml, and a worker that lies: no answer may harm the program or hang it. */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "cu.h"
#include "idm/facts.h"
#include "idm/handover.h"
#include "idm/ring.h"
#include "idm_wire.h"
#include "minitest.h"
#include "nvml.h"

#define ZONE 9
#define TAG  5

static struct cu cu;
static struct agent agent;
static char dir[] = "/tmp/gi-liar-test-XXXXXX";
static char zone_socket[64];

/* --- The liar ----------------------------------------------------------------------- */

struct liar {
    int sock;
    struct handover_channel ch;
    struct idm_ring_page *page;
    struct idm_consumer in;
    struct idm_producer out;
    struct idm_header h; /* the request at hand */
};

/* Answers one request; false: the connection ends. */
typedef bool lie(struct liar *l);
static lie *_Atomic to_hello;
static lie *_Atomic to_others;

static void answer(struct liar *l, uint64_t seq, const struct idm_part *parts, unsigned n)
{
    void *to;
    uint32_t len = idm_parts_len(parts, n, idm_max_payload(l->out.size));
    if (idm_reserve(&l->out, len, &to) < 0)
        return;
    idm_write_parts(to, parts, n);
    idm_publish(&l->out, l->h.msg_type, seq, IDM_FLAG_REPLY, len);
}

static bool hello_with(struct liar *l, const void *facts, uint32_t facts_len, uint32_t max_handles)
{
    const struct idm_hello_reply w = {
        .max_handles = max_handles, .driver_version = 12080, .devices = 1, .facts_len = facts_len};
    const struct idm_part parts[] = {{&w, sizeof(w)}, {facts, facts_len}};
    answer(l, l->h.seq_num, parts, 2);
    return true;
}

static bool honest_hello(struct liar *l)
{
    struct idm_device_facts f;
    memset(&f, 0, sizeof(f));
    for (unsigned i = 1; i < 8; i++) { /* how large blocks and grids may be */
        f.attribute[i] = 1024;
        f.known[0] |= (uint8_t)(1u << i);
    }
    return hello_with(l, &f, sizeof(f), 100);
}

static bool success(struct liar *l)
{
    static const uint64_t zeros[64];
    struct idm_part part = {zeros, sizeof(struct idm_reply)};
    if (l->h.msg_type == IDM_cuModuleLoadDataEx)
        part.len = sizeof(struct idm_cuModuleLoadDataEx_reply);
    if (l->h.flags & IDM_FLAG_WANT_REPLY)
        answer(l, l->h.seq_num, &part, 1);
    return true;
}

static bool map_rings(struct liar *l)
{
    void *p = mmap(NULL, l->ch.ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, l->ch.ring, 0);
    if (p == MAP_FAILED)
        return false;
    l->page = p;
    l->in.bell = l->out.bell = -1;
    if (idm_consumer_init(&l->in, p, l->ch.ring_bytes, true) < 0 ||
        idm_producer_init(&l->out, p, l->ch.ring_bytes, false) < 0)
        return false;
    l->in.bell = l->ch.to_proxy;
    l->out.bell = l->ch.to_client;
    return true;
}

static void serve(struct liar *l)
{
    static uint8_t record[1 << 20];
    for (;;) {
        int rc = idm_next(&l->in, &l->h, record, sizeof(record));
        if (rc < 0)
            return;
        if (rc > 0) {
            if (!(l->h.msg_type == IDM_hello ? to_hello : to_others)(l))
                return;
            continue;
        }
        const struct idm_wait wait = {.timeout_ns = -1, .other_fd = l->sock};
        if (idm_wait(&l->in, &wait) == -IDM_GONE)
            return;
    }
}

static void *lie_to_all(void *data)
{
    int listener = *(int *)data;
    for (;;) {
        struct liar l = {.ch = HANDOVER_CHANNEL_INIT};
        l.sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        struct pollfd p = {.fd = l.sock, .events = POLLIN};
        if (l.sock < 0)
            return NULL;
        if (poll(&p, 1, 5000) == 1 && handover_receive(l.sock, &l.ch, NULL) == 0 &&
            handover_answer(l.sock, NULL, ZONE, TAG, NULL) == 0 && map_rings(&l))
            serve(&l);
        if (l.page)
            munmap(l.page, l.ch.ring_bytes);
        handover_channel_close(&l.ch);
        close(l.sock);
    }
}

/* --- Lies ----------------------------------------------------------------------------- */

static bool wrong_seq(struct liar *l)
{
    l->h.seq_num += 17;
    return honest_hello(l);
}

static bool too_short(struct liar *l)
{
    const struct idm_part part = {"12345678", 8};
    answer(l, l->h.seq_num, &part, 1);
    return true;
}

static bool head_only(struct liar *l)
{
    const struct idm_reply head = {.result = 0};
    const struct idm_part part = {&head, sizeof(head)};
    answer(l, l->h.seq_num, &part, 1);
    return true;
}

static bool facts_too_long(struct liar *l)
{
    const struct idm_hello_reply w = {.max_handles = 1, .facts_len = 1 << 20};
    const struct idm_part part = {&w, sizeof(w)};
    answer(l, l->h.seq_num, &part, 1);
    return true;
}

static bool too_large(struct liar *l)
{
    static uint8_t much[60000];
    const struct idm_part part = {much, sizeof(much)};
    answer(l, l->h.seq_num, &part, 1);
    return true;
}

static bool no_devices(struct liar *l)
{
    return hello_with(l, "", 0, 100);
}

static bool spoiled_head(struct liar *l)
{
    atomic_store(&l->page->completion.head, 1ull << 40);
    (void)!write(l->ch.to_client, &(uint64_t){1}, 8);
    return true;
}

static bool spoiled_tail(struct liar *l)
{
    atomic_store(&l->page->submission.tail, UINT64_MAX);
    return true; /* and no answer */
}

static bool silence_and_end(struct liar *l)
{
    (void)l;
    return false;
}

/* Names without end, more devices than there are places, handles without number. */
static bool boastful_hello(struct liar *l)
{
    static uint8_t facts[12 * sizeof(struct idm_device_facts)];
    memset(facts, 0xff, sizeof(facts));
    return hello_with(l, facts, sizeof(facts), UINT32_MAX);
}

static bool wild_params(struct liar *l)
{
    if (l->h.msg_type != IDM_cuModuleGetFunction)
        return success(l);
    const struct idm_function_facts f = {.params_known = 1};
    const struct idm_param params[] = {{0, 8}, {0xffffff00u, 0x200}};
    const struct idm_cuModuleGetFunction_reply w = {.attributes_len = sizeof(f),
                                                    .params_len = sizeof(params)};
    const struct idm_part parts[] = {{&w, sizeof(w)}, {&f, sizeof(f)}, {params, sizeof(params)}};
    answer(l, l->h.seq_num, parts, 3);
    return true;
}

static bool answers_twice(struct liar *l)
{
    success(l);
    return success(l);
}

static bool unknown_error(struct liar *l)
{
    const struct idm_reply head = {.result = -77, .late = 31337, .error = 99};
    const struct idm_part part = {&head, sizeof(head)};
    if (l->h.flags & IDM_FLAG_WANT_REPLY)
        answer(l, l->h.seq_num, &part, 1);
    return true;
}

/* --- The program, in a process of its own ------------------------------------------------ */

static void apart(lie *hello, lie *others, void (*program)(void))
{
    to_hello = hello;
    to_others = others;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        mt_failed = 0;
        alarm(30); /* hung */
        program();
        _exit(mt_failed != 0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    if (status != 0)
        fprintf(stderr, "status %x\n", (unsigned)status);
    EXPECT_EQ(status, 0);
}

static void is_refused(void)
{
    int n;
    CUresult rc = cu.cuInit(0);
    EXPECT(rc == CUDA_ERROR_DEVICE_UNAVAILABLE || rc == CUDA_ERROR_NO_DEVICE);
    EXPECT_EQ(cu.cuDeviceGetCount(&n), CUDA_ERROR_NOT_INITIALIZED);
}

static void test_bad_hello(void)
{
    static lie *const lies[] = {wrong_seq, too_short,  head_only,    facts_too_long,
                                too_large, no_devices, spoiled_head, silence_and_end};
    for (size_t i = 0; i < GI_ARRAY_SIZE(lies); i++)
        apart(lies[i], success, is_refused);
}

static void is_bounded(void)
{
    char text[300];
    int n = 0, value = 0;
    EXPECT_EQ(cu.cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuDeviceGetCount(&n), CUDA_SUCCESS);
    EXPECT(n >= 1 && n <= 8);
    for (int i = 0; i < 20; i++) {
        CUresult rc = i < n ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
        EXPECT_EQ(cu.cuDeviceGetName(text, sizeof(text), i), rc);
        EXPECT(i >= n || strlen(text) < 128);
        EXPECT_EQ(cu.cuDeviceGetPCIBusId(text, sizeof(text), i), rc);
        EXPECT_EQ(cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, i), rc);
    }
}

static void test_boastful_hello(void)
{
    apart(boastful_hello, success, is_bounded);
}

static bool begin(CUmodule *ret_module)
{
    CUcontext context;
    return cu.cuInit(0) == CUDA_SUCCESS && cu.cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS &&
           cu.cuModuleLoadData(ret_module, "anything") == CUDA_SUCCESS;
}

static void gets_no_function(void)
{
    CUmodule module = NULL;
    CUfunction fn = NULL;
    REQUIRE(begin(&module));
    EXPECT(cu.cuModuleGetFunction(&fn, module, "f") != CUDA_SUCCESS);
    EXPECT(fn == NULL);
}

static void test_wild_params(void)
{
    apart(honest_hello, wild_params, gets_no_function);
}

/* The answer to a question that wasn't asked ends the channel. */
static void is_cut_off(void)
{
    CUresult rc = cu.cuInit(0);
    CUcontext context;
    EXPECT_EQ(rc, CUDA_SUCCESS);
    for (int i = 0; i < 10 && rc == CUDA_SUCCESS; i++)
        rc = cu.cuCtxCreate_v2(&context, 0, 0);
    EXPECT_EQ(rc, CUDA_ERROR_DEVICE_UNAVAILABLE);
    EXPECT_EQ(cu.cuCtxCreate_v2(&context, 0, 0), CUDA_ERROR_DEVICE_UNAVAILABLE);
    EXPECT_EQ(cu.cuInit(0), CUDA_ERROR_DEVICE_UNAVAILABLE);
}

static void test_cut_off(void)
{
    apart(honest_hello, answers_twice, is_cut_off);
    apart(honest_hello, too_short, is_cut_off);
    apart(honest_hello, too_large, is_cut_off);
    apart(honest_hello, spoiled_head, is_cut_off);
    apart(honest_hello, silence_and_end, is_cut_off);
}

/* A producer that finds no room believes no nonsense about it. */
static void fills_ring(void)
{
    CUresult rc = cu.cuInit(0);
    CUcontext context = NULL;
    CUevent event;
    EXPECT_EQ(rc, CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
    for (int i = 0; i < 1000000 && rc == CUDA_SUCCESS; i++) {
        rc = cu.cuEventCreate(&event, 0);
        if (rc == CUDA_SUCCESS)
            rc = cu.cuEventDestroy_v2(event);
    }
    EXPECT_EQ(rc, CUDA_ERROR_DEVICE_UNAVAILABLE);
}

static bool then_spoiled_tail(struct liar *l)
{
    return l->h.msg_type == IDM_cuEventCreate ? spoiled_tail(l) : success(l);
}

static void test_spoiled_tail(void)
{
    apart(honest_hello, then_spoiled_tail, fills_ring);
}

static void sees_errors(void)
{
    CUcontext context;
    const char *name = "";
    EXPECT_EQ(cu.cuInit(0), CUDA_SUCCESS);
    CUresult rc = cu.cuCtxCreate_v2(&context, 0, 0);
    EXPECT_EQ((int)rc, -77);
    EXPECT_EQ(cu.cuGetErrorName(rc, &name), CUDA_ERROR_INVALID_VALUE);
    EXPECT(name == NULL);
}

static void test_unknown_error(void)
{
    apart(honest_hello, unknown_error, sees_errors);
}

/* --- libnvidia-ml, the same ----------------------------------------------------------- */

static struct {
    __typeof__(nvmlInit_v2) *init;
    __typeof__(nvmlDeviceGetCount_v2) *count;
    __typeof__(nvmlDeviceGetHandleByIndex_v2) *device;
    __typeof__(nvmlDeviceGetName) *name;
    __typeof__(nvmlDeviceGetPciInfo_v3) *pci;
    __typeof__(nvmlDeviceGetMemoryInfo) *memory;
    __typeof__(nvmlDeviceGetUtilizationRates) *rates;
    __typeof__(nvmlDeviceGetComputeRunningProcesses_v3) *processes;
    __typeof__(nvmlSystemGetDriverVersion) *version;
    __typeof__(nvmlSystemGetProcessName) *process_name;
} nv;

static bool load_nvml(const char *library)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    const struct {
        void *to;
        const char *name;
    } wanted[] = {
        {&nv.init, "nvmlInit_v2"},
        {&nv.count, "nvmlDeviceGetCount_v2"},
        {&nv.device, "nvmlDeviceGetHandleByIndex_v2"},
        {&nv.name, "nvmlDeviceGetName"},
        {&nv.pci, "nvmlDeviceGetPciInfo_v3"},
        {&nv.memory, "nvmlDeviceGetMemoryInfo"},
        {&nv.rates, "nvmlDeviceGetUtilizationRates"},
        {&nv.processes, "nvmlDeviceGetComputeRunningProcesses_v3"},
        {&nv.version, "nvmlSystemGetDriverVersion"},
        {&nv.process_name, "nvmlSystemGetProcessName"},
    };
    for (size_t i = 0; handle && i < GI_ARRAY_SIZE(wanted); i++) {
        void *p = dlsym(handle, wanted[i].name);
        memcpy(wanted[i].to, &p, sizeof(p));
        if (!p)
            return false;
    }
    return handle != NULL;
}

static void does_not_begin(void)
{
    EXPECT(nv.init() != NVML_SUCCESS);
}

/* Texts end, numbers stay in their places; whatever they say. */
static void looks_around(void)
{
    unsigned n = 0;
    char text[128];
    nvmlDevice_t d;
    nvmlPciInfo_t pci;
    nvmlMemory_t memory;
    nvmlUtilization_t rates;
    static nvmlProcessInfo_t infos[1000];
    EXPECT_EQ(nv.init(), NVML_SUCCESS);
    EXPECT(nv.count(&n) == NVML_SUCCESS && n > 0 && n <= 8);
    EXPECT_EQ(nv.device(0, &d), NVML_SUCCESS);
    EXPECT_EQ(nv.name(d, text, sizeof(text)), NVML_SUCCESS);
    nv.pci(d, &pci);
    if (nv.memory(d, &memory) == NVML_SUCCESS)
        EXPECT(memory.used <= memory.total && memory.free == memory.total - memory.used);
    if (nv.rates(d, &rates) == NVML_SUCCESS)
        EXPECT(rates.gpu <= 100);
    n = 1000;
    if (nv.processes(d, &n, infos) == NVML_SUCCESS)
        EXPECT(n <= 256);
    nv.version(text, sizeof(text));
    nv.process_name(0xffffffff, text, sizeof(text));
}

static bool wild_report(struct liar *l)
{
    static uint8_t clients[300 * sizeof(struct idm_zone_client) - 5];
    static char driver[1000];
    memset(clients, 0xff, sizeof(clients));
    memset(driver, '9', sizeof(driver));
    const bool some = l->h.seq_num % 2;
    const struct idm_zone_report_reply w = {.memory_quota = 1,
                                            .memory_used = UINT64_MAX,
                                            .busy_permille = UINT32_MAX,
                                            .clients_len = some ? 1000 : 20000,
                                            .driver_len = sizeof(driver)};
    const struct idm_part parts[] = {
        {&w, sizeof(w)}, {clients, w.clients_len}, {driver, sizeof(driver)}};
    answer(l, l->h.seq_num, parts, 3);
    return true;
}

static void loses_its_gpu(void)
{
    nvmlDevice_t d = NULL;
    nvmlMemory_t memory;
    EXPECT(nv.init() == NVML_SUCCESS && nv.device(0, &d) == NVML_SUCCESS);
    EXPECT_EQ(nv.memory(d, &memory), NVML_ERROR_GPU_IS_LOST);
    EXPECT_EQ(nv.memory(d, &memory), NVML_ERROR_GPU_IS_LOST);
}

static void test_nvml(void)
{
    lie *const hellos[] = {wrong_seq, too_short,    head_only,       facts_too_long,
                           too_large, spoiled_head, silence_and_end, unknown_error};
    for (size_t i = 0; i < GI_ARRAY_SIZE(hellos); i++)
        apart(hellos[i], success, does_not_begin);
    lie *const reports[] = {too_short, head_only, too_large, spoiled_head, silence_and_end};
    for (size_t i = 0; i < GI_ARRAY_SIZE(reports); i++)
        apart(honest_hello, reports[i], loses_its_gpu);
    apart(honest_hello, wild_report, looks_around);
    apart(boastful_hello, wild_report, looks_around);
}

static int listen_at(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    return fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 8) == 0
               ? fd
               : -1;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    signal(SIGPIPE, SIG_IGN);
    if (argc < 3 || !cu_load(&cu, argv[1]) || !load_nvml(argv[2]) || !mkdtemp(dir))
        return 2;
    snprintf(zone_socket, sizeof(zone_socket), "%s/zone.sock", dir);
    int listener = listen_at(zone_socket);
    if (listener < 0 || !agent_start(&agent, dir, zone_socket) ||
        pthread_create(&thread, NULL, lie_to_all, &listener) != 0)
        return 1;
    setenv("GI_GPU_SOCKET", agent.path, 1);
    MT_RUN(test_bad_hello);
    MT_RUN(test_boastful_hello);
    MT_RUN(test_wild_params);
    MT_RUN(test_cut_off);
    MT_RUN(test_spoiled_tail);
    MT_RUN(test_unknown_error);
    MT_RUN(test_nvml);
    agent_stop(&agent);
    gi_remove_tree_at(AT_FDCWD, dir, NULL);
    return mt_done();
}
