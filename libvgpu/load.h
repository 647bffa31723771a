/* SPDX-License-Identifier: Apache-2.0 */
/* What modules and libraries have in common: an image and its options go to the
 * worker, logs come back. */
#ifndef VG_LOAD_H
#define VG_LOAD_H

#include "connection.h"
#include "idm/handle.h"

/* The program's options. Those with an address stay here. */
struct load_options {
    struct idm_option wire[IDM_MAX_OPTIONS];
    uint32_t n;
    char *info_log;
    char *error_log;
    uint32_t info_bytes;
    uint32_t error_bytes;
    void **info_size; /* where the length of the log goes */
    void **error_size;
    void **wall_time;
};

struct load_request {
    uint64_t id;
    uint32_t image;
    uint32_t info_log_bytes;
    uint32_t error_log_bytes;
    uint32_t options_len;
    const void *options;
    const void *more; /* the asker's */
};

struct load_answer {
    CUresult result;
    const void *info_log; /* in the answer */
    const void *error_log;
    uint32_t info_log_len;
    uint32_t error_log_len;
    struct vg_answer answer;
};

typedef CUresult load_ask(const struct load_request *r, struct load_answer *a);

void load_forked(void);
CUresult load_options(struct load_options *o, unsigned n, const CUjit_option *options,
                      void **values);
/* Sends IMAGE of BYTES (0: IMAGE says it itself; or a wrapper points to it) and asks with ASK for a
 * new object of KIND. Thread-safe; on failure there is no object. */
CUresult load_image(enum idm_kind kind, const void *image, uint64_t bytes,
                    const struct load_options *o, load_ask *ask, uint64_t *ret_id);

/* What O says of a request about ID; the image's number is load_send's. */
struct load_request load_request(const struct load_options *o, uint64_t id);
/* Sends IMAGE, then asks with R, of which it is the image; the logs go where O says. Thread-safe.
 */
CUresult load_send(const void *image, uint64_t bytes, struct load_request *r,
                   const struct load_options *o, load_ask *ask);
/* Gives the program the answer's logs; the answer's result. */
CUresult load_result(const struct load_options *o, const struct load_answer *a);
/* A file's content, heap, not empty. NULL: not to be had, or too much for an image. */
char *load_file(const char *path, size_t *ret_size);

#endif
