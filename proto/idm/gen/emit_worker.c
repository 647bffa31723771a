/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's side: the driver's functions, and for every message a function
 * that decodes it, checks handles and addresses, and executes it. */
#include <string.h>

#include "idmgen.h"

static void banner(FILE *f)
{
    fprintf(f, "/* SPDX-License-Identifier: Apache-2.0 */\n/* Generated from cuda.calls. */\n");
}

static bool called_before(const struct model *m, const struct call *c)
{
    FOR_CALLS(other, m)
    {
        if (other == c)
            return false;
        if ((other->kind == K_CALL || other->kind == K_DRIVER) &&
            strcmp(other->symbol, c->symbol) == 0)
            return true;
    }
    return false;
}

void emit_worker_header(FILE *f, const struct model *m)
{
    banner(f);
    fprintf(f, "#ifndef WORKER_CALLS_H\n#define WORKER_CALLS_H\n\n#include \"idm/cuda_abi.h\"\n"
               "#include \"idm_wire.h\"\n\nstruct worker;\nstruct worker_result;\n\n"
               "/* X(symbol) */\n#define WORKER_DRIVER(X)");
    FOR_CALLS(c, m)
    {
        if ((c->kind == K_CALL || c->kind == K_DRIVER) && !called_before(m, c))
            fprintf(f, " \\\n    X(%s)", c->symbol);
    }
    fprintf(
        f,
        "\n\nstruct worker_driver {\n#define WORKER_FUNCTION(symbol) __typeof__(symbol) *symbol;\n"
        "    WORKER_DRIVER(WORKER_FUNCTION)\n#undef WORKER_FUNCTION\n};\n\n"
        "/* Written by hand. OUT is zeroed; its parts must outlive the call. */\n");
    FOR_CALLS(c, m)
    {
        if (on_wire(c) && c->worker)
            fprintf(f,
                    "CUresult worker_%s(struct worker *w, const struct idm_%s_in *in, "
                    "struct idm_%s_out *out);\n",
                    c->symbol, c->symbol, c->symbol);
    }
    fprintf(f, "\n/* Executes one message. False: there is no such one. */\n"
               "bool worker_dispatch(struct worker *w, uint16_t type, const void *payload,\n"
               "                     uint32_t len, struct worker_result *ret_result);\n\n#endif\n");
}

static const char *c_type(const struct param *p, char *buf, size_t size)
{
    /* The declaration without its name. */
    snprintf(buf, size, "%s", p->decl);
    char *name = strrchr(buf, ' ');
    bool pointer = name && name[1] == '*';
    if (name)
        *name = '\0';
    (void)pointer;
    return buf;
}

static const char *kind_name(const struct param *p)
{
    return p->type == T_STREAM ? "stream" : p->handle;
}

static void emit_inputs(FILE *f, const struct call *c)
{
    char type[80];
    FOR_PARAMS(p, c)
    {
        if (p->dir == D_NEW)
            fprintf(f,
                    "    struct worker_object *object;\n    %s born_ = NULL;\n"
                    "    WORKER_TRY(worker_expect(w, IDM_KIND_%s, in.w.%s, &object));\n",
                    c_type(p, type, sizeof(type)), kind_name(p), p->name);
        else if (p->dir == D_OUT)
            fprintf(f, "    %s %s_ = 0;\n", c_type(p, type, sizeof(type)), p->name);
        else if (p->dir == D_DROP) /* no default stream either */
            fprintf(f,
                    "    void *%s_;\n"
                    "    WORKER_TRY(worker_find_last(w, IDM_KIND_%s, in.w.%s, &%s_));\n",
                    p->name, kind_name(p), p->name, p->name);
        else if (p->type == T_HANDLE && strcmp(p->handle, "code") == 0)
            fprintf(f,
                    "    struct worker_object *code_;\n"
                    "    WORKER_TRY(worker_find_code(w, in.w.%s, &code_));\n"
                    "    void *%s_ = code_->driver;\n",
                    p->name, p->name);
        else if (p->type == T_HANDLE)
            fprintf(
                f,
                "    void *%s_;\n    WORKER_TRY(worker_find(w, IDM_KIND_%s, in.w.%s, %s, &%s_));\n",
                p->name, p->handle, p->name, p->nullable ? "true" : "false", p->name);
        else if (p->type == T_STREAM)
            fprintf(f, "    CUstream %s_;\n    WORKER_TRY(worker_find_stream(w, in.w.%s, &%s_));\n",
                    p->name, p->name, p->name);
        else if (p->type == T_MEM)
            fprintf(f, "    WORKER_TRY(worker_check_memory(w, in.w.%s, in.w.%s, %u));\n", p->name,
                    p->count, p->unit);
    }
}

