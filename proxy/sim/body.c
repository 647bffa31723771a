/* SPDX-License-Identifier: Apache-2.0 */
/* A function's body: scopes, labels, and one statement after the other. */
#include <stdio.h>
#include <string.h>

#include "ops.h"

/* ---- statements ---- */

static struct fixup *add_fixup(struct parser *p, const char *label, size_t len)
{
    p->fixups = parse_grow(p, p->fixups, p->nfixups, &p->fixups_cap, sizeof(struct fixup),
                           SIM_MAX_INSNS, "branches");
    struct fixup *f = &p->fixups[p->nfixups++];
    *f = (struct fixup){.label = label, .len = len, .insn = p->ncode, .line = p->tok.line};
    return f;
}

static void add_dst(struct build *b, const struct arg *a)
{
    for (unsigned i = 0; i < a->n; i++) {
        if (a->memory || (a->op[i].kind != O_REG && a->op[i].kind != O_SINK) || a->op[i].neg)
            parse_fail(b->p, "%s: the destination is no register", b->op->name);
        if (b->in->ndst == BUILD_DST)
            parse_fail(b->p, "%s: too many destinations", b->op->name);
        b->in->dst[b->in->ndst++] = a->op[i];
    }
}

static void add_src(struct build *b, const struct arg *a)
{
    if (a->name)
        parse_fail(b->p, "%.*s is not declared", (int)a->len, a->name);
    for (unsigned i = 0; i < a->n; i++) {
        if (b->in->nsrc == BUILD_SRC ||
            (b->in->nsrc >= SIM_MAX_SPECIAL &&
             ((a->op[i].kind != O_REG && a->op[i].kind != O_CONST) || a->op[i].neg)))
            parse_fail(b->p, "%s: too many operands", b->op->name);
        b->in->src[b->in->nsrc++] = a->op[i];
    }
    if (a->memory)
        *(b->addresses++ ? &b->in->offset2 : &b->in->offset) = a->offset;
}

static void call_arguments(struct build *b, struct call_arg **ret_args, uint32_t *ret_n)
{
    struct parser *p = b->p;
    uint32_t cap = 0;
    struct call_arg *args = NULL;
    uint32_t n = 0;
    if (!parse_accept(p, ')')) {
        do {
            struct arg a = {0};
            args = parse_grow(p, args, n, &cap, sizeof(*args), SIM_MAX_PARAMS, "arguments");
            args[n].from = parse_operand(b, T_NONE, &a);
            if (a.name)
                parse_fail(p, "%.*s is not declared", (int)a.len, a.name);
            n++;
        } while (parse_accept(p, ','));
        parse_expect(p, ')');
    }
    *ret_args = args;
    *ret_n = n;
}

/* call (results), function, (arguments); */
static void parse_call(struct build *b)
{
    struct parser *p = b->p;
    struct call_args *args = parse_alloc(p, sizeof(*args));
    b->in->call = args;
    if (parse_accept(p, '(')) {
        call_arguments(b, &args->out, &args->nout);
        parse_expect(p, ',');
    }
    size_t len;
    const char *name = parse_name(p, &len);
    struct symbol *s = parse_find(p, name, len);
    uint8_t type;
    int64_t slot = s && s->kind == SYM_FUNC ? -1 : parse_register(p, name, len, &type);
    if (slot >= 0) {
        b->in->target = SIM_INDIRECT;
        b->in->src[b->in->nsrc++] = (struct operand){.kind = O_REG, .slot = (uint32_t)slot};
    } else {
        b->in->target = parse_function(p, name, len);
    }
    if (!parse_accept(p, ','))
        return;
    if (parse_accept(p, '(')) {
        call_arguments(b, &args->in, &args->nin);
        if (!parse_accept(p, ','))
            return;
    }
    if (slot < 0)
        parse_fail(p, "expected ';' after the call of a function");
    parse_name(p, &len); /* the prototype: what the function takes is checked when it is called */
}

