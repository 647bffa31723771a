/* SPDX-License-Identifier: Apache-2.0 */
/* Declarations: registers, variables of all spaces with their values, parameters. */
#include <string.h>

#include "parse.h"

bool type_by_name(const struct token *t, uint8_t *ret_type)
{
    static const struct {
        const char *name;
        uint8_t type;
    } types[] = {
        {"pred", T_PRED},     {"b8", T_B8},         {"u8", T_U8},         {"s8", T_S8},
        {"b16", T_B16},       {"u16", T_U16},       {"s16", T_S16},       {"f16", T_F16},
        {"b32", T_B32},       {"u32", T_U32},       {"s32", T_S32},       {"f32", T_F32},
        {"b64", T_B64},       {"u64", T_U64},       {"s64", T_S64},       {"f64", T_F64},
        {"bf16", T_BF16},     {"f16x2", T_F16X2},   {"bf16x2", T_BF16X2}, {"tf32", T_TF32},
        {"e4m3", T_E4M3},     {"e5m2", T_E5M2},     {"e4m3x2", T_E4M3X2}, {"e5m2x2", T_E5M2X2},
        {"e2m1x2", T_E2M1X2}, {"e2m3x2", T_E2M3X2}, {"e3m2x2", T_E3M2X2}, {"ue8m0x2", T_UE8M0X2},
        {"s4", T_S4},         {"u4", T_U4},         {"b1", T_B1}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (tok_is(t, TOK_DOT, types[i].name)) {
            *ret_type = types[i].type;
            return true;
        }
    }
    return false;
}

struct decl {
    uint32_t align; /* 0: the type's */
    uint8_t type, vec;
    bool no_ptr_check, managed;
};

/* [.align n] [.v2|.v4] .type [.ptr [.space] [.align n]], in PTX's loose order. */
static struct decl parse_decl_type(struct parser *p)
{
    struct decl d = {.vec = 1};
    while (p->tok.kind == TOK_DOT) {
        uint8_t t = 0;
        if (parse_accept_dot(p, "align")) {
            uint64_t a = parse_uint(p, 4096, "alignment");
            if (!a || (a & (a - 1)))
                parse_fail(p, "alignment %llu is no power of two", (unsigned long long)a);
            d.align = (uint32_t)a;
        } else if (parse_accept_dot(p, "v2")) {
            d.vec = 2;
        } else if (parse_accept_dot(p, "v4")) {
            d.vec = 4;
        } else if (parse_accept_dot(p, "ptr")) {
            /* What the pointer points to: nothing the simulator checks. */
            while (p->tok.kind == TOK_DOT) {
                if (parse_accept_dot(p, "align"))
                    parse_uint(p, 1u << 20, "alignment");
                else
                    parse_next(p);
            }
        } else if (parse_accept_dot(p, "attribute")) {
            parse_expect(p, '(');
            while (!tok_punct(&p->tok, ')') && p->tok.kind != TOK_END) {
                if (parse_accept_dot(p, "managed"))
                    d.managed = true;
                else
                    parse_next(p);
            }
            parse_expect(p, ')');
        } else if (type_by_name(&p->tok, &t) && t <= T_F64) {
            d.type = t;
            parse_next(p);
        } else {
            parse_fail(p, "unknown type .%.*s", (int)p->tok.len, p->tok.text);
        }
    }
    if (!d.type)
        parse_fail(p, "a declaration without a type");
    if (!d.align)
        d.align = type_size(d.type) * d.vec;
    return d;
}

void parse_registers(struct parser *p)
{
    struct decl d = parse_decl_type(p);
    do {
        size_t len;
        const char *name = parse_name(p, &len);
        struct symbol *s;
        if (parse_accept(p, '<')) {
            uint64_t n = parse_uint(p, UINT32_MAX, "number of registers");
            parse_expect(p, '>');
            s = parse_define(p, name, len, SYM_RANGE);
            s->count = (uint32_t)n;
        } else {
            s = parse_define(p, name, len, SYM_REG);
        }
        s->type = d.type;
        s->vec = d.vec;
    } while (parse_accept(p, ','));
    parse_expect(p, ';');
}

struct init {
    uint8_t *bytes;
    uint64_t cap, at;
    uint8_t type;
    uint32_t var;
};

static uint64_t scalar_bits(struct parser *p, uint8_t type, bool minus)
{
    uint64_t v = p->tok.ival;
    enum token_kind k = p->tok.kind;
    parse_next(p);
    if (k == TOK_INT && !type_float(type))
        return minus ? 0 - v : v;
    double d = (double)v;
    if (k == TOK_F64) {
        memcpy(&d, &v, sizeof(d));
    } else if (k == TOK_F32) {
        float f;
        uint32_t bits = (uint32_t)v;
        memcpy(&f, &bits, sizeof(f));
        d = (double)f;
    }
    d = minus ? -d : d;
    if (type == T_F64) {
        memcpy(&v, &d, sizeof(v));
    } else if (type == T_F32) {
        float f = (float)d;
        uint32_t bits;
        memcpy(&bits, &f, sizeof(bits));
        v = bits;
    } else {
        parse_fail(p, "a floating point value for another type");
    }
    return v;
}

