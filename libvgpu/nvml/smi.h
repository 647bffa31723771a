/* SPDX-License-Identifier: Apache-2.0 */
/* What vgpu-smi's ways to show it share. */
#ifndef VGPU_SMI_H
#define VGPU_SMI_H

#include "channel.h"

struct gpu {
    nvmlDevice_t device;
    char name[128];
    char uuid[48];
    nvmlPciInfo_t pci;
    nvmlMemory_t memory;
    nvmlUtilization_t use;
    int major, minor;
    unsigned mode;
};

/* What the driver doesn't tell stays zero. */
nvmlReturn_t smi_look(unsigned index, struct gpu *g);
const char *smi_mode_name(unsigned mode);
/* The worker's texts go to a terminal: other characters become question marks. */
void smi_make_printable(char *text);

/* smi_query.c: nvidia-smi's --query-gpu and --query-compute-apps, as CSV. */
struct smi_query {
    const char *gpu_fields; /* a list with commas, or NULL */
    const char *app_fields; /* the same of processes */
    bool header, units;
    const char *only; /* a GPU's index, UUID or bus id; NULL: all of them */
};

/* FORMAT ("csv,noheader,nounits") into Q; false: it is no such thing. */
bool smi_query_format(struct smi_query *q, const char *format);
/* The first field that is none, to RET (SIZE bytes); false: all are. */
bool smi_query_wrong(const struct smi_query *q, char *ret, size_t size);
/* REPORT's processes. NOT_FOUND: there is no GPU like q->only. */
nvmlReturn_t smi_query(const struct smi_query *q, const struct nv_report *report);

#endif
