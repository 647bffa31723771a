/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linking. The driver's linker is in the worker: inputs go there as images do, files are read
 * here. What comes of it is fetched piece by piece and kept until the link is destroyed.
 */
#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "handles.h"
#include "load.h"
#include "module.h"

/* What is known about a link; with `lock`, for a program that uses one from several threads. */
struct link {
    struct load_options options; /* its logs are written as long as it lives */
    size_t bytes;
    char image[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void link_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&lock, &mutex, sizeof(mutex));
}

VG_EXPORT CUresult cuLinkCreate_v2(unsigned int n, CUjit_option *options, void **values,
                                   CUlinkState *state)
{
    struct idm_cuLinkCreate_v2_in in;
    struct idm_cuLinkCreate_v2_out out;
    struct vg_answer answer;
    struct load_options o;
    memset(&in, 0, sizeof(in));
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!state)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(load_options(&o, n, options, values));
    struct link *link = calloc(1, sizeof(*link));
    if (!link)
        return CUDA_ERROR_OUT_OF_MEMORY;
    link->options = o;
    CUresult rc = vg_new(IDM_KIND_link, &in.w.state);
    if (rc != CUDA_SUCCESS) {
        free(link);
        return rc;
    }
    vg_describe(in.w.state, 0, 0, link); /* which goes with it */
    const struct load_request r = load_request(&o, in.w.state);
    in.w.info_log_bytes = r.info_log_bytes;
    in.w.error_log_bytes = r.error_log_bytes;
    in.w.options_len = r.options_len;
    in.options = r.options;
    rc = vg_ask_cuLinkCreate_v2(&in, &out, &answer);
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.state);
    else
        *state = vg_pointer(in.w.state);
    return rc;
}

/* With the lock. */
static CUresult use(CUlinkState state, uint64_t *ret_id, struct link **ret_link)
{
    VG_TRY(vg_use(IDM_KIND_link, state, false, ret_id));
    const struct vg_object *o = vg_find(IDM_KIND_link, *ret_id);
    if (!o || !o->data)
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_link = o->data;
    return CUDA_SUCCESS;
}

struct input {
    CUjitInputType type;
    const char *name;
    uint32_t name_len;
};

static CUresult ask_add(const struct load_request *r, struct load_answer *a)
{
    const struct input *input = r->more;
    struct idm_cuLinkAddData_v2_out out;
    const struct idm_cuLinkAddData_v2_in in = {.w = {.state = r->id,
                                                     .type = (uint32_t)input->type,
                                                     .image = r->image,
                                                     .name_len = input->name_len,
                                                     .options_len = r->options_len},
                                               .name = input->name,
                                               .options = r->options};
    VG_TRY(vg_ask_cuLinkAddData_v2(&in, &out, &a->answer));
    a->result = (CUresult)out.w.link_result;
    a->info_log = out.info_log;
    a->info_log_len = out.w.info_log_len;
    a->error_log = out.error_log;
    a->error_log_len = out.w.error_log_len;
    return CUDA_SUCCESS;
}

/* With the lock. */
static CUresult add(CUlinkState state, struct input *input, const void *data, size_t bytes,
                    const struct load_options *own)
{
    uint64_t id;
    struct link *link;
    VG_TRY(use(state, &id, &link));
    VG_TRY(vg_use_text(input->name, 4096, &input->name_len));
    struct load_request r = load_request(own, id);
    r.more = input;
    return load_send(data, bytes, &r, &link->options, ask_add);
}

VG_EXPORT CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data,
                                    size_t bytes, const char *name, unsigned int n,
                                    CUjit_option *options, void **values)
{
    struct load_options own;
    struct input input = {.type = type, .name = name ? name : ""};
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!data || !bytes || bytes > IDM_MAX_IMAGE_BYTES || (int)type < 0 ||
        type >= CU_JIT_NUM_INPUT_TYPES)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(load_options(&own, n, options, values));
    pthread_mutex_lock(&lock);
    CUresult rc = add(state, &input, data, bytes, &own);
    pthread_mutex_unlock(&lock);
    return rc;
}