/* One value at i->at: a number, or the address of a variable. */
static void parse_scalar_init(struct parser *p, struct init *i)
{
    unsigned size = type_size(i->type);
    if (i->at + size > i->cap)
        parse_fail(p, "more values than the variable holds");
    bool minus = parse_accept(p, '-');
    uint64_t v = 0;
    if (p->tok.kind == TOK_INT || p->tok.kind == TOK_F32 || p->tok.kind == TOK_F64) {
        v = scalar_bits(p, i->type, minus);
    } else if (p->tok.kind == TOK_NAME && !minus) {
        size_t len;
        bool generic = tok_is(&p->tok, TOK_NAME, "generic");
        const char *name = parse_name(p, &len);
        if (generic && parse_accept(p, '('))
            name = parse_name(p, &len);
        else
            generic = false;
        struct symbol *s = parse_find(p, name, len);
        bool function = s && s->kind == SYM_FUNC;
        if (function)
            v = SIM_CODE_BASE + (uint64_t)s->index * SIM_CODE_STEP;
        else if (!s || s->kind != SYM_VAR || (s->space != SPACE_GLOBAL && s->space != SPACE_CONST))
            parse_fail(p, "%.*s is no variable with an address", (int)len, name);
        if (generic)
            parse_expect(p, ')');
        uint64_t add = parse_accept(p, '+') ? parse_uint(p, UINT32_MAX, "offset") : 0;
        if (size != 8)
            parse_fail(p, "an address in %u bytes", size);
        if (!function)
            parse_reloc(
                p, (struct sim_reloc){
                       .index = i->var, .var = s->index, .at = i->at, .addend = add, .size = size});
    } else {
        parse_fail(p, "expected a value");
    }
    memcpy(i->bytes + i->at, &v, size);
    i->at += size;
}

static void parse_init(struct parser *p, struct init *i, uint64_t extent)
{
    if (!parse_accept(p, '{')) {
        parse_scalar_init(p, i);
        return;
    }
    if (++p->depth > 8)
        parse_fail(p, "braces nested too deep");
    uint64_t start = i->at;
    if (!tok_punct(&p->tok, '}')) {
        do {
            if (tok_punct(&p->tok, '{')) {
                parse_init(p, i, 0);
            } else {
                parse_scalar_init(p, i);
            }
        } while (parse_accept(p, ','));
    }
    parse_expect(p, '}');
    if (extent && i->at < start + extent)
        i->at = start + extent;
    p->depth--;
}

/* [n][m]... ; ret_open: an empty first one. Returns the product. */
static uint64_t parse_dims(struct parser *p, bool *ret_open, uint64_t *ret_rows)
{
    uint64_t n = 1;
    *ret_open = false;
    *ret_rows = 0;
    for (unsigned dim = 0; parse_accept(p, '['); dim++) {
        if (dim == 0 && tok_punct(&p->tok, ']')) {
            *ret_open = true;
        } else {
            uint64_t d = parse_uint(p, SIM_MAX_GLOBAL, "array size");
            if (d && n > SIM_MAX_GLOBAL / d)
                parse_fail(p, "array too large");
            n *= d;
            if (dim == 0)
                *ret_rows = d;
        }
        parse_expect(p, ']');
    }
    return n;
}

static uint64_t place(struct parser *p, uint64_t *used, uint64_t size, uint32_t align,
                      uint64_t limit, const char *what)
{
    uint64_t at = (*used + align - 1) & ~(uint64_t)(align - 1);
    if (size > limit || at > limit - size)
        parse_fail(p, "more than %llu bytes of %s memory", (unsigned long long)limit, what);
    *used = at + size;
    return at;
}