static void emit_arguments(FILE *f, const struct call *c)
{
    char type[80];
    const char *comma = "";
    FOR_PARAMS(p, c)
    {
        if (!*p->decl)
            continue;
        fprintf(f, "%s", comma);
        comma = ", ";
        if (p->dir == D_NEW)
            fprintf(f, "&born_");
        else if (p->dir == D_OUT)
            fprintf(f, "&%s_", p->name);
        else if (p->type == T_HANDLE || p->type == T_STREAM)
            fprintf(f, "%s_", p->name);
        else if (p->type == T_CSTR)
            fprintf(f, "in.%s", p->name);
        else
            fprintf(f, "(%s)in.w.%s", c_type(p, type, sizeof(type)), p->name);
    }
}

static void emit_plain(FILE *f, const struct call *c)
{
    emit_inputs(f, c);
    fprintf(
        f,
        "    if (!w->cu.%s)\n        return CUDA_ERROR_NOT_SUPPORTED;\n    CUresult rc = w->cu.%s(",
        c->symbol, c->symbol);
    emit_arguments(f, c);
    fprintf(f, ");\n");
    FOR_PARAMS(p, c)
    {
        if (p->dir == D_NEW)
            fprintf(f, "    worker_born(w, object, in.w.%s, born_, rc);\n", p->name);
        else if (p->dir == D_DROP)
            fprintf(f, "    worker_gone(w, in.w.%s);\n", p->name);
        else if (p->dir == D_OUT)
            fprintf(f, "    out->w.%s = %s%s_;\n", p->name,
                    p->type == T_SIZE || p->type == T_ADDR ? "(uint64_t)" : "", p->name);
    }
    fprintf(f, "    return rc;\n");
}

static void emit_run(FILE *f, const struct call *c)
{
    fprintf(f,
            "static CUresult run_%s(struct worker *w, const void *payload, uint32_t len,\n"
            "                       struct idm_%s_out *out)\n{\n    struct idm_%s_in in;\n"
            "    if (!idm_decode_%s_in(payload, len, &in))\n        return worker_malformed(w);\n",
            c->symbol, c->symbol, c->symbol, c->symbol);
    if (c->worker)
        fprintf(f, "    return worker_%s(w, &in, out);\n", c->symbol);
    else
        emit_plain(f, c);
    fprintf(f, "}\n\n");
}

void emit_worker_source(FILE *f, const struct model *m)
{
    banner(f);
    fprintf(f, "#include <stddef.h>\n\n#include \"internal.h\"\n\n");
    FOR_CALLS(c, m)
    {
        if (on_wire(c))
            emit_run(f, c);
    }
    fprintf(f, "bool worker_dispatch(struct worker *w, uint16_t type, const void *payload,\n"
               "                     uint32_t len, struct worker_result *ret_result)\n{\n"
               "    struct worker_result *r = ret_result;\n    switch (type) {\n");
    FOR_CALLS(c, m)
    {
        if (!on_wire(c))
            continue;
        fprintf(
            f,
            "    case IDM_%s: {\n        struct idm_%s_out *out = worker_zeroed(r, sizeof(*out));\n"
            "        r->result = run_%s(w, payload, len, out);\n"
            "        r->n_parts = idm_parts_%s_out(out, r->parts);\n        return true;\n    }\n",
            c->symbol, c->symbol, c->symbol, c->symbol);
    }
    fprintf(f, "    default:\n        return false;\n    }\n}\n");
}
