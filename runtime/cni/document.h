/* SPDX-License-Identifier: Apache-2.0 */
/* What goes into a plugin and what comes out: CNI SPEC.md sections 2 and 5. */
#ifndef GI_CNI_DOCUMENT_H
#define GI_CNI_DOCUMENT_H

#include "cni/cni.h"
#include "cni/conf.h"

/* Standard input of plugin INDEX: its own configuration with the list's name
 * and version, prevResult, and runtimeConfig for the capabilities it declares.
 * A may be NULL (STATUS, GC). Heap string. */
int cni_document_input(const struct cni_list *l, size_t index, const struct cni_attachment *a,
                       const char *prev_result, char **ret_text, struct gi_error *err);

/* The plugin's environment: the CNI_ variables and PATH, nothing of ours. */
int cni_document_env(const char *command, const struct cni_attachment *a, const char *path_list,
                     char ***ret_envp, struct gi_error *err);
void cni_document_env_free(char **envp);

/* The addresses in a result. INVALID_ARGUMENT when it holds something else. */
int cni_document_result(const char *text, const char *network, struct cni_result *ret_result,
                        struct gi_error *err);

#endif