static void parse_operands(struct build *b)
{
    struct parser *p = b->p;
    struct arg a;
    /* cvt.dst.src and set.dst.src: constants have the second type. */
    uint8_t type =
        b->types[b->ntypes > 1 && (!strcmp(b->op->name, "cvt") || !strcmp(b->op->name, "set"))];
    if (b->nlayouts && b->op->form != FORM_PLAIN)
        type = T_U32; /* wmma.load and wmma.store: the stride */
    if (b->op->form == FORM_CALL) {
        parse_call(b);
        return;
    }
    for (unsigned i = 0; !tok_punct(&p->tok, ';'); i++) {
        if (i && !parse_accept(p, ','))
            parse_fail(p, "%s: expected ',' or ';'", b->op->name);
        parse_arg(b, &a, type);
        bool first = i == 0;
        switch (b->op->form) {
        case FORM_BRANCH:
            if (!a.name || !first)
                parse_fail(p, "%s: expected a label", b->op->name);
            add_fixup(p, a.name, a.len);
            break;
        case FORM_TABLE:
            if (first)
                add_src(b, &a);
            else if (!a.name || i > 1)
                parse_fail(p, "%s: expected the name of .branchtargets", b->op->name);
            else
                add_fixup(p, a.name, a.len)->table = true;
            break;
        case FORM_POLICY:
            add_dst(b, &a);
            while (!tok_punct(&p->tok, ';') && p->tok.kind != TOK_END)
                parse_next(p);
            break;
        case FORM_BARRIER:
            if (first && !a.memory)
                add_dst(b, &a);
            else
                add_src(b, &a);
            break;
        case FORM_PLAIN:
        case FORM_LOAD:
            if (first && b->op->ndst)
                add_dst(b, &a);
            else
                add_src(b, &a);
            break;
        default:
            add_src(b, &a);
        }
        if ((b->op->form == FORM_LOAD && i == 1 && !a.memory) ||
            (b->op->form == FORM_STORE && first && !a.memory))
            parse_fail(p, "%s: expected an address in brackets", b->op->name);
    }
}

/* .m16n8k16, .m8n8 */
static bool parse_shape(struct build *b, const struct token *t)
{
    static const char letters[] = "mnk";
    uint32_t shape[3] = {0};
    unsigned n = 0;
    for (size_t i = 0; i < t->len; i++) {
        char c = t->text[i];
        if (n < 3 && c == letters[n])
            n++;
        else if (n && c >= '0' && c <= '9' && shape[n - 1] < 1000)
            shape[n - 1] = 10 * shape[n - 1] + (uint32_t)(c - '0');
        else
            return false;
    }
    if (n < 2 || !shape[0] || !shape[1])
        return false;
    for (unsigned i = 0; i < 3; i++)
        b->shape[i] = (uint16_t)shape[i];
    return true;
}

static void parse_modifiers(struct build *b)
{
    static const char *const names[M_COUNT] = {
#define X(id, text) text,
        SIM_MODIFIERS(X)
#undef X
    };
    struct parser *p = b->p;
    for (; p->tok.kind == TOK_DOT && p->tok.glued; parse_next(p)) {
        uint8_t t;
        if (type_by_name(&p->tok, &t)) {
            if (t > T_F64 && !b->op->formats)
                parse_fail(p, "%s: .%.*s is not supported", b->op->name, (int)p->tok.len,
                           p->tok.text);
            if (b->ntypes == 4)
                parse_fail(p, "%s: too many types", b->op->name);
            b->types[b->ntypes++] = t;
            continue;
        }
        unsigned m = 0;
        while (m < M_COUNT && !tok_is(&p->tok, TOK_DOT, names[m]))
            m++;
        if (m == M_COUNT && (parse_shape(b, &p->tok) || b->op->form == FORM_POLICY))
            continue;
        if (m == M_COUNT && (b->op->form == FORM_COPY || b->op->form == FORM_BARRIER)) {
            b->beyond = true;
            continue;
        }
        if (m == M_COUNT)
            parse_fail(p, "%s: .%.*s is not supported", b->op->name,
                       (int)(p->tok.len < 60 ? p->tok.len : 60), p->tok.text);
        b->modifiers[m / 64] |= 1ull << (m % 64);
        if ((m == M_ROW || m == M_COL) && b->nlayouts < 2)
            b->col[b->nlayouts++] = m == M_COL;
    }
}

static void common_modifiers(struct build *b)
{
    struct insn *in = b->in;
    in->type = b->types[0];
    in->type2 = b->types[1];
    in->ftz = has(b, M_FTZ);
    in->sat = has(b, M_SAT);
    in->vec = has(b, M_V8) ? 8 : has(b, M_V4) ? 4 : has(b, M_V2) ? 2 : 1;
    in->relu = has(b, M_RELU);
    in->space = has(b, M_GLOBAL)                                                   ? SPACE_GLOBAL
                : has(b, M_SHARED) || has(b, M_SHARED_CTA)                         ? SPACE_SHARED
                : has(b, M_SHARED_CLUSTER)                                         ? SPACE_SHARED
                : has(b, M_LOCAL)                                                  ? SPACE_LOCAL
                : has(b, M_CONST)                                                  ? SPACE_CONST
                : has(b, M_PARAM) || has(b, M_PARAM_FUNC) || has(b, M_PARAM_ENTRY) ? SPACE_PARAM
                                                                                   : SPACE_GENERIC;
}

