/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the program's that became pages of the arena (libvgpu/place.h): nothing that others
 * write is lost, what can't be reached is said, and the arena is whole again in the end.
 *   registered_test GPU-PROXY DRIVER LIBVGPU
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cu.h"
#include "demo/kernels.h"
#include "minitest.h"
#include "node.h"

#define MIB   (1ull << 20)
#define BYTES 400000u

static struct node node;
static struct cu cu;
static CUcontext context;

static bool begin(void)
{
    return cu.cuInit(0) == CUDA_SUCCESS && cu.cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS;
}

static char *pages(size_t bytes, int flags)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Does the device write to BYTES at P? */
static bool is_reached(char *p, size_t bytes, char value)
{
    CUdeviceptr d = 0;
    if (cu.cuMemHostGetDevicePointer_v2(&d, p, 0) != CUDA_SUCCESS ||
        cu.cuMemsetD8_v2(d, (unsigned char)value, bytes) != CUDA_SUCCESS ||
        cu.cuCtxSynchronize() != CUDA_SUCCESS)
        return false;
    return p[0] == value && p[bytes / 2] == value && p[bytes - 1] == value;
}

/* Asynchronous copies there and back, whether they are staged or not. */
static bool is_copied(char *p, size_t bytes)
{
    CUdeviceptr d = 0;
    bool good = cu.cuMemAlloc_v2(&d, bytes) == CUDA_SUCCESS;
    memset(p, 3, bytes);
    good = good && cu.cuMemcpyHtoDAsync_v2(d, p, bytes, NULL) == CUDA_SUCCESS &&
           cu.cuStreamSynchronize(NULL) == CUDA_SUCCESS;
    memset(p, 0, bytes);
    good = good && cu.cuMemcpyDtoHAsync_v2(p, d, bytes, NULL) == CUDA_SUCCESS &&
           cu.cuStreamSynchronize(NULL) == CUDA_SUCCESS;
    return cu.cuMemFree_v2(d) == CUDA_SUCCESS && good && p[0] == 3 && p[bytes - 1] == 3;
}

/* --- Another thread ------------------------------------------------------------------------- */

static atomic_bool stop;

static void *sleeper(void *unused)
{
    (void)unused;
    while (!stop)
        usleep(1000);
    return NULL;
}

/* From now on userfaultfd(2) is refused, as containers' profiles do. */
static bool refuse_userfaultfd(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static bool has_userfaultfd(void)
{
    int fd = (int)syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* --- Tests ------------------------------------------------------------------------------------ */

#define WRITERS 4

/* Each counts in one word, which lie in the first, a middle and the last page, and beside the
 * registered bytes. */
static uint64_t *counter[WRITERS];
static uint64_t counted[WRITERS];

static void *writer(void *index)
{
    unsigned i = (unsigned)(uintptr_t)index;
    volatile uint64_t *word = counter[i];
    while (!stop) {
        *word = *word + 1;
        counted[i]++;
    }
    return NULL;
}

static void test_no_write_is_lost(void)
{
    pthread_t threads[WRITERS];
    char *p = pages(64 * 4096, MAP_PRIVATE);
    REQUIRE(p && begin());
    /* Where nobody can be held up nothing moves, and nothing is lost either. */
    const CUresult reached = has_userfaultfd() ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
    counter[0] = (uint64_t *)p; /* not in what is registered */
    counter[1] = (uint64_t *)(p + 4096);
    counter[2] = (uint64_t *)(p + 4096 * 31);
    counter[3] = (uint64_t *)(p + 4096 * 63 + 4088);
    for (uintptr_t i = 0; i < WRITERS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, writer, (void *)i) == 0);
    for (unsigned i = 0; i < 100; i++) {
        CUdeviceptr d;
        EXPECT_EQ(cu.cuMemHostRegister_v2(p + 100, 4096 * 63 + 200, 0), CUDA_SUCCESS);
        EXPECT_EQ(cu.cuMemHostGetDevicePointer_v2(&d, p + 100, 0), reached);
        EXPECT_EQ(cu.cuMemHostUnregister(p + 100), CUDA_SUCCESS);
        EXPECT_EQ(cu.cuMemHostGetDevicePointer_v2(&d, p + 100, 0), CUDA_ERROR_INVALID_VALUE);
    }
    stop = true;
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        EXPECT(counted[i] > 0);
        EXPECT_EQ(*counter[i], counted[i]);
    }
}

/* It would be another process's no more. */
static void test_shared_memory_stays_shared(void)
{
    CUdeviceptr d;
    unsigned type = 0;
    char *p = pages(BYTES, MAP_SHARED);
    REQUIRE(p && begin());
    EXPECT_EQ(cu.cuMemHostRegister_v2(p, BYTES, CU_MEMHOSTREGISTER_DEVICEMAP), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemHostGetDevicePointer_v2(&d, p, 0), CUDA_ERROR_NOT_SUPPORTED);
    EXPECT_EQ(cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t)p + 9),
              CUDA_SUCCESS);
    EXPECT_EQ(type, CU_MEMORYTYPE_HOST);
    EXPECT_EQ(cu.cuPointerGetAttribute(&d, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, (uintptr_t)p),
              CUDA_ERROR_INVALID_VALUE);
    EXPECT(is_copied(p, BYTES));
    pid_t child = fork();
    if (child == 0) {
        p[5] = 77;
        _exit(0);
    }
    waitpid(child, NULL, 0);
    EXPECT_EQ(p[5], 77);
    EXPECT_EQ(cu.cuMemHostUnregister(p), CUDA_SUCCESS);
}

