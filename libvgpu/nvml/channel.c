/* SPDX-License-Identifier: Apache-2.0 */
#include "channel.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "idm/cuda_abi.h"
#include "idm/handover.h"
#include "idm/ring.h"
#include "idm_wire.h"

#define DEFAULT_SOCKET  "/run/gpu-isolated/gpu.sock"
#define OPEN_TIMEOUT_MS 60000
#define ASK_TIMEOUT_NS  (10ll * 1000 * 1000 * 1000)
#define SPIN_NS         (20 * 1000)
#define MAX_WAKES       8 /* a wait may end early, by a signal or an old ring of the bell */
/* Its answers' half ring holds hello and a report of all clients. */
#define RING_BYTES (256u << 10)

static struct {
    pthread_mutex_t lock; /* everything */
    unsigned references;
    bool open;
    bool dead;
    bool watches_forks;
    int sock;
    struct handover_channel channel;
    void *page;
    struct idm_producer out;
    struct idm_consumer in;
    uint64_t seq;
    int cuda_version;
    unsigned n_devices;
    struct nvml_device devices[NV_MAX_DEVICES];
    _Alignas(8) uint8_t answer[NV_ANSWER_MAX];
} nv = {.lock = PTHREAD_MUTEX_INITIALIZER, .sock = -1, .channel = HANDOVER_CHANNEL_INIT};

static void release(void)
{
    if (nv.page)
        munmap(nv.page, nv.channel.ring_bytes);
    if (nv.sock >= 0)
        close(nv.sock);
    handover_channel_close(&nv.channel);
    nv.page = NULL;
    nv.sock = -1;
    nv.seq = 0;
    nv.open = nv.dead = false;
}

/* The rings are the parent's; as long as the child holds the connection, too, the
 * parent's end would go unnoticed. */
static void forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&nv.lock, &mutex, sizeof(mutex));
    release();
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

static nvmlReturn_t lost(void)
{
    nv.dead = true;
    return NVML_ERROR_GPU_IS_LOST;
}

/* With the lock held: one request, and the answer to it into nv.answer. */
static nvmlReturn_t ask(uint16_t type, const struct idm_part *parts, unsigned n, uint32_t *ret_len)
{
    void *payload;
    struct idm_header h;
    struct idm_reply head;
    const struct idm_wait how = {
        .spin_ns = SPIN_NS, .timeout_ns = ASK_TIMEOUT_NS, .other_fd = nv.sock};
    uint32_t len = idm_parts_len(parts, n, idm_max_payload(nv.out.size));
    if (nv.dead || len == 0 || idm_reserve(&nv.out, len, &payload) < 0)
        return lost();
    idm_write_parts(payload, parts, n);
    idm_publish(&nv.out, type, ++nv.seq, IDM_FLAG_WANT_REPLY, len);
    int rc = 0;
    for (int i = 0; i < MAX_WAKES && rc == 0; i++) {
        if (idm_wait(&nv.in, &how) == -IDM_GONE)
            return lost();
        rc = idm_next(&nv.in, &h, nv.answer, sizeof(nv.answer));
    }
    /* One question at a time: any other answer, or none, is nonsense. */
    if (rc <= 0 || h.seq_num != nv.seq || h.msg_type != type || h.payload_len < sizeof(head))
        return lost();
    memcpy(&head, nv.answer, sizeof(head));
    *ret_len = h.payload_len;
    return head.result == CUDA_SUCCESS ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

static nvmlReturn_t greet(void)
{
    struct idm_hello_in in;
    struct idm_hello_out out;
    struct idm_part parts[IDM_MAX_PARTS];
    uint32_t len;
    memset(&in, 0, sizeof(in));
    in.w.protocol = IDM_PROTOCOL;
    nvmlReturn_t rc = ask(IDM_hello, parts, idm_parts_hello_in(&in, parts), &len);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!idm_decode_hello_out(nv.answer, len, &out))
        return lost();
    const struct idm_device_facts *facts = out.facts;
    unsigned n = out.w.facts_len / (uint32_t)sizeof(*facts);
    nv.n_devices = n < NV_MAX_DEVICES ? n : NV_MAX_DEVICES;
    nv.cuda_version = (int)out.w.driver_version;
    for (unsigned i = 0; i < nv.n_devices; i++) {
        struct idm_device_facts *f = &nv.devices[i].facts;
        memcpy(f, &facts[i], sizeof(*f));
        f->name[sizeof(f->name) - 1] = '\0';
        f->pci_bus_id[sizeof(f->pci_bus_id) - 1] = '\0';
        nv.devices[i].index = i;
    }
    return NVML_SUCCESS;
}

static nvmlReturn_t open_channel(void)
{
    struct gi_error err = GI_ERROR_INIT;
    struct handover_channel *ch = &nv.channel;
    nv.sock = connect_socket();
    if (nv.sock < 0)
        return NVML_ERROR_DRIVER_NOT_LOADED;
    if (handover_request(nv.sock, RING_BYTES, HANDOVER_MIN_ARENA, NULL, OPEN_TIMEOUT_MS, ch, &err) <
        0)
        return err.code == GI_RESOURCE_EXHAUSTED ? NVML_ERROR_INSUFFICIENT_RESOURCES
                                                 : NVML_ERROR_DRIVER_NOT_LOADED;
    void *p = mmap(NULL, ch->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ch->ring, 0);
    if (p == MAP_FAILED)
        return NVML_ERROR_MEMORY;
    nv.page = p;
    if (idm_producer_init(&nv.out, p, ch->ring_bytes, true) < 0 ||
        idm_consumer_init(&nv.in, p, ch->ring_bytes, false) < 0)
        return NVML_ERROR_UNKNOWN;
    nv.out.bell = ch->to_proxy;
    nv.out.src_zone = ch->zone;
    nv.in.bell = ch->to_client;
    nv.open = true;
    return greet();
}

