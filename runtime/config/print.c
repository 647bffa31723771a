/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "config/table.h"
#include "cri/pbjson.h"

static int print_string(struct gi_buf *out, const char *s)
{
    return gi_json_write_string(out, s ? s : "", s ? strlen(s) : 0);
}

static int print_strings(struct gi_buf *out, char *const *list)
{
    int rc = gi_buf_printf(out, "[");
    for (size_t i = 0; rc == 0 && list && list[i]; i++) {
        rc = i ? gi_buf_printf(out, ", ") : 0;
        if (rc == 0)
            rc = print_string(out, list[i]);
    }
    return rc == 0 ? gi_buf_printf(out, "]") : rc;
}

static int print_value(struct gi_buf *out, const void *object, const struct config_key *k);

static int print_registries(struct gi_buf *out, const struct config *c)
{
    int rc = gi_buf_printf(out, "[");
    for (size_t i = 0; rc == 0 && i < c->n_registries; i++) {
        rc = gi_buf_printf(out, "%s\n    {", i ? "," : "");
        for (size_t n = 0; rc == 0 && n < config_n_registry_keys; n++) {
            rc = gi_buf_printf(out, "%s\"%s\": ", n ? ", " : "", config_registry_keys[n].name);
            if (rc == 0)
                rc = print_value(out, &c->registries[i], &config_registry_keys[n]);
        }
        rc = rc == 0 ? gi_buf_printf(out, "}") : rc;
    }
    return rc == 0 ? gi_buf_printf(out, "%s]", c->n_registries ? "\n  " : "") : rc;
}

static int print_value(struct gi_buf *out, const void *object, const struct config_key *k)
{
    const void *at = (const char *)object + k->offset;
    switch (k->type) {
    case CONFIG_STRING:
    case CONFIG_PATH:
    case CONFIG_CHOICE:
        return print_string(out, *(char *const *)at);
    case CONFIG_BOOL:
        return gi_buf_printf(out, "%s", *(const bool *)at ? "true" : "false");
    case CONFIG_NUMBER:
    case CONFIG_SIZE:
        return gi_buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
    case CONFIG_MODE:
        return gi_buf_printf(out, "\"0%llo\"", (unsigned long long)*(const uint64_t *)at);
    case CONFIG_STRINGS:
        return print_strings(out, *(char *const *const *)at);
    case CONFIG_REGISTRIES:
        return print_registries(out, object);
    }
    return -1;
}

int config_print(const struct config *c, bool comments, struct gi_buf *out)
{
    int rc = gi_buf_printf(out, "{\n");
    for (size_t i = 0; rc == 0 && i < config_n_keys; i++) {
        rc = comments ? gi_buf_printf(out, "  /* %s */\n", config_keys[i].text) : 0;
        if (rc == 0)
            rc = gi_buf_printf(out, "  \"%s\": ", config_keys[i].name);
        if (rc == 0)
            rc = print_value(out, c, &config_keys[i]);
        if (rc == 0)
            rc = gi_buf_printf(out, "%s\n", i + 1 < config_n_keys ? "," : "");
    }
    return rc == 0 ? gi_buf_printf(out, "}\n") : rc;
}

static int print_rows(struct gi_buf *out, const struct config_key *keys, size_t n)
{
    int rc = gi_buf_printf(out, "| key | default | type | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; rc == 0 && i < n; i++) {
        char choices[64] = "";
        if (keys[i].choices) {
            size_t len = 0;
            for (const char *p = keys[i].choices; *p && len + 4 < sizeof(choices); p++) {
                if (*p == '|') {
                    choices[len++] = ',';
                    choices[len++] = ' ';
                } else {
                    choices[len++] = *p;
                }
            }
        }
        rc = gi_buf_printf(out, "| `%s` | %s%s%s | %s | %s |\n", keys[i].name,
                           keys[i].fallback ? "`" : "", keys[i].fallback ? keys[i].fallback : "",
                           keys[i].fallback ? "`" : "",
                           choices[0] ? choices : config_type_name(&keys[i]), keys[i].text);
    }
    return rc;
}

int config_print_doc(struct gi_buf *out)
{
    int rc = gi_buf_printf(
        out,
        "# Configuration of gpu-isolated-runtime\n\n"
        "One JSON object in `/etc/gpu-isolated/config.json` (`--config FILE` names another; "
        "comments "
        "as\n`/* */` and `//` are allowed), then the files `config.d/*.json` beside it, sorted by "
        "name. A value in a\nlater file replaces the earlier one; lists are replaced as a whole. "
        "Unknown keys and wrong types are\nrefused with file and line. "
        "`gpu-isolated-runtime --print-config` shows what is in effect.\n\n"
        "This page is made from the table in `runtime/config/table.c`\n"
        "(`gpu-isolated-runtime --print-config-doc`); a test compares the two.\n\n");
    if (rc == 0)
        rc = print_rows(out, config_keys, config_n_keys);
    if (rc == 0)
        rc = gi_buf_printf(out, "\n## An entry of `registries`\n\n");
    if (rc == 0)
        rc = print_rows(out, config_registry_keys, config_n_registry_keys);
    if (rc == 0)
        rc = gi_buf_printf(
            out, "\n## Example\n\n```json\n{\n"
                 "  \"machine_driver\": \"local\",\n"
                 "  \"registries\": [\n"
                 "    {\"host\": \"registry.k8s.io\", \"mirrors\": [\"http://127.0.0.1:5000\"]},\n"
                 "    {\"host\": \"registry.example:5000\", \"plain_http\": true}\n"
                 "  ]\n}\n```\n");
    return rc;
}
