/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libnvidia-ml's own channel to the zone's gpu-proxy: small, without a CUDA
 * context, asking only. Thread-safe. Made by the first nvmlInit, closed by the
 * last nvmlShutdown; a fork's child makes its own at its first question.
 */
#ifndef VG_NVML_CHANNEL_H
#define VG_NVML_CHANNEL_H

#include <stdbool.h>

#include "idm/facts.h"
#include "nvml.h"

#define NV_MAX_DEVICES 8
#define NV_MAX_CLIENTS 256
#define NV_ANSWER_MAX  65536

struct nvml_device {
    struct idm_device_facts facts; /* texts are NUL-terminated */
    unsigned index;
};

struct nv_report {
    uint64_t memory_quota;
    uint64_t memory_used;
    uint32_t busy_permille;
    uint32_t n_clients;
    char driver[64]; /* "" unknown */
    struct idm_zone_client clients[NV_MAX_CLIENTS];
};

/* Counts references. DRIVER_NOT_LOADED: there is no GPU here;
 * INSUFFICIENT_RESOURCES: the zone has no place for another client. */
nvmlReturn_t nv_open(void);
nvmlReturn_t nv_close(void);
/* NVML_SUCCESS while initialized. */
nvmlReturn_t nv_enter(void);

/* The zone's devices, unchanged from the first nv_open on. */
unsigned nv_devices(void);
struct nvml_device *nv_device(unsigned index);
/* DEVICE's facts, or INVALID_ARGUMENT when it is none of ours. */
nvmlReturn_t nv_facts(nvmlDevice_t device, const struct idm_device_facts **ret_facts);
int nv_cuda_version(void);

/* Fresh figures. GPU_IS_LOST when the channel is dead. */
nvmlReturn_t nv_ask_report(struct nv_report *ret_report);

/* May DEVICE's kernels use PEER's memory? As the driver says. */
nvmlReturn_t nv_can_access(unsigned device, unsigned peer, bool *ret_can);

/* Copies TEXT, NUL and all: INSUFFICIENT_SIZE when it doesn't fit. */
nvmlReturn_t nv_give_text(const char *text, char *out, unsigned int length);

#endif
