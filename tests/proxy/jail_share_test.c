/* SPDX-License-Identifier: Apache-2.0 */
/* What processes of the simulated GPU share, where one of them is a worker: in the jail, with no
 * way to another process's descriptors but what it was handed. */
#include <fcntl.h>

#include "idm/cuda_abi_share.h"
#include "idm/share_table.h"
#include "jail.h"
#include "pair.h"

#define FD CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR

struct shared {
    CUipcMemHandle memory;
    CUipcEventHandle event;
    int fd, memory_fd, event_fd; /* whose they are knows the teller */
};

static const struct share_table *table;
static CUevent event;
static CUstream stream;
static CUdeviceptr flag;

static void find_table(void)
{
    static const CUuuid id = SHARE_TABLE_ID;
    const void *t = NULL;
    OK(cuGetExportTable(&t, &id));
    table = t;
}

static void enter(void)
{
    struct gi_error err = GI_ERROR_INIT;
    const struct jail j = {.uid = 65534, .gid = 65534, .max_files = 128, .parent = getppid()};
    if (jail_enter(&j, &err) < 0) {
        fprintf(stderr, "jail: %s\n", err.message);
        exit(1);
    }
}

static void seal(void)
{
    struct gi_error err = GI_ERROR_INIT;
    if (jail_seal(&err) < 0) {
        fprintf(stderr, "jail: %s\n", err.message);
        exit(1);
    }
}

static CUdeviceptr map(CUmemGenericAllocationHandle h)
{
    CUdeviceptr p = 0;
    const CUmemAccessDesc access = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0},
                                    .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    OK(cuMemAddressReserve(&p, 2 * MIB, 0, 0, 0));
    OK(cuMemMap(p, 2 * MIB, 0, h, 0));
    OK(cuMemSetAccess(p, 2 * MIB, &access, 1));
    return p;
}

/* One of each, and the event recorded behind a kernel that goes on until FLAG is set. */
static struct shared make(CUdeviceptr *ret_p, CUdeviceptr *ret_mapped)
{
    struct shared s = {.fd = -1};
    CUmemGenericAllocationHandle h = 0;
    const CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                      .requestedHandleTypes = FD,
                                      .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    OK(cuMemCreate(&h, 2 * MIB, &prop, 0));
    OK(cuMemExportToShareableHandle(&s.fd, h, FD, 0));
    *ret_mapped = map(h);
    OK(cuMemAlloc(ret_p, 6 * MIB));
    OK(cuMemAlloc(&flag, 4));
    OK(cuMemsetD32(*ret_p, 3, 6 * MIB / 4));
    OK(cuMemsetD32(*ret_mapped, 4, 2 * MIB / 4));
    OK(cuMemsetD32(flag, 0, 1));
    OK(cuCtxSynchronize());
    OK(cuIpcGetMemHandle(&s.memory, *ret_p));
    OK(cuEventCreate(&event, CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING));
    OK(cuIpcGetEventHandle(&s.event, event));
    s.memory_fd = table->descriptor(&s.memory);
    s.event_fd = table->descriptor(&s.event);
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    void *params[] = {&flag};
    OK(launch(function("hold"), stream, params));
    OK(cuEventRecord(event, stream));
    return s;
}

static void use(const struct shared *s, CUevent *ret_event)
{
    CUdeviceptr p = 0;
    CUmemGenericAllocationHandle h = 0;
    OK(cuIpcOpenMemHandle_v2(&p, s->memory, 0));
    EXPECT_EQ(word_at(p + 6 * MIB - 4), 3);
    OK(poke(module, p));
    OK(cuIpcCloseMemHandle(p));
    OK(cuMemImportFromShareableHandle(&h, (void *)(intptr_t)s->fd, FD));
    p = map(h);
    EXPECT_EQ(word_at(p + 2 * MIB - 4), 4);
    OK(poke(module, p));
    OK(cuMemUnmap(p, 2 * MIB));
    OK(cuMemRelease(h));
    OK(cuIpcOpenEventHandle(ret_event, s->event));
    usleep(500000); /* who recorded it is there: it isn't given up */
    FAILS(NOT_READY, cuEventQuery(*ret_event));
}