static void global_variable(struct parser *p, struct symbol *s, const struct decl *d, bool open,
                            bool ext, uint64_t bytes)
{
    struct sim_module *m = p->m;
    m->vars =
        parse_grow(p, m->vars, m->nvars, &m->vars_cap, sizeof(*m->vars), SIM_MAX_VARS, "variables");
    s->index = m->nvars++;
    struct sim_var *v = &m->vars[s->index];
    *v = (struct sim_var){.name = s->name,
                          .align = d->align,
                          .size = bytes,
                          .is_const = s->space == SPACE_CONST,
                          .managed = d->managed,
                          .ext = ext};
    if (!parse_accept(p, '=')) {
        if (open && !ext)
            parse_fail(p, "%s: neither a size nor values", s->name);
        return;
    }
    /* How long an open array is shows only its values: they are counted in a
     * copy of the lexer first. */
    uint64_t cap = bytes;
    if (open) {
        struct lexer look = p->lx;
        struct token t = p->tok;
        uint64_t values = 1;
        for (unsigned depth = 0; t.kind != TOK_END && t.kind != TOK_BAD; lex_next(&look, &t)) {
            if (tok_punct(&t, '{'))
                depth++;
            else if (tok_punct(&t, ','))
                values++;
            else if ((tok_punct(&t, '}') && --depth == 0) || tok_punct(&t, ';'))
                break;
        }
        cap = values * type_size(d->type);
    }
    if (cap > (64u << 20))
        parse_fail(p, "%s: too many values", s->name);
    struct init i = {
        .bytes = parse_alloc(p, cap + 8), .cap = cap, .type = d->type, .var = s->index};
    parse_init(p, &i, 0);
    v = &p->m->vars[s->index];
    v->init = i.bytes;
    v->init_len = open ? i.at : cap;
    v->size = v->init_len;
}

void parse_variables(struct parser *p, enum sim_space space, bool ext)
{
    struct decl d = parse_decl_type(p);
    do {
        size_t len;
        bool open;
        uint64_t rows, n = 1;
        const char *name = parse_name(p, &len);
        uint64_t repeat = 0;
        if (parse_accept(p, '<')) { /* .local .b32 x<4>: as many variables */
            repeat = parse_uint(p, 4096, "number of variables");
            parse_expect(p, '>');
        }
        n = parse_dims(p, &open, &rows);
        if (repeat)
            parse_fail(p, "%.*s<n> is only for registers", (int)len, name);
        uint64_t bytes = n * type_size(d.type) * d.vec;
        if (open)
            bytes = 0;
        if (bytes > SIM_MAX_GLOBAL)
            parse_fail(p, "%.*s is too large", (int)len, name);
        struct symbol *s = parse_define(p, name, len, SYM_VAR);
        s->space = (uint8_t)space;
        s->type = d.type;
        s->size = bytes;
        if (space == SPACE_GLOBAL || space == SPACE_CONST) {
            global_variable(p, s, &d, open, ext, bytes);
        } else if (space == SPACE_SHARED) {
            if (open) /* dynamic: it begins where the static ones end, known at the launch */
                s->offset = UINT64_MAX;
            else
                s->index = parse_shared(p, bytes, d.align);
        } else {
            if (!p->f)
                parse_fail(p, "%s: not at module scope", s->name);
            uint64_t used = p->f->local_bytes;
            s->offset = place(p, &used, bytes, d.align, SIM_MAX_LOCAL, "local");
            p->f->local_bytes = (uint32_t)used;
            s->in_frame = space == SPACE_PARAM;
        }
    } while (parse_accept(p, ','));
    parse_expect(p, ';');
}

void parse_params(struct parser *p, struct sim_func *f, bool rets)
{
    struct sim_param *params = parse_alloc(p, SIM_MAX_PARAMS * sizeof(*params));
    uint32_t n = 0;
    uint64_t used = f->entry ? 0 : f->local_bytes;
    if (!parse_accept(p, ')')) {
        do {
            if (n == SIM_MAX_PARAMS)
                parse_fail(p, "more than %u parameters", SIM_MAX_PARAMS);
            bool reg = parse_accept_dot(p, "reg");
            if (!reg && !parse_accept_dot(p, "param"))
                parse_fail(p, "expected .param or .reg");
            struct decl d = parse_decl_type(p);
            size_t len;
            const char *name = parse_name(p, &len);
            bool open;
            uint64_t rows, count = parse_dims(p, &open, &rows);
            uint64_t size = open ? 0 : count * type_size(d.type) * d.vec;
            struct symbol *s = parse_define(p, name, len, reg ? SYM_REG : SYM_VAR);
            s->type = d.type;
            s->vec = 1;
            params[n] = (struct sim_param){.size = (uint32_t)size, .slot = -1};
            if (reg) {
                s->index = parse_new_register(p) + 1;
                params[n].slot = (int32_t)s->index - 1;
            } else {
                s->space = SPACE_PARAM;
                s->in_frame = !f->entry;
                s->offset = place(p, &used, size, d.align,
                                  f->entry ? SIM_MAX_PARAM_SIZE : SIM_MAX_LOCAL, "parameter");
                s->size = size;
                params[n].offset = (uint32_t)s->offset;
            }
            n++;
        } while (parse_accept(p, ','));
        parse_expect(p, ')');
    }
    struct sim_param *copy = parse_alloc(p, (n + 1) * sizeof(*copy));
    memcpy(copy, params, n * sizeof(*copy));
    if (rets) {
        f->rets = copy;
        f->nrets = n;
    } else {
        f->params = copy;
        f->nparams = n;
    }
    if (f->entry)
        f->param_bytes = (uint32_t)used;
    else
        f->local_bytes = (uint32_t)used;
}
