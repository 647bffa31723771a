/* SPDX-License-Identifier: Apache-2.0 */
/* JSON values of CNI documents: bounded reading, and writing a value back. */
#ifndef GI_CNI_VALUE_H
#define GI_CNI_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_tree.h>

#include "base/cleanup.h"
#include "base/error.h"

#define CNI_MAX_DOCUMENT (1u << 20)

GI_DEFINE_CLEANUP(yajl_val, yajl_tree_free);
#define cleanup_value __attribute__((cleanup(yajl_tree_freep)))

/* Parses TEXT (NUL-terminated, LEN bytes without NULs inside). INVALID_ARGUMENT
 * when it isn't an object, is longer than CNI_MAX_DOCUMENT or nests deeper than
 * 32. WHAT names it in the message. */
int cni_value_parse(const char *text, size_t len, const char *what, yajl_val *ret_value,
                    struct gi_error *err);

/* A member of an object, NULL when absent (or OBJ isn't one). */
yajl_val cni_value_get(yajl_val obj, const char *key);
/* The text of a string member, NULL when it is absent or no string. */
const char *cni_value_string(yajl_val obj, const char *key);
bool cni_value_true(yajl_val obj, const char *key);

/* Writes a whole value. */
void cni_value_write(yajl_gen g, yajl_val v);
/* Writes the members of OBJ but those named in SKIP (NULL-terminated), into an open map. */
void cni_value_write_members(yajl_gen g, yajl_val obj, const char *const *skip);

void cni_gen_string(yajl_gen g, const char *text);
void cni_gen_member(yajl_gen g, const char *key, const char *text);

#endif
