/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the channel, its death, and what a fork means. */
#include "connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "arena_place.h"
#include "client_calls.h"
#include "context.h"
#include "handles.h"
#include "host.h"
#include "host_function.h"
#include "idm/export_tables.h"
#include "idm/graph/capture.h"
#include "idm/pools.h"
#include "memory.h"
#include "module.h"

#define DEFAULT_SOCKET "/run/gpu-isolated/gpu.sock"
/* The proxy starts a process and loads a driver meanwhile. */
#define OPEN_TIMEOUT_MS 60000

struct vg_connection vg = {.sock = -1,
                           .channel = HANDOVER_CHANNEL_INIT,
                           .lock = PTHREAD_MUTEX_INITIALIZER,
                           .changed = PTHREAD_COND_INITIALIZER,
                           .contexts = PTHREAD_MUTEX_INITIALIZER};

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static bool watches_forks;

static void debug(const char *what)
{
    if (secure_getenv("GI_GPU_DEBUG"))
        fprintf(stderr, "libvgpu: %s\n", what);
}

static int connect_socket(void)
{
    const char *path = secure_getenv("GI_GPU_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (!path || !*path)
        path = DEFAULT_SOCKET;
    if (strlen(path) >= sizeof(addr.sun_path))
        return -1;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* 0: the default. By hand: strtoull has a new symbol version with each C
 * standard. */
static uint64_t wanted_arena(void)
{
    const char *text = secure_getenv("GI_GPU_ARENA_BYTES");
    uint64_t n = 0;
    for (; text && *text >= '0' && *text <= '9' && n <= HANDOVER_MAX_ARENA; text++)
        n = n * 10 + (uint64_t)(*text - '0');
    return n & ~4095ull;
}

/* What a list has in front of something that no list has. False: it asks for none, as programs do
 * that want no GPU; no worker needs to start for that. */
static bool wanted_devices(struct handover_devices *ret)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    const char *order = getenv("CUDA_DEVICE_ORDER");
    memset(ret, 0, sizeof(*ret));
    if (order && strcmp(order, "PCI_BUS_ID") == 0)
        ret->flags |= HANDOVER_PCI_ORDER;
    if (!list)
        return true;
    ret->flags |= HANDOVER_HAS_LIST;
    strncpy(ret->list, list, sizeof(ret->list) - 1);
    size_t kept = strlen(ret->list);
    bool whole = strlen(list) == kept;
    while (kept && !(whole && handover_good_devices(ret))) {
        /* An entry that can't be is where the driver stops, too. */
        while (kept && ret->list[kept - 1] != ',')
            kept--;
        kept -= kept > 0;
        memset(ret->list + kept, 0, sizeof(ret->list) - kept);
        whole = true;
    }
    return *ret->list && *ret->list != '-';
}

static void *map(int fd, uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

static CUresult map_channel(void)
{
    const struct handover_channel *ch = &vg.channel;
    vg.page = map(ch->ring, ch->ring_bytes);
    vg.arena = map(ch->arena, ch->arena_bytes);
    if (!vg.page || !vg.arena || idm_producer_init(&vg.out, vg.page, ch->ring_bytes, true) < 0 ||
        idm_consumer_init(&vg.in, vg.page, ch->ring_bytes, false) < 0)
        return CUDA_ERROR_OPERATING_SYSTEM;
    vg.out.bell = ch->to_proxy;
    vg.out.src_zone = ch->zone;
    vg.in.bell = ch->to_client;
    return CUDA_SUCCESS;
}

/* Gives everything back that the channel holds; the caller is alone. */
static void release(void)
{
    export_forget();
    pools_forget();
    own_stream_close();
    handles_close();
    memory_close();
    registered_close();
    host_close();
    if (vg.page)
        munmap(vg.page, vg.channel.ring_bytes);
    if (vg.arena)
        munmap(vg.arena, vg.channel.arena_bytes);
    if (vg.sock >= 0)
        close(vg.sock);
    handover_channel_close(&vg.channel);
    vg.page = NULL;
    vg.arena = NULL;
    vg.sock = -1;
    vg.tickets = NULL;
    vg.reading = false;
    vg.waiting = 0;
    vg.seq = vg.selected = 0;
    vg.late = CUDA_SUCCESS;
    vg.slots_pinned = false;
    memset(vg.slots, 0, sizeof(vg.slots));
    memset(vg.primary, 0, sizeof(vg.primary));
    vg.n_devices = 0;
    vg.epoch++;
    atomic_store(&vg.state, VG_CLOSED);
}

/*
 * The child of a fork has the parent's descriptors and memory but is no client:
 * it lets go of the connection, or the parent's end would go unnoticed while the child
 * lives, and may open its own with cuInit. The arena stays mapped: the child
 * may look at pinned buffers it inherited.
 */
static void forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static const pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    memcpy(&vg.lock, &mutex, sizeof(mutex));
    memcpy(&vg.contexts, &mutex, sizeof(mutex));
    memcpy(&opening, &mutex, sizeof(mutex));
    memcpy(&vg.changed, &cond, sizeof(cond));
    own_stream_forked();
    handles_forked();
    memory_forked();
    host_forked();
    registered_forked();
    host_function_forked();
    graph_forked();
    module_forked();
    vg.arena = NULL;
    release();
}

/* For the pod's own list of processes. */
static CUresult introduce(void)
{
    char name[IDM_PROCESS_NAME];
    struct idm_client_process_in in;
    memset(&in, 0, sizeof(in));
    ssize_t n = readlink("/proc/self/exe", name, sizeof(name));
    in.w.pid = (uint32_t)getpid();
    in.w.name_len = n > 0 ? (uint32_t)n : 0;
    in.name = name;
    return vg_queue_client_process(&in);
}

static CUresult greet(void)
{
    struct idm_hello_in in;
    struct idm_hello_out out;
    struct vg_answer answer;
    memset(&in, 0, sizeof(in));
    in.w.protocol = IDM_PROTOCOL;
    struct arena_places places;
    arena_places_find(&places, vg.arena, vg.channel.arena_bytes);
    in.places = places.at;
    in.w.places_len = places.n * (uint32_t)sizeof(places.at[0]);
    CUresult rc = vg_ask_hello(&in, &out, &answer);
    vg.arena = arena_places_settle(&places, rc == CUDA_SUCCESS ? out.w.arena_address : 0);
    VG_TRY(rc);
    uint32_t n = out.w.facts_len / (uint32_t)sizeof(vg.devices[0]);
    if (n > VG_MAX_DEVICES)
        n = VG_MAX_DEVICES;
    if (n == 0 || out.w.max_handles == 0)
        return CUDA_ERROR_NO_DEVICE;
    memcpy(vg.devices, out.facts, n * sizeof(vg.devices[0]));
    for (uint32_t i = 0; i < n; i++) {
        vg.devices[i].name[sizeof(vg.devices[i].name) - 1] = '\0';
        vg.devices[i].pci_bus_id[sizeof(vg.devices[i].pci_bus_id) - 1] = '\0';
    }
    vg.n_devices = (int)n;
    vg.driver_version = (int)out.w.driver_version;
    vg.max_handles = out.w.max_handles < IDM_MAX_HANDLES ? out.w.max_handles : IDM_MAX_HANDLES;
    if (handles_open(vg.max_handles, vg.channel.tag) < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return introduce();
}

static CUresult open_channel(void)
{
    struct gi_error err = GI_ERROR_INIT;
    struct handover_devices devices;
    if (!wanted_devices(&devices))
        return CUDA_ERROR_NO_DEVICE;
    vg.sock = connect_socket();
    if (vg.sock < 0) {
        debug("no GPU socket");
        return CUDA_ERROR_NO_DEVICE;
    }
    if (handover_request(vg.sock, 0, wanted_arena(), &devices, OPEN_TIMEOUT_MS, &vg.channel, &err) <
        0) {
        debug(err.message);
        return err.code == GI_RESOURCE_EXHAUSTED ? CUDA_ERROR_DEVICE_UNAVAILABLE
                                                 : CUDA_ERROR_NO_DEVICE;
    }
    const char *blocking = getenv("CUDA_LAUNCH_BLOCKING");
    vg.blocking = blocking && strcmp(blocking, "1") == 0;
    VG_TRY(map_channel());
    host_open(vg.channel.arena_bytes);
    atomic_store(&vg.state, VG_OPEN); /* for vg_ask; others still wait for `opening` */
    return greet();
}

CUresult vg_open(void)
{
    pthread_mutex_lock(&opening);
    CUresult rc = CUDA_SUCCESS;
    if (!watches_forks) {
        watches_forks = true;
        pthread_atfork(registered_fork, registered_fork_parent, forked);
    }
    if (atomic_load(&vg.state) == VG_CLOSED) {
        rc = open_channel();
        if (rc != CUDA_SUCCESS)
            release();
    } else if (atomic_load(&vg.state) == VG_DEAD) {
        rc = CUDA_ERROR_DEVICE_UNAVAILABLE;
    }
    pthread_mutex_unlock(&opening);
    return rc;
}

void vg_close(void)
{
    pthread_mutex_lock(&opening);
    if (atomic_load(&vg.state) == VG_OPEN) {
        struct idm_goodbye_in in;
        memset(&in, 0, sizeof(in));
        vg_queue_goodbye(&in);
    }
    release();
    context_forget_thread();
    pthread_mutex_unlock(&opening);
}

CUresult vg_enter(enum vg_need need)
{
    int state = atomic_load_explicit(&vg.state, memory_order_acquire);
    if (state != VG_OPEN)
        return state == VG_DEAD ? CUDA_ERROR_DEVICE_UNAVAILABLE : CUDA_ERROR_NOT_INITIALIZED;
    if (host_function_is_running())
        return CUDA_ERROR_NOT_PERMITTED;
    if (need == VG_CURRENT_CONTEXT)
        return context_check_current();
    return CUDA_SUCCESS;
}

CUresult vg_nonsense(void)
{
    atomic_store(&vg.state, VG_DEAD);
    return CUDA_ERROR_DEVICE_UNAVAILABLE;
}

CUresult vg_refuse(CUresult why)
{
    int state = atomic_load_explicit(&vg.state, memory_order_acquire);
    return state == VG_CLOSED ? CUDA_ERROR_NOT_INITIALIZED : why;
}