VG_EXPORT CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path,
                                    unsigned int n, CUjit_option *options, void **values)
{
    size_t bytes;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!path)
        return CUDA_ERROR_INVALID_VALUE;
    char *data = load_file(path, &bytes);
    if (!data)
        return CUDA_ERROR_FILE_NOT_FOUND;
    CUresult rc = cuLinkAddData_v2(state, type, data, bytes, path, n, options, values);
    free(data);
    return rc;
}

static CUresult fetch(struct link *link, uint64_t id)
{
    struct vg_answer answer;
    for (size_t at = 0; at < link->bytes;) {
        const struct idm_link_piece_in in = {.w = {.link = id, .at = at}};
        struct idm_link_piece_out out;
        VG_TRY(vg_ask_link_piece(&in, &out, &answer));
        if (out.w.data_len == 0 || out.w.data_len > link->bytes - at)
            return vg_nonsense();
        memcpy(link->image + at, out.data, out.w.data_len);
        at += out.w.data_len;
    }
    return CUDA_SUCCESS;
}

/* With the lock. LINK is replaced by one that has the image. */
static CUresult keep_image(uint64_t id, const struct link *link, uint64_t bytes,
                           struct link **ret_link)
{
    if (bytes == 0 || bytes > IDM_MAX_IMAGE_BYTES)
        return vg_nonsense();
    struct link *whole = calloc(1, sizeof(*whole) + bytes + 1);
    if (!whole)
        return CUDA_ERROR_OUT_OF_MEMORY;
    whole->options = link->options;
    whole->bytes = bytes;
    CUresult rc = fetch(whole, id);
    struct vg_object *o = vg_find(IDM_KIND_link, id);
    if (rc == CUDA_SUCCESS && !o)
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (rc != CUDA_SUCCESS) {
        free(whole);
        return rc;
    }
    free(o->data);
    o->data = whole;
    *ret_link = whole;
    return CUDA_SUCCESS;
}

/* With the lock. */
static CUresult complete(CUlinkState state, struct link **ret_link)
{
    struct idm_cuLinkComplete_in in;
    struct idm_cuLinkComplete_out out;
    struct load_answer a;
    memset(&in, 0, sizeof(in));
    VG_TRY(use(state, &in.w.state, ret_link));
    if ((*ret_link)->bytes) /* once and for all */
        return CUDA_SUCCESS;
    VG_TRY(vg_ask_cuLinkComplete(&in, &out, &a.answer));
    a.result = (CUresult)out.w.link_result;
    a.info_log = out.info_log;
    a.info_log_len = out.w.info_log_len;
    a.error_log = out.error_log;
    a.error_log_len = out.w.error_log_len;
    VG_TRY(load_result(&(*ret_link)->options, &a));
    return keep_image(in.w.state, *ret_link, out.w.image_bytes, ret_link);
}

VG_EXPORT CUresult cuLinkComplete(CUlinkState state, void **image, size_t *bytes)
{
    struct link *link = NULL;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!image)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    CUresult rc = complete(state, &link);
    if (rc == CUDA_SUCCESS) {
        *image = link->image;
        if (bytes)
            *bytes = link->bytes;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

VG_EXPORT CUresult cuLinkDestroy(CUlinkState state)
{
    struct idm_cuLinkDestroy_in in;
    struct idm_cuLinkDestroy_out out;
    struct vg_answer answer;
    memset(&in, 0, sizeof(in));
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    pthread_mutex_lock(&lock);
    CUresult rc = vg_use(IDM_KIND_link, state, false, &in.w.state);
    if (rc == CUDA_SUCCESS) {
        rc = vg_ask_cuLinkDestroy(&in, &out, &answer);
        vg_forget(in.w.state);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}
