/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that two processes share, by descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>

#include "idm/cuda_abi_share.h"
#include "pair.h"

#define FD CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR

static CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                   .requestedHandleTypes = FD,
                                   .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};

static CUresult import(CUmemGenericAllocationHandle *h, int fd)
{
    return cuMemImportFromShareableHandle(h, (void *)(intptr_t)fd, FD);
}

static int export(CUmemGenericAllocationHandle h)
{
    int fd = -1;
    OK(cuMemExportToShareableHandle(&fd, h, FD, 0));
    EXPECT(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    return fd;
}

/* H mapped for DEVICE's kernels. */
static CUdeviceptr map(CUmemGenericAllocationHandle h, size_t bytes, int device)
{
    CUdeviceptr p = 0;
    const CUmemAccessDesc access = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, device},
                                    .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    OK(cuMemAddressReserve(&p, bytes, 0, 0, 0));
    OK(cuMemMap(p, bytes, 0, h, 0));
    OK(cuMemSetAccess(p, bytes, &access, 1));
    return p;
}

static void unmap(CUdeviceptr p, size_t bytes)
{
    OK(cuMemUnmap(p, bytes));
    OK(cuMemAddressFree(p, bytes));
}

/* --- By descriptor ---------------------------------------------------------------- */

static struct pair descriptors;

static void descriptors_other(void)
{
    CUmemGenericAllocationHandle h = 0;
    CUmemAllocationProp is = {0};
    int fd = hear(&(char){0}, 1);
    OK(import(&h, fd));
    EXPECT_EQ(close(fd), 0); /* it stayed ours */
    OK(cuMemGetAllocationPropertiesFromHandle(&is, h));
    EXPECT_EQ(is.location.id, 0);
    EXPECT_EQ(is.requestedHandleTypes, FD);
    CUdeviceptr p = map(h, 4 * MIB, 0);
    EXPECT_EQ(word_at(p), 7);
    EXPECT_EQ(word_at(p + 4 * MIB - 4), 7);
    OK(poke(module, p + 64));
    nudge();
    await(); /* it was seen, and something written */
    EXPECT_EQ(word_at(p + 128), 9);
    unmap(p, 4 * MIB);
    OK(cuMemRelease(h));
    /* And the other way: memory of ours, which outlives us. */
    prop.location.id = 1;
    OK(cuMemCreate(&h, 2 * MIB, &prop, 0));
    p = map(h, 2 * MIB, 1);
    OK(cuMemsetD32(p, 11, 2 * MIB / 4));
    OK(cuCtxSynchronize());
    fd = export(h);
    tell("", 1, fd);
    await();
    EXPECT_EQ(word_at(p), 1);
    die();
}

/* A context on another device may use it, where it was mapped for that. */
static void on_device(int device, CUdeviceptr p, bool good)
{
    CUcontext c = NULL;
    CUmodule m = NULL;
    OK(cuCtxCreate(&c, 0, device));
    OK(cuModuleLoadData(&m, kernels));
    EXPECT_EQ(poke(m, p), good ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cuCtxDestroy(c));
}

static void by_descriptor(void)
{
    CUmemGenericAllocationHandle h = 0, theirs = 0, again = 0;
    size_t before = 0, after = 0, all = 0;
    pair_start(&descriptors);
    OK(cuMemCreate(&h, 4 * MIB, &prop, 0));
    CUdeviceptr p = map(h, 4 * MIB, 0);
    OK(cuMemsetD32(p, 7, MIB));
    OK(cuCtxSynchronize());
    int fd = export(h);
    tell("", 1, fd);
    await();
    EXPECT_EQ(word_at(p + 64), 1);
    OK(cuMemsetD32(p + 128, 9, 1));
    nudge();
    unmap(p, 4 * MIB);
    OK(cuMemRelease(h));
    close(fd);
    fd = hear(&(char){0}, 1);
    OK(cuMemGetInfo(&before, &all));
    OK(import(&theirs, fd));
    OK(import(&again, fd));
    OK(cuMemGetInfo(&after, &all));
    EXPECT_EQ(before, after);
    close(fd);
    p = map(theirs, 2 * MIB, 0);
    CUdeviceptr q = map(again, 2 * MIB, 1);
    EXPECT_EQ(word_at(p), 11);
    OK(poke(module, p));
    nudge();
    pair_end(&descriptors, true);
    EXPECT_EQ(word_at(q), 1);
    on_device(0, p + 8, true);
    on_device(1, p + 16, false);
    on_device(1, q + 16, true);
    EXPECT_EQ(word_at(q + 8), 1);
    fd = export(theirs);
    close(fd);
    unmap(p, 2 * MIB);
    OK(cuMemRelease(theirs));
    EXPECT_EQ(word_at(q + 16), 1);
    unmap(q, 2 * MIB);
    OK(cuMemRelease(again));
}

