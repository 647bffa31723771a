/* SPDX-License-Identifier: Apache-2.0 */
/* The wire structs, their decoders and the table of messages. */
#include <string.h>

#include "idmgen.h"

static unsigned wire_size(const struct param *p)
{
    switch (p->type) {
    case T_U8:
        return 1;
    case T_U16:
        return 2;
    case T_U32:
    case T_I32:
    case T_F32:
    case T_CSTR:
    case T_BYTES:
        return 4;
    default:
        return 8;
    }
}

static const char *wire_type(const struct param *p)
{
    switch (p->type) {
    case T_U8:
        return "uint8_t";
    case T_U16:
        return "uint16_t";
    case T_I32:
        return "int32_t";
    case T_F32:
        return "float";
    case T_U32:
    case T_CSTR:
    case T_BYTES:
        return "uint32_t";
    default:
        return "uint64_t";
    }
}

/* Large fields first, so that the compiler has nothing to pad. */
static void emit_fields(FILE *f, const struct call *c, bool (*chosen)(const struct param *))
{
    unsigned bytes = 0;
    for (unsigned size = 8; size; size /= 2) {
        FOR_PARAMS(p, c)
        {
            if (!chosen(p) || wire_size(p) != size)
                continue;
            fprintf(f, "    %s %s%s;\n", wire_type(p), p->name, is_tail(p) ? "_len" : "");
            bytes += size;
        }
    }
    unsigned pad = bytes ? (8 - bytes % 8) % 8 : 8;
    if (pad && (bytes || chosen == in_request))
        fprintf(f, "    uint8_t pad_[%u];\n", pad);
}

static bool request_tail(const struct param *p)
{
    return in_request(p) && is_tail(p);
}

static bool reply_tail(const struct param *p)
{
    return in_reply(p) && is_tail(p);
}

static const char *tail_type(const struct param *p)
{
    return p->type == T_CSTR ? "const char *" : "const void *";
}

static void emit_pair(FILE *f, const struct call *c, const char *wire, const char *whole,
                      bool (*fields)(const struct param *), bool (*tails)(const struct param *))
{
    bool reply = fields == in_reply;
    fprintf(f, "struct idm_%s%s {\n%s", c->symbol, wire,
            reply ? "    struct idm_reply head;\n" : "");
    emit_fields(f, c, fields);
    fprintf(f, "};\n_Static_assert(sizeof(struct idm_%s%s) %% 8 == 0, \"%s\");\n", c->symbol, wire,
            c->symbol);
    fprintf(f, "struct idm_%s%s {\n    struct idm_%s%s w;\n", c->symbol, whole, c->symbol, wire);
    FOR_PARAMS(p, c)
    {
        if (tails(p))
            fprintf(f, "    %s%s;\n", tail_type(p), p->name);
    }
    fprintf(f, "};\n");
    fprintf(
        f,
        "static inline unsigned idm_parts_%s%s(const struct idm_%s%s *m, struct idm_part *parts)\n"
        "{\n    unsigned n = 0;\n    parts[n++] = (struct idm_part){&m->w, sizeof(m->w)};\n",
        c->symbol, whole, c->symbol, whole);
    FOR_PARAMS(p, c)
    {
        if (tails(p))
            fprintf(f, "    parts[n++] = (struct idm_part){m->%s, m->w.%s_len};\n", p->name,
                    p->name);
    }
    fprintf(f, "    return n;\n}\n");
    fprintf(
        f,
        "bool idm_decode_%s%s(const void *payload, uint32_t len, struct idm_%s%s *ret_message);\n",
        c->symbol, whole, c->symbol, whole);
}

static void banner(FILE *f)
{
    fprintf(f, "/* SPDX-License-Identifier: Apache-2.0 */\n/* Generated from cuda.calls. */\n");
}

void emit_wire_header(FILE *f, const struct model *m)
{
    banner(f);
    fprintf(f, "#ifndef GI_IDM_WIRE_H\n#define GI_IDM_WIRE_H\n\n#include \"idm/codec.h\"\n\n"
               "enum idm_message {\n");
    FOR_CALLS(c, m)
    {
        if (on_wire(c))
            fprintf(f, "    IDM_%s = 0x%x,\n", c->symbol, c->number);
    }
    fprintf(f, "};\n\n");
    FOR_CALLS(c, m)
    {
        if (!on_wire(c))
            continue;
        fprintf(f, "/* %s */\n", c->symbol);
        emit_pair(f, c, "", "_in", in_request, request_tail);
        emit_pair(f, c, "_reply", "_out", in_reply, reply_tail);
        fprintf(f, "\n");
    }
    fprintf(
        f, "/* NULL: no such message. */\nconst char *idm_message_name(uint16_t type);\n\n"
           "/* What a message means to the GPU's time: nothing, work in the stream it names or in\n"
           " * the default one, or the end of a stream or a context. */\n"
           "enum idm_effect {\n    IDM_EFFECT_NONE,\n    IDM_EFFECT_WORK,\n"
           "    IDM_EFFECT_WORK_IN_DEFAULT,\n    IDM_EFFECT_ENDS\n};\n"
           "enum idm_effect idm_effect(uint16_t type);\n\n"
           "/* Decodes a request or a reply of TYPE and drops it: for fuzzing. */\n"
           "bool idm_decode_any(uint16_t type, bool reply, const void *payload, uint32_t len);\n"
           "\n#endif\n");
}

