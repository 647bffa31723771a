/* SPDX-License-Identifier: Apache-2.0 */
/* Structs inside variable parts of messages. */
#ifndef GI_IDM_FACTS_H
#define GI_IDM_FACTS_H

#include <stdint.h>

#define IDM_PROTOCOL          1 /* both ends come from one release; a mismatch is told apart by this */

#define IDM_DEVICE_ATTRIBUTES 160

/* hello: one per device, for calls that ask about devices. */
struct idm_device_facts {
    char name[128];
    char pci_bus_id[16];
    uint8_t uuid[16];
    uint64_t total_memory; /* the zone's quota when that is less */
    int32_t attribute[IDM_DEVICE_ATTRIBUTES];
    uint8_t known[IDM_DEVICE_ATTRIBUTES / 8]; /* bit per attribute the driver answers */
    uint8_t pad_[4];
};
_Static_assert(sizeof(struct idm_device_facts) % 8 == 0, "facts");

/* zone_report: one per client that said who it is and has a context. What it says of
 * itself is its word: printable ASCII, ended by a NUL. */
#define IDM_PROCESS_NAME 96
struct idm_zone_client {
    uint32_t pid; /* in the process's own namespace */
    uint32_t pad_;
    uint64_t memory_used;
    uint64_t gpu_ns;
    uint64_t launches;
    char name[IDM_PROCESS_NAME];
};
_Static_assert(sizeof(struct idm_zone_client) % 8 == 0, "zone client");

#define IDM_FUNCTION_ATTRIBUTES 16

/* cuModuleGetFunction: attributes ... */
struct idm_function_facts {
    int32_t attribute[IDM_FUNCTION_ATTRIBUTES];
    uint32_t known; /* bit per attribute */
    uint32_t params_known;
};

/* ... and params, one each. */
struct idm_param {
    uint32_t offset;
    uint32_t size;
};
#define IDM_MAX_PARAMS      1024
#define IDM_MAX_PARAM_BYTES 32768u

/* cuModuleLoadDataEx: options. */
struct idm_option {
    uint32_t option;
    uint32_t pad_;
    uint64_t value;
};
#define IDM_MAX_OPTIONS   32
#define IDM_MAX_LOG_BYTES 4096u

/* Of a launch's configuration what cuOccupancyMax*Cluster* are about. */
struct idm_cluster_config {
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t shared;
    uint32_t has_cluster; /* the launch says how large its clusters are */
    uint32_t cluster[3];
    uint32_t pad_;
};

/* cuTensorMapEncode*: what the call's parameters are, as far as it has them. */
#define IDM_TENSOR_MAP_RANK  5
#define IDM_TENSOR_MAP_BYTES 128
struct idm_tensor_map {
    uint64_t address;
    uint64_t dim[IDM_TENSOR_MAP_RANK];
    uint64_t stride[IDM_TENSOR_MAP_RANK];
    uint32_t box[IDM_TENSOR_MAP_RANK];
    uint32_t element_stride[IDM_TENSOR_MAP_RANK];
    int32_t lower[IDM_TENSOR_MAP_RANK];
    int32_t upper[IDM_TENSOR_MAP_RANK];
    uint32_t type, rank;
    uint32_t channels, pixels;
    uint32_t interleave, mode, swizzle, promotion, fill;
    uint32_t pad_;
};

/* image_part: bytes of one module's image, and of a piece. */
#define IDM_MAX_IMAGE_BYTES (512ull << 20)

#endif
