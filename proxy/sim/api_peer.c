/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices as each other's peers. A context reaches the memory of those it has enabled, whose
 * objects it holds: a dead one's memory is gone, and no new context has its address.
 */
#include <pthread.h>

#include "stream.h"

enum {
    P2P_PERFORMANCE_RANK = 1,
    P2P_ACCESS_SUPPORTED,
    P2P_NATIVE_ATOMIC_SUPPORTED,
    P2P_CUDA_ARRAY_ACCESS_SUPPORTED,
    P2P_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED
};

/* Of all contexts' lists; kernels read them without. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

bool peers_reach(const struct CUctx_st *c, const void *whose)
{
    for (unsigned i = 0; i < SIM_MAX_PEERS; i++) {
        if (atomic_load(&c->peers[i]) == whose)
            return true;
    }
    return false;
}

/* Under the lock: the place of WHOSE in C's list; NULL: it isn't there. */
static _Atomic(struct CUctx_st *) *place_of(struct CUctx_st *c, const struct CUctx_st *whose)
{
    for (unsigned i = 0; i < SIM_MAX_PEERS; i++) {
        if (atomic_load(&c->peers[i]) == whose)
            return &c->peers[i];
    }
    return NULL;
}

static void leave(_Atomic(struct CUctx_st *) *place)
{
    struct CUctx_st *peer = atomic_exchange(place, NULL);
    if (peer)
        object_put(&peer->o);
}

/* Under the lock: forgets those that have ended. */
static void sweep(struct CUctx_st *c)
{
    for (unsigned i = 0; i < SIM_MAX_PEERS; i++) {
        const struct CUctx_st *peer = atomic_load(&c->peers[i]);
        if (peer && peer->dead)
            leave(&c->peers[i]);
    }
}

void peers_end(struct CUctx_st *c)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < SIM_MAX_PEERS; i++)
        leave(&c->peers[i]);
    pthread_mutex_unlock(&lock);
}

static CUresult enable(struct CUctx_st *c, struct CUctx_st *peer)
{
    sweep(c);
    if (c->dead || peer->dead)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (place_of(c, peer))
        return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
    _Atomic(struct CUctx_st *) *place = place_of(c, NULL);
    if (!place)
        return CUDA_ERROR_TOO_MANY_PEERS;
    object_hold(&peer->o);
    peer->reached = true;
    atomic_store(place, peer);
    return CUDA_SUCCESS;
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    PUT_LATER(CUctx_st) *p = context_find(peer);
    if (!p || p == c)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (p->device == c->device)
        return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
    pthread_mutex_lock(&lock);
    CUresult rc = enable(c, p);
    pthread_mutex_unlock(&lock);
    return rc;
}

/* What was launched before still reaches it. */
CUresult cuCtxDisablePeerAccess(CUcontext peer)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    PUT_LATER(CUctx_st) *p = context_find(peer);
    if (!p)
        return CUDA_ERROR_INVALID_CONTEXT;
    sched_drain(c);
    pthread_mutex_lock(&lock);
    _Atomic(struct CUctx_st *) *place = place_of(c, p);
    if (place)
        leave(place);
    pthread_mutex_unlock(&lock);
    return place ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}

static CUresult check_devices(CUdevice a, CUdevice b)
{
    TRY(sim_enter());
    return a < 0 || a >= (int)sim.devices || b < 0 || b >= (int)sim.devices
               ? CUDA_ERROR_INVALID_DEVICE
               : CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice dev, CUdevice peer)
{
    TRY(sim_enter());
    if (!can)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_devices(dev, peer));
    *can = dev != peer;
    return CUDA_SUCCESS;
}

/* All ways between two devices are alike: through the host's memory, which has all atomics. */
CUresult cuDeviceGetP2PAttribute(int *value, int what, CUdevice src, CUdevice dst)
{
    TRY(sim_enter());
    if (!value || what < P2P_PERFORMANCE_RANK || what > P2P_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_devices(src, dst));
    if (src == dst)
        return CUDA_ERROR_INVALID_DEVICE;
    *value = what == P2P_ACCESS_SUPPORTED || what == P2P_NATIVE_ATOMIC_SUPPORTED;
    return CUDA_SUCCESS;
}
