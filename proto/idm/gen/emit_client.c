/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu's side: typed senders for every message, whole stubs for plain
 * calls, the table behind cuGetProcAddress. */
#include <stdlib.h>
#include <string.h>

#include "idmgen.h"

static void banner(FILE *f)
{
    fprintf(f, "/* SPDX-License-Identifier: Apache-2.0 */\n/* Generated from cuda.calls. */\n");
}

void emit_client_header(FILE *f, const struct model *m)
{
    banner(f);
    fprintf(f, "#ifndef VG_CALLS_H\n#define VG_CALLS_H\n\n#include \"idm_wire.h\"\n"
               "#include \"connection.h\"\n\n");
    FOR_CALLS(c, m)
    {
        if (!on_wire(c))
            continue;
        fprintf(f,
                "static inline CUresult vg_queue_%s(const struct idm_%s_in *in)\n{\n"
                "    struct idm_part parts[IDM_MAX_PARTS];\n"
                "    return vg_queue(IDM_%s, parts, idm_parts_%s_in(in, parts));\n}\n",
                c->symbol, c->symbol, c->symbol, c->symbol);
        fprintf(
            f,
            "static inline CUresult vg_ask_%s(const struct idm_%s_in *in, struct idm_%s_out *out,\n"
            "                                 struct vg_answer *answer)\n{\n"
            "    struct idm_part parts[IDM_MAX_PARTS];\n"
            "    CUresult rc = vg_ask(IDM_%s, parts, idm_parts_%s_in(in, parts), answer);\n"
            "    if (rc == CUDA_SUCCESS && !idm_decode_%s_out(answer->data, answer->len, out))\n"
            "        rc = vg_nonsense();\n    return rc;\n}\n",
            c->symbol, c->symbol, c->symbol, c->symbol, c->symbol, c->symbol);
    }
    fprintf(f, "\n#endif\n");
}

static void emit_signature(FILE *f, const struct call *c)
{
    fprintf(f, "VG_EXPORT CUresult %s(", c->symbol);
    const char *comma = "";
    FOR_PARAMS(p, c)
    {
        if (!*p->decl)
            continue;
        fprintf(f, "%s%s", comma, p->decl);
        comma = ", ";
    }
    fprintf(f, "%s)\n", *comma ? "" : "void");
}

static void emit_hook(FILE *f, const struct call *c)
{
    if (c->legacy)
        fprintf(f, "    CAPTURE_HOOK_LEGACY();\n");
    if (!c->captured)
        return;
    fprintf(f, "    CAPTURE_HOOK(%s", c->symbol);
    FOR_PARAMS(p, c)
    {
        if (*p->decl)
            fprintf(f, ", %s", p->name);
    }
    fprintf(f, ");\n");
}

/* Before anything is sent: what can be known to be wrong here. */
static void emit_checks(FILE *f, const struct call *c)
{
    fprintf(f, "    VG_TRY(vg_enter(%s));\n", c->noctx ? "VG_ANY_CONTEXT" : "VG_CURRENT_CONTEXT");
    emit_hook(f, c);
    FOR_PARAMS(p, c)
    {
        if (p->dir == D_OUT || p->dir == D_NEW)
            fprintf(f, "    if (!%s)\n        return CUDA_ERROR_INVALID_VALUE;\n", p->name);
    }
    FOR_PARAMS(p, c)
    {
        if (p->dir == D_OUT || p->dir == D_NEW)
            continue;
        if (p->type == T_HANDLE)
            fprintf(f, "    VG_TRY(vg_use(IDM_KIND_%s, %s, %s, &in.w.%s));\n", p->handle, p->name,
                    p->nullable ? "true" : "false", p->name);
        else if (p->type == T_STREAM && p->dir == D_DROP) /* the default ones stay */
            fprintf(f, "    VG_TRY(vg_use(IDM_KIND_stream, %s, false, &in.w.%s));\n", p->name,
                    p->name);
        else if (p->type == T_STREAM)
            fprintf(f, "    VG_TRY(vg_use_stream(%s, &in.w.%s));\n", p->name, p->name);
        else if (p->type == T_MEM)
            fprintf(f, "    VG_TRY(vg_use_memory(%s, %s, %u, &in.w.%s));\n", p->name, p->count,
                    p->unit, p->name);
        else if (p->type == T_CSTR)
            fprintf(f, "    VG_TRY(vg_use_text(%s, %u, &in.w.%s_len));\n    in.%s = %s;\n", p->name,
                    p->max, p->name, p->name, p->name);
        else
            fprintf(f, "    in.w.%s = %s%s;\n", p->name, p->type == T_I32 ? "(int32_t)" : "",
                    p->name);
    }
}

