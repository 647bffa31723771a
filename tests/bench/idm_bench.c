/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What calls and copies cost through libvgpu and gpu-proxy, as ratios to what
 * this machine can do at best, all measured in this one run:
 *   idm-bench [--quick] GPU-PROXY DRIVER LIBVGPU
 *   idm-bench [--quick] --pod LIBVGPU      in a pod that has a GPU
 *   idm-bench [--quick] --client LIBVGPU   one of its own clients
 * Each figure is the median of several batches. The driver is asked for little
 * (DRIVER is best the simulated GPU): the figures are the way's, not the GPU's.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "demo/kernels.h"
#include "idm/ring.h"
#include "node.h"

#define MAX_BATCHES 41

struct cu cu;
bool quick;
static bool pod; /* somebody else's node */
static struct node node;
static unsigned batches = 21;
static unsigned calls = 2000; /* per batch */
static size_t copy_bytes = 32u << 20;

static const char empty_kernel[] = PTX_HEADER ".visible .entry empty() { ret; }\n";

void need(CUresult rc, const char *what)
{
    if (rc == CUDA_SUCCESS)
        return;
    fprintf(stderr, "%s failed: %d\n", what, (int)rc);
    if (!pod)
        node_stop(&node);
    exit(1);
}
double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median over the batches of the microseconds that WORK takes; AFTER is not counted. */
static double median(void (*work)(void), void (*after)(void))
{
    double us[MAX_BATCHES] = {0};
    work(); /* warm */
    after();
    for (unsigned i = 0; i < batches; i++) {
        double start = now_us();
        work();
        us[i] = now_us() - start;
        after();
    }
    qsort(us, batches, sizeof(us[0]), by_value);
    return us[batches / 2];
}

static void nothing(void)
{
}

/* --- The floor: a cache line between two threads ---------------------------------- */

static struct {
    _Alignas(128) _Atomic uint64_t ping;
    _Alignas(128) _Atomic uint64_t pong;
} line;

static void *echo(void *unused)
{
    uint64_t seen = 0, now;
    (void)unused;
    while ((now = atomic_load_explicit(&line.ping, memory_order_acquire)) != UINT64_MAX) {
        if (now != seen)
            atomic_store_explicit(&line.pong, seen = now, memory_order_release);
        else
            idm_relax();
    }
    return NULL;
}

static void bounce(void)
{
    uint64_t at = atomic_load(&line.ping);
    for (unsigned i = 0; i < calls; i++) {
        atomic_store_explicit(&line.ping, ++at, memory_order_release);
        while (atomic_load_explicit(&line.pong, memory_order_acquire) != at)
            idm_relax();
    }
}

static double floor_us(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, echo, NULL) != 0)
        exit(1);
    double us = median(bounce, nothing) / calls;
    atomic_store(&line.ping, UINT64_MAX);
    pthread_join(thread, NULL);
    return us;
}

/* --- The floor of a copy that passes the arena: two threads, two memcpys ------------- */

#define SLOT_BYTES (128u << 10)
#define SLOTS      16u

static struct {
    _Alignas(128) _Atomic uint64_t filled;
    _Alignas(128) _Atomic uint64_t emptied;
    uint8_t *slots;
} staging;
static uint8_t *host, *other;

/* Each slot is as far behind the thread that fills it as its emptying takes. */
static void *empty(void *unused)
{
    uint64_t seen = 0, now;
    (void)unused;
    while ((now = atomic_load_explicit(&staging.filled, memory_order_acquire)) != UINT64_MAX) {
        if (now == seen) {
            idm_relax();
            continue;
        }
        memcpy(other + seen * SLOT_BYTES % copy_bytes, staging.slots + seen % SLOTS * SLOT_BYTES,
               SLOT_BYTES);
        atomic_store_explicit(&staging.emptied, ++seen, memory_order_release);
    }
    return NULL;
}