/* The statement, whose modifiers and operands aren't looked at. */
static void parse_opaque(struct build *b, const char *name)
{
    struct parser *p = b->p;
    const char *end = name;
    while (end < p->lx.end && *end != ';' && *end != '\n' && end - name < 120)
        end++;
    while (!tok_punct(&p->tok, ';') && p->tok.kind != TOK_END)
        parse_next(p);
    parse_expect(p, ';');
    *b->in = (struct insn){.guard = b->in->guard,
                           .guard_neg = b->in->guard_neg,
                           .line = b->line,
                           .fn = b->op->form == FORM_HINT ? select_nothing(b) : op_beyond,
                           .text = parse_dup(p, name, (size_t)(end - name))};
    p->ncode++;
}

/* The operands' own place: the scratch in B ends with the instruction. */
static void keep_operands(struct build *b)
{
    struct insn *in = b->in;
    unsigned ndst = in->ndst < 2 ? 2 : in->ndst;
    struct operand *kept = parse_alloc(b->p, (size_t)(ndst + in->nsrc) * sizeof(*kept));
    memcpy(kept, in->dst, in->ndst * sizeof(*kept));
    memcpy(kept + ndst, in->src, in->nsrc * sizeof(*kept));
    in->dst = kept;
    in->src = kept + ndst;
}

static void parse_instruction(struct parser *p, int32_t guard, bool guard_neg)
{
    p->code = parse_grow(p, p->code, p->ncode, &p->code_cap, sizeof(struct insn), SIM_MAX_INSNS,
                         "instructions");
    struct insn *in = &p->code[p->ncode];
    *in = (struct insn){.guard = guard, .guard_neg = guard_neg, .line = p->tok.line};
    struct build b = {.p = p, .in = in, .line = p->tok.line};
    in->dst = b.dst;
    in->src = b.src;
    size_t len;
    const char *name = parse_name(p, &len);
    b.op = opcode_find(name, len);
    if (!b.op && p->tok.kind == TOK_DOT && p->tok.glued) {
        len += 1 + p->tok.len; /* wmma.load: the second word says which operands it has */
        b.op = opcode_find(name, len);
        parse_next(p);
    }
    if (!b.op)
        parse_fail_at(p, b.line, "unknown instruction %.*s", (int)(len < 60 ? len : 60), name);
    bool opaque = b.op->form == FORM_BEYOND || b.op->form == FORM_HINT;
    if (!opaque)
        parse_modifiers(&b);
    if (opaque || b.beyond) {
        parse_opaque(&b, name);
        return;
    }
    common_modifiers(&b);
    parse_operands(&b);
    parse_expect(p, ';');
    if (has(&b, M_CACHE_HINT) && in->nsrc)
        in->nsrc--; /* the last one is how to cache it: a hint */
    if (b.op->ndst && !in->ndst)
        parse_fail_at(p, b.line, "%s without a destination", b.op->name);
    if (b.op->select)
        in->fn = b.op->select(&b);
    else if (in->nsrc == b.op->nsrc && in->ndst == 1)
        in->fn = b.op->by_type[in->type];
    if (!in->fn) {
        const char *end = name;
        while (end < p->lx.end && *end != ';' && *end != '\n' && end - name < 80)
            end++;
        parse_fail_at(p, b.line, "%s: '%.*s' is not supported", p->f->name, (int)(end - name),
                      name);
    }
    keep_operands(&b);
    p->ncode++;
}

static void define_label(struct parser *p, const char *name, size_t len)
{
    if (++p->nlabels > SIM_MAX_LABELS)
        parse_fail(p, "more than %u labels", SIM_MAX_LABELS);
    uint32_t scope = p->scope;
    p->scope = p->func_scope;
    struct symbol *s = parse_define(p, name, len, SYM_LABEL);
    s->index = p->ncode;
    if (parse_accept_dot(p, "branchtargets")) {
        s->kind = SYM_TARGETS;
        uint32_t cap = 0;
        do {
            size_t n;
            const char *target = parse_name(p, &n);
            uint32_t *grown =
                parse_grow(p, s->targets, s->count, &cap, sizeof(uint32_t), 65536, "targets");
            /* Fixups point into the table: they move with it. */
            for (uint32_t i = 0; grown != s->targets && i < s->count; i++)
                p->fixups[p->nfixups - s->count + i].target = &grown[i];
            s->targets = grown;
            add_fixup(p, target, n)->target = &s->targets[s->count++];
        } while (parse_accept(p, ','));
        parse_expect(p, ';');
    } else if (tok_is(&p->tok, TOK_DOT, "callprototype") ||
               tok_is(&p->tok, TOK_DOT, "calltargets")) {
        s->kind = SYM_PROTOTYPE;
        while (!tok_punct(&p->tok, ';') && p->tok.kind != TOK_END)
            parse_next(p);
        parse_expect(p, ';');
    }
    p->scope = scope;
}