/* One process: what was mapped lives when all handles and descriptors are gone. */
static void by_itself(void)
{
    CUmemGenericAllocationHandle h = 0, same = 0;
    OK(cuMemCreate(&h, 2 * MIB, &prop, 0));
    int fd = export(h);
    OK(import(&same, fd));
    close(fd);
    CUdeviceptr p = map(h, 2 * MIB, 0), q = map(same, 2 * MIB, 0);
    EXPECT_EQ(word_at(q), 0);
    OK(poke(module, p));
    OK(cuMemRelease(h));
    unmap(p, 2 * MIB);
    EXPECT_EQ(word_at(q), 1);
    OK(cuMemRelease(same));
    EXPECT_EQ(word_at(q), 1);
    unmap(q, 2 * MIB);
}

/* --- Wrong descriptors ------------------------------------------------------------- */

static void refused(int fd)
{
    CUmemGenericAllocationHandle h = 0;
    FAILS(INVALID_VALUE, import(&h, fd));
    close(fd);
}

static int memfd(size_t bytes, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    EXPECT_EQ(ftruncate(fd, (off_t)bytes), 0);
    EXPECT_EQ(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

/* A good one's last page, BYTE of it turned, at the end of BYTES. */
static void forged(const uint8_t *page, unsigned byte, size_t bytes)
{
    uint8_t copy[4096];
    memcpy(copy, page, sizeof(copy));
    copy[byte] ^= 0x40;
    int fd = memfd(bytes, 0);
    EXPECT_EQ(pwrite(fd, copy, 4096, (off_t)bytes - 4096), 4096);
    EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    refused(fd);
}

static void wrong_descriptors(void)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
    CUmemGenericAllocationHandle h = 0;
    uint8_t page[4096];
    char path[64], name[] = "/tmp/gi-share-test-XXXXXX";
    int both[2];
    EXPECT_EQ(pipe2(both, O_CLOEXEC), 0);
    refused(both[0]);
    refused(both[1]);
    int fd = mkostemp(name, O_CLOEXEC);
    EXPECT_EQ(ftruncate(fd, 2 * MIB + 4096), 0);
    unlink(name);
    refused(fd);
    OK(cuMemCreate(&h, 2 * MIB, &prop, 0));
    fd = export(h);
    EXPECT_EQ(pread(fd, page, sizeof(page), 2 * MIB), 4096);
    EXPECT(ftruncate(fd, 4096) < 0 && errno == EPERM);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    refused(open(path, O_RDONLY | O_CLOEXEC));
    close(fd);
    OK(cuMemRelease(h));
    fd = memfd(2 * MIB + 4096, 0); /* good, but for the seals */
    EXPECT_EQ(pwrite(fd, page, 4096, 2 * MIB), 4096);
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    refused(fd);
    for (unsigned i = 0; i < 32; i++) /* then comes whose it is: anybody's */
        forged(page, i, 2 * MIB + 4096);
    forged(page, 4000, 2 * MIB);
    forged(page, 4000, 4 * MIB + 4096);
    refused(memfd(0, seals));
    refused(memfd(4096, seals));
    refused(memfd(2 * MIB + 4096, seals));
    refused(memfd(1ull << 50, seals));
    fd = memfd(2 * MIB + 4096, 0);
    EXPECT_EQ(pwrite(fd, page, 4096, 2 * MIB), 4096);
    EXPECT_EQ(fcntl(fd, F_ADD_SEALS, seals | F_SEAL_WRITE), 0);
    refused(fd);
    refused(-1);
    refused(1 << 20);
}

static void wrong_calls(void)
{
    CUmemGenericAllocationHandle h = 0, plain = 0;
    int fd = -1;
    OK(cuMemCreate(&h, 2 * MIB, &prop, 0));
    prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_NONE;
    OK(cuMemCreate(&plain, 2 * MIB, &prop, 0));
    prop.requestedHandleTypes = FD;
    FAILS(INVALID_VALUE, cuMemExportToShareableHandle(&fd, plain, FD, 0));
    FAILS(INVALID_VALUE, cuMemExportToShareableHandle(&fd, h, FD, 1));
    FAILS(INVALID_VALUE, cuMemExportToShareableHandle(NULL, h, FD, 0));
    FAILS(INVALID_VALUE, cuMemExportToShareableHandle(&fd, (uintptr_t)&h, FD, 0));
    FAILS(NOT_SUPPORTED, cuMemExportToShareableHandle(&fd, h, 2, 0));
    FAILS(NOT_SUPPORTED, cuMemImportFromShareableHandle(&h, NULL, 8));
    FAILS(INVALID_VALUE, cuMemImportFromShareableHandle(NULL, NULL, FD));
    FAILS(INVALID_VALUE, cuMemImportFromShareableHandle(&plain, (void *)-1, FD));
    FAILS(INVALID_VALUE,
          cuMemImportFromShareableHandle(&plain, (void *)((1l << 32) + STDERR_FILENO), FD));
    EXPECT_EQ(fd, -1);
    OK(cuMemRelease(h));
    OK(cuMemRelease(plain));
}

int main(void)
{
    setenv("GI_SIM_DEVICES", "2", 1);
    descriptors.body = descriptors_other;
    pair_fork(&descriptors);
    if (set_up() < 0)
        return 1;
    MT_RUN(by_descriptor);
    MT_RUN(by_itself);
    MT_RUN(wrong_descriptors);
    MT_RUN(wrong_calls);
    cuCtxDestroy(context);
    return mt_done();
}