static void pass_on(void)
{
    uint64_t n = atomic_load(&staging.filled);
    for (size_t at = 0; at < copy_bytes; at += SLOT_BYTES, n++) {
        while (n - atomic_load_explicit(&staging.emptied, memory_order_acquire) >= SLOTS)
            idm_relax();
        memcpy(staging.slots + n % SLOTS * SLOT_BYTES, host + at, SLOT_BYTES);
        atomic_store_explicit(&staging.filled, n + 1, memory_order_release);
    }
    while (atomic_load_explicit(&staging.emptied, memory_order_acquire) != n)
        idm_relax();
}

static double two_copies_rate(void)
{
    pthread_t thread;
    staging.slots = calloc(SLOTS, SLOT_BYTES);
    if (!staging.slots || pthread_create(&thread, NULL, empty, NULL) != 0)
        exit(1);
    double us = median(pass_on, nothing);
    atomic_store(&staging.filled, UINT64_MAX);
    pthread_join(thread, NULL);
    free(staging.slots);
    return (double)copy_bytes / us;
}

/* --- Calls -------------------------------------------------------------------------- */

static CUcontext context;
static CUfunction kernel;
static CUdeviceptr device;
static uint8_t *pinned;

static void ask(void)
{
    unsigned flags;
    for (unsigned i = 0; i < calls; i++)
        CU(cuCtxGetFlags, &flags);
}

static void local(void)
{
    int value;
    for (unsigned i = 0; i < calls; i++)
        CU(cuDeviceGetAttribute, &value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0);
}

