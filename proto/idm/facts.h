/* SPDX-License-Identifier: Apache-2.0 */
/* Structs inside variable parts of messages. */
#ifndef GI_IDM_FACTS_H
#define GI_IDM_FACTS_H

#include <stdint.h>

#define IDM_PROTOCOL          5 /* both ends come from one release; a mismatch is told apart by this */

#define IDM_DEVICE_ATTRIBUTES 160
#define IDM_ARENA_PLACES      4 /* hello: what is beyond them is not looked at */

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

/* A launch's attribute; no value holds an address or a handle but the one of
 * CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW. */
struct idm_launch_attribute {
    uint32_t id;
    uint32_t pad_;
    uint8_t value[64];
};
#define IDM_MAX_ATTRIBUTES 16u

/* cuStreamBatchMemOp, and a graph's node of that kind. */
struct idm_memory_op {
    uint32_t operation;
    uint32_t flags;
    uint64_t address; /* device */
    uint64_t value;
};
#define IDM_MAX_MEMORY_OPS 256u

/* graph_make: first this, then one of the next a step, in an order that its edges allow. Behind it,
 * each padded to 8: the steps it depends on, u32 each; the struct of its kind; that one's parts. */
struct idm_graph_head {
    uint32_t n_steps;
    uint32_t flags;
};

struct idm_graph_step {
    uint32_t kind; /* CUgraphNodeType */
    uint32_t n_deps;
    uint32_t enabled;
    uint32_t pad_;
};
#define IDM_MAX_GRAPH_STEPS (1u << 17)

struct idm_graph_kernel {
    uint64_t code;
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t shared;
    uint32_t params_len;
    uint32_t attributes_len;
    uint32_t pad_;
}; /* params, attributes */

struct idm_graph_copy {
    uint64_t dst; /* a device address, or in the arena */
    uint64_t src;
    uint64_t dst_pitch, dst_plane;
    uint64_t src_pitch, src_plane;
    uint64_t width, height, depth;
    uint32_t dst_arena;
    uint32_t src_arena;
    uint64_t dst_array, src_array; /* 0: not in one; else dst, src are the left byte there */
    uint64_t dst_y, dst_z, src_y, src_z;
};

struct idm_graph_fill {
    uint64_t dst;
    uint64_t pitch;
    uint64_t width;
    uint64_t height;
    uint32_t value;
    uint32_t unit;
};

struct idm_graph_event {
    uint64_t event;
};

struct idm_graph_ops {
    uint32_t ops_len;
    uint32_t pad_;
}; /* ops */

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