static void test_a_stack_stays_where_it_is(void)
{
    char buffer[BYTES];
    memset(buffer, 1, sizeof(buffer));
    REQUIRE(begin());
    EXPECT_EQ(cu.cuMemHostRegister_v2(buffer, sizeof(buffer), 0), CUDA_SUCCESS);
    EXPECT(is_copied(buffer, sizeof(buffer)));
    EXPECT_EQ(cu.cuMemHostUnregister(buffer), CUDA_SUCCESS);
    EXPECT_EQ(buffer[BYTES - 1], 3);
}

#define SMALL      40
#define SMALL_SIZE 9000u

/* Pieces of the heap, with whatever of ours the heap has between them. */
static void test_a_child_has_its_own(void)
{
    char *p[SMALL];
    unsigned wrong = 0;
    REQUIRE(begin());
    for (unsigned i = 0; i < SMALL; i++) {
        REQUIRE((p[i] = malloc(SMALL_SIZE)) != NULL);
        memset(p[i], (int)i, SMALL_SIZE);
        EXPECT_EQ(cu.cuMemHostRegister_v2(p[i], SMALL_SIZE, 0), CUDA_SUCCESS);
    }
    for (unsigned round = 0; round < 3; round++) {
        pid_t child = fork();
        if (child == 0) {
            for (unsigned i = 0; i < SMALL; i++) {
                wrong += p[i][0] != (char)i || p[i][SMALL_SIZE - 1] != (char)i;
                memset(p[i], 0xff, SMALL_SIZE);
                free(p[i]);
            }
            _exit(wrong ? 1 : 0);
        }
        int status = -1;
        waitpid(child, &status, 0);
        EXPECT_EQ(status, 0);
    }
    for (unsigned i = 0; i < SMALL; i++) {
        EXPECT_EQ(p[i][0], (char)i);
        EXPECT_EQ(p[i][SMALL_SIZE - 1], (char)i);
        EXPECT_EQ(cu.cuMemHostUnregister(p[i]), CUDA_SUCCESS);
        free(p[i]);
    }
}

/* What a program made executable stays so. */
static void test_code_stays_code(void)
{
    CUdeviceptr d;
    char *p =
        mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        printf("needs memory that may be written and executed\n");
        return;
    }
    REQUIRE(begin());
#ifdef __x86_64__
    p[10] = (char)0xc3; /* ret */
#endif
    EXPECT_EQ(cu.cuMemHostRegister_v2(p, 8192, 0), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemHostGetDevicePointer_v2(&d, p, 0), CUDA_ERROR_NOT_SUPPORTED);
#ifdef __x86_64__
    ((void (*)(void))(uintptr_t)(p + 10))();
#endif
    EXPECT_EQ(cu.cuMemHostUnregister(p), CUDA_SUCCESS);
}

/* Registered memory leaves a half to cuMemHostAlloc. */
static void test_registered_memory_leaves_a_half(void)
{
    CUdeviceptr d;
    void *pinned = NULL;
    char *p = pages(16 * MIB, MAP_PRIVATE), *q = pages(12 * MIB, MAP_PRIVATE);
    REQUIRE(p && q && begin());
    EXPECT_EQ(cu.cuMemHostRegister_v2(p, 16 * MIB, 0), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemHostGetDevicePointer_v2(&d, p, 0), CUDA_ERROR_NOT_SUPPORTED);
    EXPECT(is_copied(p, 16 * MIB));
    for (int i = 0; i < 5; i++) {
        EXPECT_EQ(cu.cuMemHostRegister_v2(q, 12 * MIB, 0), CUDA_SUCCESS);
        EXPECT(is_reached(q, 12 * MIB, (char)(i + 1)));
        EXPECT(is_copied(q, 12 * MIB));
        EXPECT_EQ(cu.cuMemHostAlloc(&pinned, 12 * MIB, 0), CUDA_SUCCESS);
        EXPECT_EQ(cu.cuMemFreeHost(pinned), CUDA_SUCCESS);
        EXPECT_EQ(cu.cuMemHostUnregister(q), CUDA_SUCCESS);
        EXPECT_EQ(q[12 * MIB - 1], 3);
    }
    EXPECT_EQ(cu.cuMemHostUnregister(p), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemHostAlloc(&pinned, 24 * MIB, 0), CUDA_SUCCESS);
}

/* Other threads can't be held up: nothing is moved while there are some, and what was before is
 * the program's as it is, until it can be given back. */
