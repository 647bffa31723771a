/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linking. The driver keeps the addresses it got at the beginning, of logs and options, so each
 * link has a place of its own for them. It ends with its context.
 */
#include <stdlib.h>

#include "internal.h"

struct link {
    uint64_t id;
    uint64_t context;
    CUlinkState driver;
    struct jit jit;
    const char *image; /* the driver's, until the link ends; NULL: not completed */
    size_t image_bytes;
    char info_log[IDM_MAX_LOG_BYTES];
    char error_log[IDM_MAX_LOG_BYTES];
};

static CUresult find(struct worker *w, uint64_t id, struct link **ret_link)
{
    void *link;
    WORKER_TRY(worker_find(w, IDM_KIND_link, id, false, &link));
    *ret_link = link;
    return CUDA_SUCCESS;
}

static struct link **free_place(struct worker *w)
{
    for (unsigned i = 0; i < MAX_LINKS; i++) {
        if (!w->links[i])
            return &w->links[i];
    }
    return NULL;
}

static CUresult create(struct worker *w, struct link *link, const struct idm_cuLinkCreate_v2_in *in)
{
    if (!w->cu.cuLinkCreate_v2 || !w->cu.cuLinkAddData_v2 || !w->cu.cuLinkComplete ||
        !w->cu.cuLinkDestroy)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(worker_jit_options(w, in->options, in->w.options_len, &link->jit));
    link->jit.info_size_at =
        worker_jit_log(&link->jit, CU_JIT_INFO_LOG_BUFFER, link->info_log, in->w.info_log_bytes);
    link->jit.error_size_at =
        worker_jit_log(&link->jit, CU_JIT_ERROR_LOG_BUFFER, link->error_log, in->w.error_log_bytes);
    return w->cu.cuLinkCreate_v2(link->jit.n, link->jit.option, link->jit.value, &link->driver);
}

