/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON of strangers through yajl: size, depth and number of values are checked
 * before the parser sees it, and "\u0000" is refused, since yajl's strings end
 * at it.
 */
#ifndef GI_IMAGES_JSONTEXT_H
#define GI_IMAGES_JSONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yajl/yajl_tree.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"

/* An object, or INVALID_ARGUMENT naming WHAT. Free with yajl_tree_free. */
int json_text_parse(const char *text, size_t len, const char *what, yajl_val *ret_root,
                    struct gi_error *err);
GI_DEFINE_CLEANUP(yajl_val, yajl_tree_free);
#define cleanup_json __attribute__((cleanup(yajl_tree_freep)))

/* The member KEY of an object; NULL when it is absent or null, or V is no object. */
yajl_val json_member(yajl_val v, const char *key);
/* NULL when absent or no string. */
const char *json_string(yajl_val v, const char *key);
/* false when absent or no number from 0 to 2^63-1. */
bool json_uint(yajl_val v, const char *key, uint64_t *ret_value);

/* Appends TEXT as a quoted JSON string. */
int json_quote(struct gi_buf *b, const char *text);

#endif