static void test_threads_that_cannot_be_held_up(void)
{
    pthread_t thread;
    CUdeviceptr d;
    char *p = malloc(BYTES), *q = malloc(BYTES);
    REQUIRE(p && q && refuse_userfaultfd() && begin());
    EXPECT_EQ(cu.cuMemHostRegister_v2(p, BYTES, 0), CUDA_SUCCESS);
    EXPECT(is_reached(p, BYTES, 9));
    stop = false;
    REQUIRE(pthread_create(&thread, NULL, sleeper, NULL) == 0);
    EXPECT_EQ(cu.cuMemHostRegister_v2(q, BYTES, 0), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemHostGetDevicePointer_v2(&d, q, 0), CUDA_ERROR_NOT_SUPPORTED);
    EXPECT(is_copied(q, BYTES));
    EXPECT_EQ(cu.cuMemHostUnregister(p), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemHostGetDevicePointer_v2(&d, p, 0), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(p[BYTES - 1], 9);
    /* Again what it was. */
    EXPECT_EQ(cu.cuMemHostRegister_v2(p, BYTES, 0), CUDA_SUCCESS);
    EXPECT(is_reached(p, BYTES, 10));
    EXPECT_EQ(cu.cuMemHostUnregister(p), CUDA_SUCCESS);
    /* Grown it must not reach into what is behind it in the arena. */
    char *grown = realloc(p, 3 * BYTES);
    REQUIRE(grown);
    memset(grown + BYTES, 55, 2 * BYTES);
    EXPECT_EQ(grown[0], 10);
    EXPECT_EQ(grown[BYTES - 1], 10);
    EXPECT(is_copied(q, BYTES));
    EXPECT_EQ(grown[3 * BYTES - 1], 55);
    EXPECT_EQ(cu.cuMemHostUnregister(q), CUDA_SUCCESS);
    stop = true;
    pthread_join(thread, NULL);
    /* Alone: everything comes back. */
    EXPECT_EQ(cu.cuMemHostRegister_v2(q, BYTES, 0), CUDA_SUCCESS);
    EXPECT(is_reached(q, BYTES, 11));
    EXPECT_EQ(cu.cuMemHostUnregister(q), CUDA_SUCCESS);
    void *pinned = NULL;
    EXPECT_EQ(cu.cuMemHostAlloc(&pinned, 24 * MIB, 0), CUDA_SUCCESS);
    free(grown);
    free(q);
}

/* The program may unmap what it has registered: its own harm, and not the arena's. */
static void test_unmapped_memory(void)
{
    void *pinned = NULL;
    char *p = pages(BYTES, MAP_PRIVATE), *q = pages(BYTES, MAP_PRIVATE);
    REQUIRE(p && q && begin());
    EXPECT_EQ(cu.cuMemHostRegister_v2(p, BYTES, 0), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemHostRegister_v2(q, BYTES, 0), CUDA_SUCCESS);
    munmap(p, (BYTES + 4095) & ~4095u);
    munmap(q, 4096);
    pid_t child = fork();
    if (child == 0)
        _exit(q[BYTES - 1] ? 1 : 0);
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(cu.cuMemHostUnregister(p), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemHostUnregister(q), CUDA_SUCCESS);
    EXPECT_EQ(q[BYTES - 1], 0);
    munmap(q, (BYTES + 4095) & ~4095u);
    q = pages(BYTES, MAP_PRIVATE);
    EXPECT_EQ(cu.cuMemHostRegister_v2(q, BYTES, 0), CUDA_SUCCESS);
    EXPECT(is_reached(q, BYTES, 1));
    EXPECT_EQ(cu.cuMemHostUnregister(q), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemHostAlloc(&pinned, 24 * MIB, 0), CUDA_SUCCESS);
}

NODE_APART(&node, test_no_write_is_lost)
NODE_APART(&node, test_shared_memory_stays_shared)
NODE_APART(&node, test_a_stack_stays_where_it_is)
NODE_APART(&node, test_a_child_has_its_own)
NODE_APART(&node, test_code_stays_code)
NODE_APART(&node, test_registered_memory_leaves_a_half)
NODE_APART(&node, test_threads_that_cannot_be_held_up)
NODE_APART(&node, test_unmapped_memory)

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    if (!node_has_driver(argv[2]))
        return 77;
    setenv("GI_GPU_ARENA_BYTES", "33554432", 1); /* 32 MiB */
    if (!cu_load(&cu, argv[3]) || !node_start(&node, argv[1], argv[2], 256 * MIB))
        return 1;
    MT_RUN(apart_test_no_write_is_lost);
    MT_RUN(apart_test_shared_memory_stays_shared);
    MT_RUN(apart_test_a_stack_stays_where_it_is);
    MT_RUN(apart_test_a_child_has_its_own);
    MT_RUN(apart_test_code_stays_code);
    MT_RUN(apart_test_registered_memory_leaves_a_half);
    MT_RUN(apart_test_threads_that_cannot_be_held_up);
    MT_RUN(apart_test_unmapped_memory);
    EXPECT_EQ(node_stop(&node), 0);
    return mt_done();
}