CUresult worker_cuLinkCreate_v2(struct worker *w, const struct idm_cuLinkCreate_v2_in *in,
                                struct idm_cuLinkCreate_v2_out *out)
{
    struct worker_object *o;
    (void)out;
    w->want_reply = true; /* nobody uses one that isn't there */
    if (!w->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    WORKER_TRY(worker_expect(w, IDM_KIND_link, in->w.state, &o));
    struct link **place = free_place(w);
    struct link *link = place ? calloc(1, sizeof(*link)) : NULL;
    if (!link)
        return CUDA_ERROR_OUT_OF_MEMORY;
    link->id = in->w.state;
    link->context = w->context;
    CUresult rc = create(w, link, in);
    if (rc != CUDA_SUCCESS) {
        free(link);
        return rc;
    }
    *place = link;
    worker_born(w, o, link->id, link, rc);
    return CUDA_SUCCESS;
}

/* Images with sizes within are looked at as those of modules are; of the others the driver
 * gets the length. */
static bool is_sound(const struct image *image, uint32_t type)
{
    if (type == CU_JIT_INPUT_CUBIN || type == CU_JIT_INPUT_FATBINARY)
        return worker_image_valid(image->data, image->bytes);
    return true;
}

static uint32_t log_len(unsigned at, const char *log)
{
    return at ? (uint32_t)strnlen(log, IDM_MAX_LOG_BYTES) : 0;
}

static CUresult add(struct worker *w, struct link *link, const struct image *image,
                    const struct idm_cuLinkAddData_v2_in *in, CUresult *ret_result)
{
    struct jit jit = {.n = 0};
    if (in->w.type >= CU_JIT_NUM_INPUT_TYPES || image->got != image->bytes || link->image)
        return CUDA_ERROR_INVALID_VALUE;
    WORKER_TRY(worker_jit_options(w, in->options, in->w.options_len, &jit));
    *ret_result =
        is_sound(image, in->w.type)
            ? w->cu.cuLinkAddData_v2(link->driver, (CUjitInputType)in->w.type, image->data,
                                     image->bytes, in->name, jit.n, jit.option, jit.value)
            : CUDA_ERROR_INVALID_IMAGE;
    return CUDA_SUCCESS;
}

CUresult worker_cuLinkAddData_v2(struct worker *w, const struct idm_cuLinkAddData_v2_in *in,
                                 struct idm_cuLinkAddData_v2_out *out)
{
    struct link *link;
    CUresult result = CUDA_SUCCESS;
    struct image *image = worker_find_image(w, in->w.image);
    if (!image)
        return CUDA_ERROR_INVALID_IMAGE;
    CUresult rc = find(w, in->w.state, &link);
    if (rc == CUDA_SUCCESS)
        rc = add(w, link, image, in, &result);
    worker_drop_image(image);
    WORKER_TRY(rc);
    out->w.link_result = (int32_t)result;
    out->info_log = link->info_log;
    out->w.info_log_len = log_len(link->jit.info_size_at, link->info_log);
    out->error_log = link->error_log;
    out->w.error_log_len = log_len(link->jit.error_size_at, link->error_log);
    return CUDA_SUCCESS;
}

CUresult worker_cuLinkComplete(struct worker *w, const struct idm_cuLinkComplete_in *in,
                               struct idm_cuLinkComplete_out *out)
{
    struct link *link;
    void *image = NULL;
    size_t bytes = 0;
    WORKER_TRY(find(w, in->w.state, &link));
    if (!link->image) {
        CUresult rc = w->cu.cuLinkComplete(link->driver, &image, &bytes);
        if (rc == CUDA_SUCCESS && bytes > IDM_MAX_IMAGE_BYTES)
            rc = CUDA_ERROR_OUT_OF_MEMORY;
        out->w.link_result = (int32_t)rc;
        if (rc == CUDA_SUCCESS) {
            link->image = image;
            link->image_bytes = bytes;
        }
    }
    out->w.image_bytes = link->image_bytes;
    out->info_log = link->info_log;
    out->w.info_log_len = log_len(link->jit.info_size_at, link->info_log);
    out->error_log = link->error_log;
    out->w.error_log_len = log_len(link->jit.error_size_at, link->error_log);
    return CUDA_SUCCESS;
}

#define MAX_PIECE 8192u

CUresult worker_link_piece(struct worker *w, const struct idm_link_piece_in *in,
                           struct idm_link_piece_out *out)
{
    struct link *link;
    WORKER_TRY(find(w, in->w.link, &link));
    if (!link->image || in->w.at >= link->image_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t left = link->image_bytes - in->w.at;
    uint32_t room = idm_max_payload(w->out.size) / 2;
    if (room > MAX_PIECE)
        room = MAX_PIECE;
    out->data = link->image + in->w.at;
    out->w.data_len = left < room ? (uint32_t)left : room;
    return CUDA_SUCCESS;
}

static CUresult end(struct worker *w, struct link **place)
{
    struct link *link = *place;
    *place = NULL;
    CUresult rc = w->cu.cuLinkDestroy(link->driver);
    worker_gone(w, link->id);
    free(link);
    return rc;
}

CUresult worker_cuLinkDestroy(struct worker *w, const struct idm_cuLinkDestroy_in *in,
                              struct idm_cuLinkDestroy_out *out)
{
    struct link *link;
    (void)out;
    WORKER_TRY(find(w, in->w.state, &link));
    for (unsigned i = 0; i < MAX_LINKS; i++) {
        if (w->links[i] == link)
            return end(w, &w->links[i]);
    }
    return CUDA_ERROR_INVALID_HANDLE;
}

void worker_end_links(struct worker *w, uint64_t context)
{
    for (unsigned i = 0; i < MAX_LINKS; i++) {
        if (w->links[i] && (!context || w->links[i]->context == context))
            end(w, &w->links[i]);
    }
}
