/* SPDX-License-Identifier: Apache-2.0 */
/* idmgen DESCRIPTION FOLDER: writes everything generated from the description
 * into FOLDER; a file that wouldn't change is left alone. */
#include <stdlib.h>
#include <string.h>

#include "idmgen.h"

static struct model model;

static bool same(const char *path, const char *text, size_t len)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    char *old = malloc(len + 2);
    size_t n = old ? fread(old, 1, len + 1, f) : 0;
    bool equal = old && n == len && memcmp(old, text, len) == 0;
    free(old);
    fclose(f);
    return equal;
}

static int write_file(const char *folder, const char *name,
                      void (*emit)(FILE *, const struct model *))
{
    char path[4096];
    char *text = NULL;
    size_t len = 0;
    FILE *mem = open_memstream(&text, &len);
    if (!mem)
        return -1;
    emit(mem, &model);
    fclose(mem);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int rc = 0;
    if (!same(path, text, len)) {
        FILE *f = fopen(path, "w");
        rc = f && fwrite(text, 1, len, f) == len ? 0 : -1;
        if (f && fclose(f) != 0)
            rc = -1;
        if (rc < 0)
            perror(path);
    }
    free(text);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*emit)(FILE *, const struct model *);
    } files[] = {{"idm_wire.h", emit_wire_header},
                 {"idm_wire.c", emit_wire_source},
                 {"client_calls.h", emit_client_header},
                 {"client_calls.c", emit_client_source},
                 {"client_table.c", emit_client_table},
                 {"idm_symbols.c", emit_symbols},
                 {"idm_rest.c", emit_rest},
                 {"worker_calls.h", emit_worker_header},
                 {"worker_calls.c", emit_worker_source},
                 {"cuda-api.md", emit_docs}};
    if (argc != 3) {
        fprintf(stderr, "usage: idmgen DESCRIPTION FOLDER\n");
        return 2;
    }
    parse(argv[1], &model);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (write_file(argv[2], files[i].name, files[i].emit) < 0)
            return 1;
    }
    return 0;
}
