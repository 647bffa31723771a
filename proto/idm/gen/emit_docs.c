/* SPDX-License-Identifier: Apache-2.0 */
/* docs/cuda-api.md */
#include <string.h>

#include "idmgen.h"

static void state(FILE *f, const struct call *c)
{
    switch (c->kind) {
    case K_CALL:
        fprintf(f, "forwarded, %s",
                c->class == C_ASYNC  ? "queued"
                : c->class == C_SYNC ? "waits for the proxy"
                                     : "waits for the GPU");
        break;
    case K_LOCAL:
        fprintf(f, "answered locally");
        break;
    case K_REFUSED:
        fprintf(f, "refused: %s", c->error);
        break;
    default:
        fprintf(f, "not yet");
    }
}

static bool a_call(const struct call *c)
{
    return c->kind == K_CALL || c->kind == K_LOCAL || c->kind == K_REFUSED;
}

static unsigned count(const struct model *m, enum kind kind)
{
    unsigned n = 0;
    FOR_CALLS(c, m) n += c->kind == kind;
    return n;
}

static void table(FILE *f, const struct model *m)
{
    const char *section = NULL;
    FOR_CALLS(c, m)
    {
        if (!a_call(c))
            continue;
        if (c->section != section) {
            section = c->section;
            fprintf(f, "\n## %s\n\n| call | CUDA | state | |\n|---|---|---|---|\n", section);
        }
        fprintf(f, "| `%s` | ", c->symbol);
        if (c->since)
            fprintf(f, "%u.%u", c->since / 1000, c->since % 1000 / 10);
        fprintf(f, " | ");
        state(f, c);
        fprintf(f, " | %s |\n", c->text);
    }
}

void emit_docs(FILE *f, const struct model *m)
{
    fprintf(
        f,
        "# The CUDA Driver API, call by call\n\nGenerated from `proto/idm/cuda.calls`; a test "
        "compares."
        " *CUDA* is the version that brought the call in this form.\n\n"
        "| state | calls |\n|---|---|\n| forwarded | %u |\n| answered locally | %u |\n"
        "| refused | %u |\n| not yet | %u |\n\n"
        "*Queued*: the call returns when its record is in the ring. An error of its execution "
        "comes "
        "back\nfrom the next call that waits, as CUDA allows for asynchronous work; what can be "
        "known to be wrong\nin the client (handles, addresses, dimensions) is refused at once.\n",
        count(m, K_CALL), count(m, K_LOCAL), count(m, K_REFUSED), count(m, K_PLANNED));
    table(f, m);
    fprintf(f, "\n## Not yet\n\nNot exported: a program that looks them up is told so.\n\n");
    FOR_CALLS(c, m)
    {
        if (c->kind == K_PLANNED)
            fprintf(f, "`%s`\n", c->symbol);
    }
}