/* --- The worker opens ------------------------------------------------------------------- */

static void say(const void *data, size_t bytes)
{
    EXPECT_EQ(write(line, data, bytes), (ssize_t)bytes); /* there is no sendmsg */
}

static void opens(void)
{
    struct shared s;
    CUevent e = NULL;
    int fd = hear(&s, sizeof(s)), memory_fd = hear(&(char){0}, 1), event_fd = hear(&(char){0}, 1);
    find_table();
    seal();
    FAILS(INVALID_HANDLE, cuIpcOpenEventHandle(&e, s.event));
    s.fd = fd;
    table->replace(&s.memory, memory_fd);
    table->replace(&s.event, event_fd);
    use(&s, &e);
    say("", 1);
    OK(cuEventSynchronize(e));
    OK(cuEventRecord(e, NULL));
    OK(cuEventSynchronize(e));
    _exit(mt_failed ? 1 : 0); /* what looks for leaks at exit may not, in here */
}

static struct pair opener = {.before = enter, .body = opens};

static void worker_opens(void)
{
    CUdeviceptr p = 0, mapped = 0;
    find_table();
    struct shared s = make(&p, &mapped);
    pair_start(&opener);
    tell(&s, sizeof(s), s.fd);
    tell("", 1, s.memory_fd);
    tell("", 1, s.event_fd);
    await();
    void *params[] = {&flag};
    OK(launch(function("poke"), CU_STREAM_PER_THREAD, params));
    OK(cuStreamSynchronize(stream));
    pair_end(&opener, false);
    EXPECT_EQ(word_at(p), 1);
    EXPECT_EQ(word_at(mapped), 1);
    OK(cuEventSynchronize(event));
}

/* --- The worker shares -------------------------------------------------------------------- */

static void shared_and_freed(void)
{
    CUdeviceptr p = 0, again = 0;
    CUipcMemHandle h;
    OK(cuMemAlloc(&p, 6 * MIB));
    OK(cuIpcGetMemHandle(&h, p));
    OK(cuMemsetD32(p, 5, 6 * MIB / 4));
    OK(cuMemFree(p));
    OK(cuMemAlloc(&again, 6 * MIB));
    EXPECT_EQ(again, p);
    EXPECT_EQ(word_at(again), 0);
    OK(cuMemFree(again));
}

static void shares(void)
{
    CUdeviceptr p = 0, mapped = 0;
    char c = 0;
    find_table();
    seal();
    shared_and_freed();
    struct shared s = make(&p, &mapped);
    say(&s, sizeof(s));
    EXPECT_EQ(read(line, &c, 1), 1);
    EXPECT_EQ(word_at(p), 1);
    EXPECT_EQ(word_at(mapped), 1);
    die();
}

static struct pair sharer = {.before = enter, .body = shares};

static void worker_shares(void)
{
    char path[64];
    struct shared s;
    CUevent e = NULL;
    if (geteuid() != 0) {
        printf("     (not root: a worker's descriptors can't be reached)\n");
        return;
    }
    pair_start(&sharer);
    (void)hear(&s, sizeof(s));
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", sharer.pid, s.fd);
    s.fd = open(path, O_RDWR | O_CLOEXEC);
    use(&s, &e);
    nudge();
    OK(cuEventSynchronize(e)); /* with its end */
    pair_end(&sharer, true);
}

int main(void)
{
    pair_fork(&opener);
    pair_fork(&sharer);
    if (set_up() < 0)
        return 1;
    MT_RUN(worker_opens);
    MT_RUN(worker_shares);
    cuCtxDestroy(context);
    return mt_done();
}