static void parse_directive(struct parser *p)
{
    if (parse_accept_dot(p, "reg")) {
        parse_registers(p);
    } else if (parse_accept_dot(p, "local")) {
        parse_variables(p, SPACE_LOCAL, false);
    } else if (parse_accept_dot(p, "shared")) {
        parse_variables(p, SPACE_SHARED, false);
    } else if (parse_accept_dot(p, "param")) {
        parse_variables(p, SPACE_PARAM, false);
    } else if (parse_accept_dot(p, "global")) {
        parse_variables(p, SPACE_GLOBAL, false);
    } else if (parse_accept_dot(p, "const")) {
        parse_variables(p, SPACE_CONST, false);
    } else if (tok_is(&p->tok, TOK_DOT, "loc") || tok_is(&p->tok, TOK_DOT, "file")) {
        unsigned line = p->tok.line;
        while (p->tok.kind != TOK_END && p->tok.line == line)
            parse_next(p);
    } else if (parse_accept_dot(p, "pragma")) {
        while (!tok_punct(&p->tok, ';') && p->tok.kind != TOK_END)
            parse_next(p);
        parse_expect(p, ';');
    } else {
        parse_fail(p, "unexpected .%.*s", (int)p->tok.len, p->tok.text);
    }
}

static void parse_statement(struct parser *p)
{
    if (p->tok.kind == TOK_DOT) {
        parse_directive(p);
        return;
    }
    int32_t guard = -1;
    bool neg = false;
    if (parse_accept(p, '@')) {
        neg = parse_accept(p, '!');
        size_t len;
        uint8_t type = T_NONE;
        const char *name = parse_name(p, &len);
        int64_t slot = parse_register(p, name, len, &type);
        if (slot < 0 || type != T_PRED)
            parse_fail(p, "%.*s is no predicate", (int)len, name);
        guard = (int32_t)slot;
    } else if (p->tok.kind == TOK_NAME) {
        struct lexer look = p->lx;
        struct token next;
        lex_next(&look, &next);
        if (tok_punct(&next, ':')) {
            size_t len;
            const char *name = parse_name(p, &len);
            parse_next(p);
            define_label(p, name, len);
            return;
        }
    }
    parse_instruction(p, guard, neg);
}

static void resolve(struct parser *p, const struct fixup *x)
{
    struct symbol *s = parse_find(p, x->label, x->len);
    if (!s || s->kind != (x->table ? SYM_TARGETS : SYM_LABEL))
        parse_fail_at(p, x->line, "no label %.*s in %s", (int)x->len, x->label, p->f->name);
    if (x->table) {
        p->code[x->insn].targets = s->targets;
        p->code[x->insn].ntargets = s->count;
    } else if (x->target) {
        *x->target = s->index;
    } else {
        p->code[x->insn].target = s->index;
    }
}

void parse_body(struct parser *p)
{
    struct sim_func *f = p->f;
    p->code = NULL;
    p->code_cap = 0;
    p->func_scope = p->scope;
    for (unsigned depth = 1; depth;) {
        if (p->tok.kind == TOK_END)
            parse_fail(p, "%s has no end", f->name);
        if (parse_accept(p, '{')) {
            if (++depth > 64)
                parse_fail(p, "braces nested too deep");
            parse_scope_open(p);
        } else if (tok_punct(&p->tok, '}')) {
            if (--depth)
                parse_scope_close(p);
            parse_next(p);
        } else if (!parse_accept(p, ';')) {
            parse_statement(p);
        }
    }
    /* Running off the end is a return. */
    p->code = parse_grow(p, p->code, p->ncode, &p->code_cap, sizeof(struct insn), SIM_MAX_INSNS,
                         "instructions");
    struct build b = {.p = p, .in = &p->code[p->ncode], .op = opcode_find("ret", 3)};
    *b.in = (struct insn){.guard = -1, .line = p->tok.line};
    b.in->fn = b.op->select(&b);
    p->ncode++;
    for (uint32_t i = 0; i < p->nfixups; i++)
        resolve(p, &p->fixups[i]);
    f->code = p->code;
    f->ncode = p->ncode;
    f->nconsts = p->nconsts;
    f->consts = parse_alloc(p, (size_t)p->nconsts * SIM_WARP * sizeof(uint64_t));
    for (uint32_t i = 0; i < p->nconsts; i++)
        for (unsigned lane = 0; lane < SIM_WARP; lane++)
            f->consts[(size_t)i * SIM_WARP + lane] = p->const_values[i];
}
