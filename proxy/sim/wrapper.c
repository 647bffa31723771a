/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wrapper nvcc puts around a fatbin (toolkit: fatbinary_section.h). Of a program with device
 * code in several files it has what was linked, machine code only, and what it was linked from.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "link.h"

#define WRAPPER_MAGIC  0x466243b1u
#define FATBIN_MAGIC   0xba55ed50u
#define LINKED_VERSION 2
#define MAX_PARTS      256

struct wrapper {
    uint32_t magic, version;
    const void *data;
    const void *const *parts; /* version 2: what DATA was linked from; ends with NULL */
};
_Static_assert(sizeof(struct wrapper) == 24, "wrapper");

struct header {
    uint32_t magic;
    uint16_t version, header_size;
    uint64_t size; /* of the entries */
};

/* How much of it there is, only it can tell. */
static CUresult parse_at(const void *data, struct image *ret_image)
{
    struct header h;
    memcpy(&h, data, sizeof(h));
    if (h.magic != FATBIN_MAGIC || h.size > SIZE_MAX - h.header_size)
        return CUDA_ERROR_INVALID_IMAGE;
    return fatbin_parse(data, h.header_size + h.size, ret_image);
}

/* The texts of PARTS, linked: for a GPU that what they were linked to has no code for. */
static CUresult link_parts(const void *const *parts, struct image *ret_image)
{
    struct image part[MAX_PARTS] = {{.text = NULL}};
    struct link_input input[MAX_PARTS];
    struct sim_log log = {.text = ""};
    char why[256] = "";
    unsigned n = 0;
    CUresult rc = CUDA_SUCCESS;
    for (; rc == CUDA_SUCCESS && parts[n]; n++) {
        rc = n < MAX_PARTS ? parse_at(parts[n], &part[n]) : CUDA_ERROR_NO_BINARY_FOR_GPU;
        if (rc == CUDA_SUCCESS)
            rc = image_check_part(&part[n], &log);
        if (rc != CUDA_SUCCESS)
            break;
        input[n] = (struct link_input){part[n].text, part[n].len};
    }
    if (rc == CUDA_SUCCESS) {
        size_t len = 0;
        char *text = link_texts(input, n, &len, why);
        *ret_image = (struct image){text, len, text};
        rc = text ? CUDA_SUCCESS : why[0] ? CUDA_ERROR_INVALID_PTX : CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (log.text[0] || why[0])
        fprintf(stderr, "simulated GPU: a program's parts can't be linked: %.300s\n",
                log.text[0] ? log.text : why);
    for (unsigned i = 0; i < n && i < MAX_PARTS; i++)
        free(part[i].owned);
    return rc;
}

CUresult fatbin_find(const void *data, struct image *ret_image)
{
    struct wrapper w = {.data = data};
    uint32_t magic;
    memcpy(&magic, data, sizeof(magic));
    if (magic == WRAPPER_MAGIC)
        memcpy(&w, data, sizeof(w));
    if (!w.data)
        return CUDA_ERROR_INVALID_IMAGE;
    CUresult rc = parse_at(w.data, ret_image);
    if (rc == CUDA_ERROR_NO_BINARY_FOR_GPU && w.version == LINKED_VERSION && w.parts && w.parts[0])
        rc = link_parts(w.parts, ret_image);
    return rc;
}
