/* SPDX-License-Identifier: Apache-2.0 */
/* What a plugin prints, and a configuration list. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cni/conf.h"
#include "cni/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    if (!text)
        return 0;
    struct cni_result result;
    (void)cni_document_result(text, "net", &result, NULL);
    struct cni_list *list = NULL;
    if (cni_list_parse(text, strlen(text), "fuzz", &list, NULL) == 0) {
        struct cni_attachment a = {.container_id = "c", .ifname = "eth0", .netns = "/x"};
        for (size_t i = 0; i < list->n_plugins; i++) {
            char *input = NULL;
            if (cni_document_input(list, i, &a, text, &input, NULL) == 0)
                free(input);
        }
        cni_list_free(list);
    }
    free(text);
    return 0;
}