static void emit_decoder(FILE *f, const struct call *c, const char *whole,
                         bool (*tails)(const struct param *))
{
    fprintf(
        f,
        "bool idm_decode_%s%s(const void *payload, uint32_t len, struct idm_%s%s *ret_message)\n{\n"
        "    struct idm_%s%s m;\n    struct idm_cursor c = {payload, len};\n"
        "    if (!idm_take_fixed(&c, &m.w, sizeof(m.w)))\n        return false;\n",
        c->symbol, whole, c->symbol, whole, c->symbol, whole);
    FOR_PARAMS(p, c)
    {
        if (!tails(p))
            continue;
        if (p->type == T_CSTR)
            fprintf(f,
                    "    if (!idm_take_text(&c, m.w.%s_len, %u, &m.%s))\n        return false;\n",
                    p->name, p->max, p->name);
        else
            fprintf(f, "    if (!idm_take_bytes(&c, m.w.%s_len, &m.%s))\n        return false;\n",
                    p->name, p->name);
    }
    fprintf(f, "    if (c.left != 0)\n        return false;\n    *ret_message = m;\n"
               "    return true;\n}\n\n");
}

static bool begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* What has a stream puts work into it, but for streams' and events' own calls and the
 * host's functions. */
static const char *effect_of(const struct call *c)
{
    bool streamed = false;
    FOR_PARAMS(p, c)
    {
        if (p->dir == D_DROP && (p->type == T_STREAM || strcmp(p->handle, "stream") == 0 ||
                                 strcmp(p->handle, "context") == 0))
            return "ENDS";
        streamed = streamed || p->type == T_STREAM;
    }
    if (begins(c->symbol, "cuStream") || begins(c->symbol, "cuEvent") || begins(c->symbol, "host_"))
        return NULL;
    if (streamed)
        return "WORK";
    return begins(c->symbol, "cuMemset") || begins(c->symbol, "cuMemcpy") ? "WORK_IN_DEFAULT"
                                                                          : NULL;
}

static void emit_effect(FILE *f, const struct model *m)
{
    fprintf(f, "enum idm_effect idm_effect(uint16_t type)\n{\n    switch (type) {\n");
    FOR_CALLS(c, m)
    {
        const char *effect = on_wire(c) ? effect_of(c) : NULL;
        if (effect)
            fprintf(f, "    case IDM_%s:\n        return IDM_EFFECT_%s;\n", c->symbol, effect);
    }
    fprintf(f, "    default:\n        return IDM_EFFECT_NONE;\n    }\n}\n\n");
}

void emit_wire_source(FILE *f, const struct model *m)
{
    banner(f);
    fprintf(f, "#include <stddef.h>\n\n#include \"idm_wire.h\"\n\n");
    FOR_CALLS(c, m)
    {
        if (!on_wire(c))
            continue;
        emit_decoder(f, c, "_in", request_tail);
        emit_decoder(f, c, "_out", reply_tail);
    }
    emit_effect(f, m);
    fprintf(f, "const char *idm_message_name(uint16_t type)\n{\n    switch (type) {\n");
    FOR_CALLS(c, m)
    {
        if (on_wire(c))
            fprintf(f, "    case IDM_%s:\n        return \"%s\";\n", c->symbol, c->symbol);
    }
    fprintf(f, "    default:\n        return NULL;\n    }\n}\n\n"
               "bool idm_decode_any(uint16_t type, bool reply, const void *payload, uint32_t len)\n"
               "{\n    switch (type) {\n");
    FOR_CALLS(c, m)
    {
        if (!on_wire(c))
            continue;
        fprintf(f,
                "    case IDM_%s: {\n        struct idm_%s_in in;\n        struct idm_%s_out out;\n"
                "        return reply ? idm_decode_%s_out(payload, len, &out)\n"
                "                     : idm_decode_%s_in(payload, len, &in);\n    }\n",
                c->symbol, c->symbol, c->symbol, c->symbol, c->symbol);
    }
    fprintf(f, "    default:\n        return false;\n    }\n}\n");
}
