/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON by yajl: the first failure sticks and shows at gen_finish. */
#ifndef RT_OCI_GEN_H
#define RT_OCI_GEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yajl/yajl_gen.h>

#include "base/error.h"
#include "json/json.h"

struct gen {
    yajl_gen yajl;
    yajl_gen_status status;
};

int gen_init(struct gen *g, struct gi_error *err);
void gen_free(struct gen *g);
/* The text, heap. WHAT for the error. */
int gen_finish(struct gen *g, const char *what, char **ret_text, struct gi_error *err);

void gen_map(struct gen *g);
void gen_end_map(struct gen *g);
void gen_array(struct gen *g);
void gen_end_array(struct gen *g);
void gen_string(struct gen *g, const char *s);
void gen_uint(struct gen *g, uint64_t n);
/* Members of an object. */
void gen_key_map(struct gen *g, const char *key);
void gen_key_array(struct gen *g, const char *key);
void gen_key_string(struct gen *g, const char *key, const char *s);
void gen_key_int(struct gen *g, const char *key, int64_t n);
void gen_key_uint(struct gen *g, const char *key, uint64_t n);
void gen_key_bool(struct gen *g, const char *key, bool b);
void gen_key_strings(struct gen *g, const char *key, const char *const *list, size_t n);
/* A value that was read, as it was. */
void gen_json(struct gen *g, const struct gi_json *v);

#endif
