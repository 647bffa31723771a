/* SPDX-License-Identifier: Apache-2.0 */
/* Indexes, manifests, configurations, token and error answers. The first byte
 * picks the parser, so that each stays reachable for mutations. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void manifest(const char *text, size_t len)
{
    static const char *const types[] = {"", "application/vnd.oci.image.index.v1+json",
                                        "application/vnd.oci.image.manifest.v1+json"};
    struct gi_error err = GI_ERROR_INIT;
    for (size_t i = 0; i < GI_ARRAY_SIZE(types); i++) {
        cleanup_manifest struct document_manifest m = {0};
        size_t child;
        if (document_manifest_parse(text, len, types[i], &m, &err) < 0)
            continue;
        if (m.is_index && document_pick(&m, "amd64", &child, &err) == 0 &&
            (child >= m.n_children || !digest_valid(m.children[child].descriptor.digest)))
            abort();
        for (size_t k = 0; k < m.n_layers; k++) {
            if (!digest_valid(m.layers[k].digest))
                abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gi_error err = GI_ERROR_INIT;
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    size_t len = size - 1;
    if (data[0] == 'm') {
        manifest(text, len);
    } else if (data[0] == 'c') {
        cleanup_config struct document_config c = {0};
        document_config_parse(text, len, &c, &err);
    } else if (data[0] == 't') {
        cleanup_free char *token = NULL;
        if (document_token(text, len, &token, &err) == 0 && strpbrk(token, "\r\n "))
            abort();
    } else {
        char said[64];
        document_registry_error(text, len, said, sizeof(said));
        cleanup_free char *name = strndup(text, len);
        if (name && (document_signal(name) < 0 || document_signal(name) > 64))
            abort();
    }
    return 0;
}