static const struct param *find(const struct call *c, enum direction dir)
{
    FOR_PARAMS(p, c)
    {
        if (p->dir == dir)
            return p;
    }
    return NULL;
}

static const char *kind_name(const struct param *p)
{
    return p->type == T_STREAM ? "stream" : p->handle;
}

static void emit_send(FILE *f, const struct call *c)
{
    if (c->class == C_ASYNC) {
        fprintf(f, "    rc = vg_queue_%s(&in);\n", c->symbol);
        return;
    }
    fprintf(f,
            "    struct idm_%s_out out;\n    struct vg_answer answer;\n"
            "    rc = vg_ask_%s(&in, &out, &answer);\n",
            c->symbol, c->symbol);
    FOR_PARAMS(p, c)
    {
        if (p->dir != D_OUT)
            continue;
        fprintf(f, "    if (rc == CUDA_SUCCESS)\n        *%s = (__typeof__(*%s))out.w.%s;\n",
                p->name, p->name, p->name);
    }
    if (c->class == C_WAIT || c->point)
        fprintf(f, "    rc = vg_point(rc);\n");
    if (c->class == C_WAIT)
        fprintf(f, "    if (rc == CUDA_SUCCESS)\n        pools_synchronized();\n");
}

static void emit_stub(FILE *f, const struct call *c)
{
    const struct param *born = find(c, D_NEW);
    const struct param *gone = find(c, D_DROP);
    emit_signature(f, c);
    fprintf(f,
            "{\n    struct idm_%s_in in;\n    memset(&in, 0, sizeof(in));\n"
            "    CUresult rc;\n",
            c->symbol);
    emit_checks(f, c);
    if (born)
        fprintf(f, "    VG_TRY(vg_new(IDM_KIND_%s, &in.w.%s));\n", kind_name(born), born->name);
    emit_send(f, c);
    if (born)
        fprintf(f,
                "    if (rc != CUDA_SUCCESS)\n        vg_forget(in.w.%s);\n    else\n"
                "        *%s = vg_pointer(in.w.%s);\n",
                born->name, born->name, born->name);
    if (gone)
        fprintf(f, "    vg_forget(in.w.%s);\n", gone->name);
    fprintf(f, "    return rc;\n}\n\n");
}

void emit_client_source(FILE *f, const struct model *m)
{
    banner(f);
    fprintf(f, "#include \"idm/cuda_abi.h\"\n#include \"client_calls.h\"\n#include \"handles.h\"\n"
               "#include \"idm/graph/capture.h\"\n#include \"idm/pools.h\"\n"
               "#include \"memory.h\"\n\n");
    FOR_CALLS(c, m)
    {
        if (c->kind == K_CALL && !c->client)
            emit_stub(f, c);
        /* An old form's name may be a macro for the new one's. */
        if (c->kind == K_REFUSED)
            fprintf(f,
                    "/* %s */\n#undef %s\nVG_EXPORT CUresult %s(void);\nVG_EXPORT CUresult "
                    "%s(void)\n{\n"
                    "    return vg_refuse(%s);\n}\n\n",
                    c->text, c->symbol, c->symbol, c->symbol, c->error);
    }
}

void emit_client_table(FILE *f, const struct model *m)
{
    static const struct call *sorted[MAX_CALLS];
    size_t n = sort_symbols(m, sorted);
    banner(f);
    fprintf(f, "#include \"procaddr.h\"\n\n");
    for (size_t i = 0; i < n; i++)
        fprintf(f, "extern void %s(void);\n", sorted[i]->symbol);
    fprintf(f, "\nvoid (*const vg_functions[])(void) = {\n");
    for (size_t i = 0; i < n; i++)
        fprintf(f, "    %s,\n", sorted[i]->symbol);
    fprintf(f, "};\n");
}
