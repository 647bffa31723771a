/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's reading of OCI specs and of the OCI runtime's log. */
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_client.h"
#include "spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int find_source(void *data, const char *source, char *out, struct gi_error *err)
{
    const char *what = strchr(source, ':') + 1;
    if (*what == '!')
        return gi_fail(err, GI_NOT_FOUND, "no such volume");
    snprintf(out, PATH_MAX, "/volumes/%.20s", what);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    static const struct spec_mount mount = {"/lib/x", "/usr/lib/x", true};
    const struct spec_changes changes = {.root = "/root",
                                         .cgroup = "/a/b",
                                         .oom_score_min = -5,
                                         .env = "NAME=value",
                                         .mounts = &mount,
                                         .n_mounts = 1,
                                         .source = find_source};
    char *config = NULL;
    char *process = NULL;
    char *exec = NULL;
    if (spec_build(text, &changes, &config, &process, NULL) == 0) {
        char arg[] = "a\"b\\";
        char *argv[] = {arg};
        /* What we write, we can read. */
        const struct spec_terminal terminal = {.tty = size & 1, .width = 80, .height = 25};
        if (spec_exec_process(process, argv, 1, &terminal, &exec, NULL) < 0)
            abort();
    }
    free(config);
    free(process);
    free(exec);
    free(spec_last_log_error(text));
    free(text);
    return 0;
}
