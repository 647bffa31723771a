/* SPDX-License-Identifier: Apache-2.0 */
/* The table of names behind cuGetProcAddress. */
#include <stdlib.h>
#include <string.h>

#include "idmgen.h"

static bool exported(const struct call *c)
{
    return c->kind == K_CALL || c->kind == K_LOCAL || c->kind == K_REFUSED;
}

static int by_base(const void *a, const void *b)
{
    const struct call *x = *(const struct call *const *)a;
    const struct call *y = *(const struct call *const *)b;
    int d = strcmp(x->base, y->base);
    return d ? d : (x->since > y->since) - (x->since < y->since);
}

size_t sort_symbols(const struct model *m, const struct call **ret_sorted)
{
    size_t n = 0;
    FOR_CALLS(c, m)
    {
        if (exported(c))
            ret_sorted[n++] = c;
    }
    // NOLINTNEXTLINE(bugprone-sizeof-expression): pointers are sorted
    qsort(ret_sorted, n, sizeof(*ret_sorted), by_base);
    return n;
}

/* Also one that is only planned: the other stream's form is no substitute. */
static bool has_both(const struct model *m, const struct call *c)
{
    FOR_CALLS(other, m)
    {
        if (other->per_thread && strcmp(other->base, c->base) == 0)
            return true;
    }
    return false;
}

void emit_symbols(FILE *f, const struct model *m)
{
    static const struct call *sorted[MAX_CALLS];
    size_t n = sort_symbols(m, sorted);
    fprintf(f, "/* SPDX-License-Identifier: Apache-2.0 */\n/* Generated from cuda.calls. */\n"
               "#include \"idm/procaddr.h\"\n\nconst struct idm_symbol idm_symbols[] = {\n");
    for (size_t i = 0; i < n; i++)
        fprintf(f, "    {\"%s\", \"%s\", %u, %s, %s},\n", sorted[i]->base, sorted[i]->symbol,
                sorted[i]->since, sorted[i]->per_thread ? "true" : "false",
                has_both(m, sorted[i]) ? "true" : "false");
    fprintf(f, "};\nconst unsigned idm_n_symbols = %zu;\n", n);
}

/*
 * For the simulated driver: a weak form of every call, which its own takes the place of.
 * Programs look up all names there are before they call any.
 */
void emit_rest(FILE *f, const struct model *m)
{
    fprintf(f, "/* SPDX-License-Identifier: Apache-2.0 */\n/* Generated from cuda.calls. */\n"
               "#include \"idm/cuda_abi.h\"\n\n"
               "#define REST(name, error) \\\n"
               "    __attribute__((weak, visibility(\"default\"))) CUresult rest_##name(void) \\\n"
               "        __asm__(#name); \\\n"
               "    CUresult rest_##name(void) \\\n"
               "    { \\\n"
               "        return error; \\\n"
               "    }\n\n");
    FOR_CALLS(c, m)
    {
        if (exported(c))
            fprintf(f, "REST(%s, %s)\n", c->symbol,
                    c->kind == K_REFUSED ? c->error : "CUDA_ERROR_NOT_SUPPORTED");
    }
}