/* With the lock held. */
static nvmlReturn_t ensure(void)
{
    if (nv.open)
        return NVML_SUCCESS;
    if (!nv.watches_forks) {
        nv.watches_forks = true;
        pthread_atfork(NULL, NULL, forked);
    }
    nvmlReturn_t rc = open_channel();
    if (rc != NVML_SUCCESS)
        release();
    return rc;
}

nvmlReturn_t nv_open(void)
{
    pthread_mutex_lock(&nv.lock);
    nvmlReturn_t rc = ensure();
    if (rc == NVML_SUCCESS)
        nv.references++;
    pthread_mutex_unlock(&nv.lock);
    return rc;
}

nvmlReturn_t nv_close(void)
{
    pthread_mutex_lock(&nv.lock);
    nvmlReturn_t rc = nv.references ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
    if (nv.references && --nv.references == 0)
        release(); /* the worker sees the connection's end */
    pthread_mutex_unlock(&nv.lock);
    return rc;
}

nvmlReturn_t nv_enter(void)
{
    pthread_mutex_lock(&nv.lock);
    nvmlReturn_t rc = nv.references ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
    pthread_mutex_unlock(&nv.lock);
    return rc;
}

unsigned nv_devices(void)
{
    return nv.n_devices;
}

struct nvml_device *nv_device(unsigned index)
{
    return index < nv.n_devices ? &nv.devices[index] : NULL;
}

nvmlReturn_t nv_facts(nvmlDevice_t device, const struct idm_device_facts **ret_facts)
{
    nvmlReturn_t rc = nv_enter();
    if (rc != NVML_SUCCESS)
        return rc;
    for (unsigned i = 0; i < nv.n_devices; i++) {
        if (device == &nv.devices[i]) {
            *ret_facts = &device->facts;
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_INVALID_ARGUMENT;
}

int nv_cuda_version(void)
{
    return nv.cuda_version;
}

static nvmlReturn_t report(struct nv_report *r)
{
    struct idm_zone_report_in in;
    struct idm_zone_report_out out;
    struct idm_part parts[IDM_MAX_PARTS];
    uint32_t len;
    memset(&in, 0, sizeof(in));
    nvmlReturn_t rc = ask(IDM_zone_report, parts, idm_parts_zone_report_in(&in, parts), &len);
    if (rc != NVML_SUCCESS)
        return rc;
    if (!idm_decode_zone_report_out(nv.answer, len, &out))
        return lost();
    memset(r, 0, sizeof(*r));
    r->memory_quota = out.w.memory_quota;
    r->memory_used = out.w.memory_used;
    r->busy_permille = out.w.busy_permille;
    memcpy(r->driver, out.driver,
           out.w.driver_len < sizeof(r->driver) ? out.w.driver_len : sizeof(r->driver) - 1);
    uint32_t n = out.w.clients_len / (uint32_t)sizeof(r->clients[0]);
    r->n_clients = n < NV_MAX_CLIENTS ? n : NV_MAX_CLIENTS;
    memcpy(r->clients, out.clients, r->n_clients * sizeof(r->clients[0]));
    for (uint32_t i = 0; i < r->n_clients; i++)
        r->clients[i].name[sizeof(r->clients[i].name) - 1] = '\0';
    return NVML_SUCCESS;
}

nvmlReturn_t nv_ask_report(struct nv_report *ret_report)
{
    pthread_mutex_lock(&nv.lock);
    nvmlReturn_t rc = nv.references ? ensure() : NVML_ERROR_UNINITIALIZED;
    if (rc == NVML_SUCCESS)
        rc = report(ret_report);
    pthread_mutex_unlock(&nv.lock);
    return rc;
}

nvmlReturn_t nv_can_access(unsigned device, unsigned peer, bool *ret_can)
{
    const struct idm_cuDeviceCanAccessPeer_in in = {.w = {.dev = (int)device, .peer = (int)peer}};
    struct idm_cuDeviceCanAccessPeer_out out;
    struct idm_part parts[IDM_MAX_PARTS];
    uint32_t len;
    pthread_mutex_lock(&nv.lock);
    nvmlReturn_t rc = nv.references ? ensure() : NVML_ERROR_UNINITIALIZED;
    if (rc == NVML_SUCCESS)
        rc = ask(IDM_cuDeviceCanAccessPeer, parts, idm_parts_cuDeviceCanAccessPeer_in(&in, parts),
                 &len);
    if (rc == NVML_SUCCESS && !idm_decode_cuDeviceCanAccessPeer_out(nv.answer, len, &out))
        rc = lost();
    if (rc == NVML_SUCCESS)
        *ret_can = out.w.can != 0;
    pthread_mutex_unlock(&nv.lock);
    return rc;
}
