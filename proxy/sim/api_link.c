/* SPDX-License-Identifier: Apache-2.0 */
/* cuLink*: PTX texts into one, which is what the "cubin" of this GPU is. */
#include <stdlib.h>
#include <string.h>

#include "link.h"
#include "stream.h"

#define MAX_INPUTS 256

struct CUlinkState_st {
    struct object o;
    pthread_mutex_t lock;
    struct jit jit;
    struct link_input inputs[MAX_INPUTS]; /* heap each */
    unsigned n;
    size_t bytes; /* of all */
    char *linked;
    size_t linked_len;
};

PUT(CUlinkState_st)

static void state_free(struct object *o)
{
    struct CUlinkState_st *s = (struct CUlinkState_st *)o;
    for (unsigned i = 0; i < s->n; i++)
        free((char *)s->inputs[i].text);
    free(s->linked);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

CUresult cuLinkCreate_v2(unsigned int n, CUjit_option *options, void **values, CUlinkState *state)
{
    struct CUctx_st *c;
    struct jit jit = {0};
    TRY(sim_context(&c));
    if (!state)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(jit_options(&jit, n, options, values));
    struct CUlinkState_st *s = object_new(OBJECT_LINK, sizeof(*s), c, state_free);
    if (!s)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_init(&s->lock, NULL);
    s->jit = jit;
    jit_write(&s->jit.info, "");
    jit_write(&s->jit.error, "");
    object_publish(&s->o);
    *state = s;
    return CUDA_SUCCESS;
}

static CUresult find_state(CUlinkState handle, struct CUlinkState_st **ret)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    *ret = object_find(OBJECT_LINK, handle);
    return *ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* The PTX of an input, heap. */
static CUresult text_of(CUjitInputType type, const void *data, size_t bytes, struct link_input *ret)
{
    struct image image = {.text = data, .len = strnlen(data, bytes)};
    if (type == CU_JIT_INPUT_OBJECT || type == CU_JIT_INPUT_LIBRARY || type == CU_JIT_INPUT_NVVM)
        return CUDA_ERROR_NOT_SUPPORTED; /* machine code, or what only a compiler reads */
    if (type == CU_JIT_INPUT_FATBINARY)
        TRY(fatbin_parse(data, bytes, &image));
    /* What was linked before is a text, too. */
    if (type == CU_JIT_INPUT_CUBIN && bytes >= 4 && memcmp(data, "\177ELF", 4) == 0)
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    if (image.len > SIM_MAX_TEXT) {
        free(image.owned);
        return CUDA_ERROR_INVALID_IMAGE;
    }
    char *text = image.owned ? image.owned : malloc(image.len + 1);
    if (!text)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!image.owned)
        memcpy(text, image.text, image.len);
    text[image.len] = '\0';
    *ret = (struct link_input){text, image.len};
    return CUDA_SUCCESS;
}

/* With the lock held. The text is taken over when this succeeds. */
static CUresult add(struct CUlinkState_st *s, const struct link_input *input)
{
    struct sim_log log = {.text = ""};
    const struct image image = {input->text, input->len, NULL};
    if (s->linked || s->n == MAX_INPUTS || input->len > SIM_MAX_TEXT - s->bytes)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = image_check_part(&image, &log);
    if (rc != CUDA_SUCCESS) {
        jit_write(&s->jit.error, log.text);
        return rc;
    }
    s->inputs[s->n++] = *input;
    s->bytes += input->len;
    return CUDA_SUCCESS;
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t bytes,
                          const char *name, unsigned int n, CUjit_option *options, void **values)
{
    PUT_LATER(CUlinkState_st) *s = NULL;
    struct link_input input;
    struct jit unused = {0};
    (void)name;
    TRY(find_state(state, &s));
    if (!data || !bytes || (int)type < 0 || type >= CU_JIT_NUM_INPUT_TYPES)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(jit_options(&unused, n, options, values));
    TRY(text_of(type, data, bytes, &input));
    pthread_mutex_lock(&s->lock);
    CUresult rc = add(s, &input);
    pthread_mutex_unlock(&s->lock);
    if (rc != CUDA_SUCCESS)
        free((char *)input.text);
    return rc;
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path, unsigned int n,
                          CUjit_option *options, void **values)
{
    char *data = NULL;
    size_t bytes = 0;
    TRY(sim_enter());
    if (!path)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(image_file(path, &data, &bytes));
    CUresult rc = cuLinkAddData_v2(state, type, data, bytes, path, n, options, values);
    free(data);
    return rc;
}

/* With the lock held. The result has to be PTX again, without what nobody defines. */
static CUresult complete(struct CUlinkState_st *s)
{
    struct sim_log log = {.text = ""};
    struct sim_module *code = NULL;
    char why[256];
    if (s->linked)
        return CUDA_SUCCESS;
    if (s->n == 0)
        return CUDA_ERROR_INVALID_VALUE;
    size_t len = 0;
    char *text = link_texts(s->inputs, s->n, &len, why);
    if (!text) {
        jit_write(&s->jit.error, why);
        return why[0] ? CUDA_ERROR_INVALID_PTX : CUDA_ERROR_OUT_OF_MEMORY;
    }
    const struct image image = {text, len, NULL};
    CUresult rc = image_parse(&image, &code, &log);
    if (rc == CUDA_SUCCESS) {
        rc = image_complete(code, &log);
        sim_module_free(code);
    }
    if (rc != CUDA_SUCCESS) {
        jit_write(&s->jit.error, log.text);
        free(text);
        return rc;
    }
    s->linked = text;
    s->linked_len = len;
    return CUDA_SUCCESS;
}

CUresult cuLinkComplete(CUlinkState state, void **image, size_t *bytes)
{
    PUT_LATER(CUlinkState_st) *s = NULL;
    TRY(find_state(state, &s));
    if (!image)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&s->lock);
    CUresult rc = complete(s);
    if (rc == CUDA_SUCCESS) {
        *image = s->linked;
        if (bytes)
            *bytes = s->linked_len + 1;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

CUresult cuLinkDestroy(CUlinkState state)
{
    PUT_LATER(CUlinkState_st) *s = NULL;
    TRY(find_state(state, &s));
    return object_kill(&s->o) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
