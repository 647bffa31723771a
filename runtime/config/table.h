/* SPDX-License-Identifier: Apache-2.0 */
/* The one description of every configuration key. */
#ifndef RT_CONFIG_TABLE_H
#define RT_CONFIG_TABLE_H

#include <stddef.h>

#include "config/config.h"

enum config_type {
    CONFIG_STRING,
    CONFIG_PATH, /* absolute, or "" where the default is "" */
    CONFIG_CHOICE,
    CONFIG_BOOL,
    CONFIG_NUMBER,
    CONFIG_MODE, /* an octal number in a string: "0660" */
    CONFIG_SIZE, /* bytes: a number, or a string as "4Gi" */
    CONFIG_STRINGS,
    CONFIG_REGISTRIES,
};

struct config_key {
    const char *name;
    enum config_type type;
    size_t offset;        /* in struct config (struct config_registry for theirs) */
    const char *fallback; /* the default as JSON text */
    const char *choices;  /* of CONFIG_CHOICE: "a|b" */
    uint64_t min, max;    /* of numbers; 0, 0: any */
    const char *text;     /* for people; no line longer than 96 when wrapped */
};

extern const struct config_key config_keys[];
extern const size_t config_n_keys;
extern const struct config_key config_registry_keys[];
extern const size_t config_n_registry_keys;

/* "a string", "a list of strings", ... */
const char *config_type_name(const struct config_key *k);

#endif