/* As many as the ring holds without waiting. */
static void launch(void)
{
    for (unsigned i = 0; i < calls; i++)
        CU(cuLaunchKernel, kernel, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
}

static void synchronize(void)
{
    CU(cuCtxSynchronize);
}

static void launch_and_wait(void)
{
    launch();
    synchronize();
}

static void launch_each(void)
{
    for (unsigned i = 0; i < calls; i++) {
        CU(cuLaunchKernel, kernel, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
        CU(cuCtxSynchronize);
    }
}

/* --- Copies ------------------------------------------------------------------------- */

static void plain(void)
{
    memcpy(other, host, copy_bytes);
}

static void to_pageable(void)
{
    CU(cuMemcpyHtoD_v2, device, host, copy_bytes);
    CU(cuCtxSynchronize);
}

static void from_pageable(void)
{
    CU(cuMemcpyDtoH_v2, other, device, copy_bytes);
}

static void to_pinned(void)
{
    CU(cuMemcpyHtoD_v2, device, pinned, copy_bytes);
}

static void from_pinned(void)
{
    CU(cuMemcpyDtoH_v2, pinned, device, copy_bytes);
}

struct work work_begin(void)
{
    struct work w;
    CUmodule module;
    CU(cuInit, 0);
    CU(cuCtxCreate_v2, &w.context, 0, 0);
    CU(cuModuleLoadData, &module, empty_kernel);
    CU(cuModuleGetFunction, &w.kernel, module, "empty");
    return w;
}

static void begin(void)
{
    const struct work w = work_begin();
    context = w.context;
    kernel = w.kernel;
    CU(cuMemAlloc_v2, &device, copy_bytes);
    CU(cuMemAllocHost_v2, (void **)&pinned, copy_bytes);
    memset(pinned, 1, copy_bytes);
}

struct figures {
    double local, ask, enqueue, launch, each;
    double to_pageable, from_pageable, to_pinned, from_pinned; /* bytes a microsecond */
};

static struct figures measure(const char *library)
{
    struct figures f;
    if (!cu_load(&cu, library)) {
        if (!pod)
            node_stop(&node);
        exit(1);
    }
    begin();
    unsigned all = calls;
    f.local = median(local, nothing) / calls;
    f.ask = median(ask, nothing) / calls;
    calls = all / 2; /* of about 128 bytes each: they fit the default ring */
    f.enqueue = median(launch, synchronize) / calls;
    f.launch = median(launch_and_wait, nothing) / calls;
    calls = all / 10;
    f.each = median(launch_each, nothing) / calls;
    calls = all;
    f.to_pageable = (double)copy_bytes / median(to_pageable, nothing);
    f.from_pageable = (double)copy_bytes / median(from_pageable, nothing);
    f.to_pinned = (double)copy_bytes / median(to_pinned, nothing);
    f.from_pinned = (double)copy_bytes / median(from_pinned, nothing);
    CU(cuMemFreeHost, pinned);
    CU(cuMemFree_v2, device);
    CU(cuCtxDestroy_v2, context);
    return f;
}

static void say(const char *what, double value, const char *unit, double ratio, const char *of)
{
    printf("%-46s %10.3f %-5s", what, value, unit);
    if (of)
        printf(" %8.2f x %s", ratio, of);
    printf("\n");
}

/* What the machine can do. */
struct floors {
    double line;               /* us for a cache line there and back */
    double memcpy, two_copies; /* bytes a microsecond */
};

static void say_copy(const char *what, double rate, const struct floors *by, bool staged)
{
    printf("%-46s %10.3f GB/s  %8.2f x memcpy", what, rate / 1e3, rate / by->memcpy);
    if (staged)
        printf(" %8.2f x two copies", rate / by->two_copies);
    printf("\n");
}

static void report(const char *who, const struct figures *f, const struct floors *by)
{
    printf("\n%s\n", who);
    say("answered locally (cuDeviceGetAttribute)", f->local, "us", 0, NULL);
    say("call that waits (cuCtxGetFlags)", f->ask, "us", f->ask / by->line, "floor");
    say("cuLaunchKernel, enqueue only", f->enqueue, "us", f->enqueue / by->line, "floor");
    say("cuLaunchKernel, per launch until all are done", f->launch, "us", f->launch / by->line,
        "floor");
    say("cuLaunchKernel + cuCtxSynchronize", f->each, "us", f->each / by->line, "floor");
    say_copy("host to device, pageable", f->to_pageable, by, true);
    say_copy("device to host, pageable", f->from_pageable, by, true);
    say_copy("host to device, pinned", f->to_pinned, by, false);
    say_copy("device to host, pinned", f->from_pinned, by, false);
}

int main(int argc, char **argv)
{
    const char *program = argv[0];
    if (argc > 1 && strcmp(argv[1], "--quick") == 0) {
        quick = true;
        batches = 3;
        calls = 400;
        copy_bytes = 4u << 20;
        argv++;
        argc--;
    }
    if (argc == 3 && strcmp(argv[1], "--client") == 0) {
        pod = true;
        return client_main(argv[2]);
    }
    pod = argc == 3 && strcmp(argv[1], "--pod") == 0;
    if (argc != 4 && !pod) {
        fprintf(stderr, "usage: idm-bench [--quick] GPU-PROXY DRIVER LIBVGPU | --pod LIBVGPU\n");
        return 2;
    }
    if (!pod && !node_has_driver(argv[2]))
        return 77;
    host = malloc(copy_bytes);
    other = malloc(copy_bytes);
    if (!host || !other)
        return 1;
    memset(host, 1, copy_bytes);
    memset(other, 2, copy_bytes);
    const struct floors floors = {.line = floor_us(),
                                  .memcpy = (double)copy_bytes / median(plain, nothing),
                                  .two_copies = two_copies_rate()};
    if (!pod && !node_start(&node, argv[1], argv[2], 1ull << 30))
        return 1;
    printf("%ld processors, copies of %zu MiB, medians of %u batches\n",
           sysconf(_SC_NPROCESSORS_ONLN), copy_bytes >> 20, batches);
    say("floor: two threads bounce a cache line", floors.line, "us", 0, NULL);
    say("memcpy", floors.memcpy / 1e3, "GB/s", 0, NULL);
    say_copy("floor: two memcpys, one behind the other", floors.two_copies, &floors, false);
    struct figures remote = measure(argv[argc - 1]);
    report("through libvgpu and gpu-proxy", &remote, &floors);
    many_threads();
    if (!pod) /* whose proxy is somewhere else */
        idle(node.proxy.pid);
    many_clients(program, argv[argc - 1]);
    int rc = pod ? 0 : node_stop(&node);
    if (!pod) {
        struct figures native = measure(argv[2]);
        report("the driver itself, in this process", &native, &floors);
        many_clients(program, argv[2]);
    }
    free(host);
    free(other);
    return rc;
}
