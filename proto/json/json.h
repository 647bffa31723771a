/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON of others (configuration files, registries, plugins) as a read-only
 * tree, parsed by yajl under limits that hold while the tree grows: bytes,
 * nesting, number of values. Every value knows its line. Strings are valid
 * UTF-8 without NUL; a key occurs once in an object. A tree may be read from
 * many threads at once.
 */
#ifndef GI_JSON_JSON_H
#define GI_JSON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum gi_json_type {
    GI_JSON_NULL,
    GI_JSON_BOOL,
    GI_JSON_NUMBER,
    GI_JSON_STRING,
    GI_JSON_ARRAY,
    GI_JSON_OBJECT,
};

struct gi_json {
    enum gi_json_type type;
    unsigned line;         /* counted from 1 */
    char *key;             /* of an object's member; NULL elsewhere */
    char *text;            /* STRING: its value; NUMBER: as written */
    bool truth;            /* BOOL */
    struct gi_json *items; /* ARRAY: elements, OBJECT: members, in the text's order */
    size_t n;
};

struct gi_json_limits {
    size_t max_bytes;   /* of the text; 0: 4 MiB */
    unsigned max_depth; /* nesting of arrays and objects; 0: 64 */
    size_t max_values;  /* in all; 0: 100000 */
    bool comments;      /* C comments are allowed */
};

/* Parses TEXT (need not end with NUL). LIMITS may be NULL. INVALID_ARGUMENT
 * with "WHAT:line: reason", OUT_OF_RANGE when a limit is passed. */
int gi_json_parse(const char *text, size_t len, const struct gi_json_limits *limits,
                  const char *what, struct gi_json **ret_root, struct gi_error *err);
void gi_json_free(struct gi_json *root);
GI_DEFINE_CLEANUP(struct gi_json *, gi_json_free);
#define cleanup_gi_json __attribute__((cleanup(gi_json_freep)))

/* The member KEY, or NULL when there is none, it is null, or V is no object (or NULL). */
const struct gi_json *gi_json_get(const struct gi_json *v, const char *key);
/* The string of member KEY; NULL when absent or not a string. */
const char *gi_json_get_string(const struct gi_json *v, const char *key);

/* The number as an integer; false when V is NULL, no number, has a fraction or
 * exponent, or doesn't fit. */
bool gi_json_int(const struct gi_json *v, int64_t *ret_value);
bool gi_json_uint(const struct gi_json *v, uint64_t *ret_value);

/* "a string", "an object", ... for messages. */
const char *gi_json_type_name(enum gi_json_type type);

#endif
