/* SPDX-License-Identifier: Apache-2.0 */
/* The registry's and our own records' JSON: what proto/json leaves to us. */
#ifndef GI_IMAGES_JSONTEXT_H
#define GI_IMAGES_JSONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "json/json.h"

/* An object of at most MAX bytes, or INVALID_ARGUMENT naming WHAT. */
int json_text_parse(const char *text, size_t len, size_t max, const char *what,
                    struct gi_json **ret_root, struct gi_error *err);

bool json_is_array(const struct gi_json *v);
/* false when the member KEY is absent or no number from 0 to 2^63-1. */
bool json_uint(const struct gi_json *v, const char *key, uint64_t *ret_value);

/* Appends TEXT as a quoted JSON string. */
int json_quote(struct gi_buf *b, const char *text);

#endif
