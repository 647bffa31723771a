/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module's text to its functions and variables: memory, names, directives.
 * The text is hostile: every table has a limit, every failure leaves by
 * parse_fail(), and the arena takes all memory with it.
 */
#include "parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(16) uint8_t data[];
};

#define ARENA_BLOCK (256u << 10)

void *sim_arena(struct sim_module *m, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > SIM_MAX_ARENA || m->arena_used > SIM_MAX_ARENA - bytes)
        return NULL;
    struct arena_block *b = m->blocks;
    if (!b || b->size - b->used < bytes) {
        size_t size = bytes > ARENA_BLOCK ? bytes : ARENA_BLOCK;
        b = calloc(1, sizeof(*b) + size);
        if (!b)
            return NULL;
        b->size = size;
        b->next = m->blocks;
        m->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += bytes;
    m->arena_used += bytes;
    return p;
}

void sim_module_free(struct sim_module *m)
{
    if (!m)
        return;
    while (m->blocks) {
        struct arena_block *b = m->blocks;
        m->blocks = b->next;
        free(b);
    }
    free(m);
}

void *parse_alloc(struct parser *p, size_t bytes)
{
    void *mem = sim_arena(p->m, bytes);
    if (!mem) {
        p->log->no_memory = true;
        parse_fail(p, "the module takes too much memory");
    }
    return mem;
}

void *parse_grow(struct parser *p, void *array, uint32_t n, uint32_t *cap, size_t element,
                 uint32_t limit, const char *what)
{
    if (n < *cap)
        return array;
    if (n >= limit)
        parse_fail(p, "more than %u %s", limit, what);
    uint32_t bigger = *cap ? *cap * 2 : 16;
    if (bigger > limit)
        bigger = limit;
    void *copy = parse_alloc(p, bigger * element);
    if (n)
        memcpy(copy, array, n * element);
    *cap = bigger;
    return copy;
}

const char *parse_dup(struct parser *p, const char *s, size_t len)
{
    char *copy = parse_alloc(p, len + 1);
    memcpy(copy, s, len);
    return copy;
}

/* ---- failing ---- */

static void __attribute__((format(printf, 3, 0)))
note(struct parser *p, unsigned line, const char *fmt, va_list ap)
{
    int n = snprintf(p->log->text, sizeof(p->log->text), "line %u: ", line);
    vsnprintf(p->log->text + n, sizeof(p->log->text) - (size_t)n, fmt, ap);
}

void parse_fail(struct parser *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    note(p, p->tok.line, fmt, ap);
    va_end(ap);
    longjmp(p->fail, 1);
}

void parse_fail_at(struct parser *p, unsigned line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    note(p, line, fmt, ap);
    va_end(ap);
    longjmp(p->fail, 1);
}

/* ---- tokens ---- */

void parse_next(struct parser *p)
{
    lex_next(&p->lx, &p->tok);
    if (p->tok.kind == TOK_BAD)
        parse_fail(p, "unexpected character or malformed number");
}

bool parse_accept(struct parser *p, char punct)
{
    if (!tok_punct(&p->tok, punct))
        return false;
    parse_next(p);
    return true;
}

void parse_expect(struct parser *p, char punct)
{
    if (!parse_accept(p, punct))
        parse_fail(p, "expected '%c' before '%.*s'", punct,
                   (int)(p->tok.len < 40 ? p->tok.len : 40), p->tok.text);
}

bool parse_accept_dot(struct parser *p, const char *name)
{
    if (!tok_is(&p->tok, TOK_DOT, name))
        return false;
    parse_next(p);
    return true;
}

const char *parse_name(struct parser *p, size_t *ret_len)
{
    if (p->tok.kind != TOK_NAME)
        parse_fail(p, "expected a name");
    if (p->tok.len > 4096)
        parse_fail(p, "a name of more than 4096 characters");
    const char *s = p->tok.text;
    *ret_len = p->tok.len;
    parse_next(p);
    return s;
}

uint64_t parse_uint(struct parser *p, uint64_t max, const char *what)
{
    if (p->tok.kind != TOK_INT)
        parse_fail(p, "expected a number: %s", what);
    uint64_t v = p->tok.ival;
    if (v > max)
        parse_fail(p, "%s %llu is more than %llu", what, (unsigned long long)v,
                   (unsigned long long)max);
    parse_next(p);
    return v;
}

/* ---- names ---- */

static uint32_t hash_name(const char *s, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)s[i]) * 16777619u;
    return h;
}

/* Buckets hold the innermost scope's names first, so the first hit is right. */
struct symbol *parse_find(struct parser *p, const char *name, size_t len)
{
    uint32_t h = hash_name(name, len);
    for (struct symbol *s = p->buckets[h % PARSE_BUCKETS]; s; s = s->next)
        if (s->hash == h && s->len == len && !memcmp(s->name, name, len))
            return s;
    return NULL;
}

struct symbol *parse_define(struct parser *p, const char *name, size_t len, uint8_t kind)
{
    struct symbol *old = parse_find(p, name, len);
    if (old && old->scope == p->scope && old->kind != SYM_FUNC)
        parse_fail(p, "%.*s is declared twice", (int)len, name);
    struct symbol *s = parse_alloc(p, sizeof(*s));
    s->name = parse_dup(p, name, len);
    s->len = len;
    s->hash = hash_name(name, len);
    s->scope = p->scope;
    s->kind = kind;
    s->vec = 1;
    p->stack = parse_grow(p, p->stack, p->nstack, &p->stack_cap, sizeof(struct symbol *), 1u << 20,
                          "names");
    p->stack[p->nstack++] = s;
    s->next = p->buckets[s->hash % PARSE_BUCKETS];
    p->buckets[s->hash % PARSE_BUCKETS] = s;
    return s;
}

void parse_scope_open(struct parser *p)
{
    p->scopes = parse_grow(p, p->scopes, p->nscopes, &p->scopes_cap, sizeof(struct scope), 1u << 20,
                           "scopes");
    p->scopes[p->nscopes] = (struct scope){.parent = p->scope, .first = p->nstack};
    p->scope = p->nscopes++;
}

static void forget(struct parser *p, struct symbol *s)
{
    struct symbol **at = &p->buckets[s->hash % PARSE_BUCKETS];
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
}

/* Functions and labels that were met inside belong to outer scopes and stay. */
void parse_scope_close(struct parser *p)
{
    uint32_t kept = p->scopes[p->scope].first;
    for (uint32_t i = kept; i < p->nstack; i++) {
        if (p->stack[i]->scope == p->scope)
            forget(p, p->stack[i]);
        else
            p->stack[kept++] = p->stack[i];
    }
    p->nstack = kept;
    p->scope = p->scopes[p->scope].parent;
}

void parse_reloc(struct parser *p, struct sim_reloc r)
{
    p->m->relocs = parse_grow(p, p->m->relocs, p->m->nrelocs, &p->m->relocs_cap,
                              sizeof(struct sim_reloc), 1u << 20, "addresses");
    p->m->relocs[p->m->nrelocs++] = r;
}

/* ---- functions ---- */

uint32_t parse_function(struct parser *p, const char *name, size_t len)
{
    struct symbol *s = parse_find(p, name, len);
    if (s && s->kind == SYM_FUNC)
        return s->index;
    if (s)
        parse_fail(p, "%.*s is no function", (int)len, name);
    struct sim_module *m = p->m;
    uint32_t scope = p->scope;
    p->scope = 0;
    s = parse_define(p, name, len, SYM_FUNC);
    p->scope = scope;
    m->funcs = parse_grow(p, m->funcs, m->nfuncs, &p->funcs_cap, sizeof(struct sim_func *),
                          SIM_MAX_FUNCS, "functions");
    struct sim_func *f = parse_alloc(p, sizeof(*f));
    f->name = s->name;
    f->index = m->nfuncs;
    f->line = p->tok.line;
    if (!strcmp(f->name, "__assertfail"))
        f->builtin = BUILTIN_ASSERTFAIL;
    else if (!strcmp(f->name, "vprintf"))
        f->builtin = BUILTIN_VPRINTF;
    s->index = m->nfuncs;
    m->funcs[m->nfuncs++] = f;
    return f->index;
}

/* .maxntid 256, 1, 1 and its like, between a header and its body. */
static void parse_performance(struct parser *p, struct sim_func *f)
{
    while (p->tok.kind == TOK_DOT) {
        bool threads = tok_is(&p->tok, TOK_DOT, "maxntid") || tok_is(&p->tok, TOK_DOT, "reqntid");
        if (!threads && !tok_is(&p->tok, TOK_DOT, "minnctapersm") &&
            !tok_is(&p->tok, TOK_DOT, "maxnreg") && !tok_is(&p->tok, TOK_DOT, "maxnctapersm") &&
            !tok_is(&p->tok, TOK_DOT, "noreturn") && !tok_is(&p->tok, TOK_DOT, "pragma") &&
            !tok_is(&p->tok, TOK_DOT, "explicitcluster") &&
            !tok_is(&p->tok, TOK_DOT, "reqnctapercluster") &&
            !tok_is(&p->tok, TOK_DOT, "maxclusterrank") && !tok_is(&p->tok, TOK_DOT, "attribute"))
            parse_fail(p, "unknown directive .%.*s", (int)p->tok.len, p->tok.text);
        bool cluster = tok_is(&p->tok, TOK_DOT, "reqnctapercluster");
        parse_next(p);
        unsigned dimension = 0;
        uint64_t n = 1;
        while (p->tok.kind == TOK_INT || p->tok.kind == TOK_STRING || tok_punct(&p->tok, ',') ||
               tok_punct(&p->tok, '(') || tok_punct(&p->tok, ')')) {
            if (p->tok.kind == TOK_INT) {
                n *= p->tok.ival ? p->tok.ival : 1;
                if (cluster && dimension < 3 && p->tok.ival <= SIM_MAX_CLUSTER)
                    f->cluster[dimension++] = (uint32_t)p->tok.ival;
                if (n > UINT32_MAX)
                    parse_fail(p, "too many threads");
            }
            parse_next(p);
        }
        if (threads)
            f->max_threads = (uint32_t)n;
        if (cluster && n > SIM_MAX_CLUSTER)
            parse_fail(p, "a cluster of %u blocks", (uint32_t)n);
        while (dimension && dimension < 3)
            f->cluster[dimension++] = 1;
        parse_accept(p, ';');
    }
}

static void parse_func(struct parser *p, bool entry, bool ext)
{
    struct sim_func head = {.entry = entry};
    memset(p->const_hash, 0, sizeof(uint32_t) * (SIM_MAX_CONSTS * 2));
    p->nconsts = p->ncode = p->nfixups = p->nlabels = 0;
    p->f = &head;

    parse_scope_open(p);
    if (!entry && parse_accept(p, '('))
        parse_params(p, &head, true);
    size_t len;
    const char *name = parse_name(p, &len);
    uint32_t index = parse_function(p, name, len);
    struct sim_func *f = p->m->funcs[index];
    if (parse_accept(p, '('))
        parse_params(p, &head, false);
    parse_performance(p, &head);
    head.name = f->name;
    head.index = index;
    head.line = f->line;
    head.ext = ext;
    head.builtin = f->builtin;
    bool body = tok_punct(&p->tok, '{');
    if (body) {
        if (f->defined)
            parse_fail(p, "%s is defined twice", f->name);
        *f = head;
        p->f = f;
        f->defined = true;
        parse_next(p);
        parse_body(p);
    } else {
        parse_expect(p, ';');
        if (!f->defined)
            *f = head;
    }
    parse_scope_close(p);
    p->f = NULL;
}

/* ---- the module ---- */

static void skip_line(struct parser *p)
{
    unsigned line = p->tok.line;
    while (p->tok.kind != TOK_END && p->tok.line == line)
        parse_next(p);
}

/* .section .debug_x { ... }: what a debugger reads. */
static void skip_section(struct parser *p)
{
    while (p->tok.kind != TOK_END && !tok_punct(&p->tok, '{'))
        parse_next(p);
    unsigned depth = 0;
    do {
        if (tok_punct(&p->tok, '{'))
            depth++;
        if (tok_punct(&p->tok, '}'))
            depth--;
        if (p->tok.kind == TOK_END)
            parse_fail(p, "a section without an end");
        parse_next(p);
    } while (depth);
}

#define NEWEST_PTX 93u

static void parse_header(struct parser *p)
{
    parse_next(p);
    if (!parse_accept_dot(p, "version"))
        parse_fail(p, "no .version at the beginning: not PTX");
    double v = 0;
    if (p->tok.kind != TOK_F64)
        parse_fail(p, "malformed .version");
    memcpy(&v, &p->tok.ival, sizeof(v));
    if (!(v >= 1.0 && v < 100.0))
        parse_fail(p, "malformed .version");
    p->m->ptx_version = (uint32_t)(v * 10 + 0.5);
    if (p->m->ptx_version > NEWEST_PTX) {
        p->log->unsupported_version = true;
        parse_fail(p, "PTX %u.%u is newer than %u.%u", p->m->ptx_version / 10,
                   p->m->ptx_version % 10, NEWEST_PTX / 10, NEWEST_PTX % 10);
    }
    parse_next(p);
    if (!parse_accept_dot(p, "target"))
        parse_fail(p, "no .target after .version");
    size_t len;
    do {
        const char *t = parse_name(p, &len);
        if (len > 3 && !memcmp(t, "sm_", 3)) {
            uint32_t sm = 0;
            for (size_t i = 3; i < len && t[i] >= '0' && t[i] <= '9' && sm < 1000; i++)
                sm = sm * 10 + (uint32_t)(t[i] - '0');
            p->m->target = sm;
        }
    } while (parse_accept(p, ','));
    if (parse_accept_dot(p, "address_size") && parse_uint(p, 64, "address size") != 64)
        parse_fail(p, "only 64 bit addresses are supported");
}

static void parse_module(struct parser *p)
{
    parse_header(p);
    while (p->tok.kind != TOK_END) {
        bool ext = false;
        while (p->tok.kind == TOK_DOT) {
            if (parse_accept_dot(p, "extern"))
                ext = true;
            else if (!parse_accept_dot(p, "visible") && !parse_accept_dot(p, "weak") &&
                     !parse_accept_dot(p, "common"))
                break;
        }
        if (parse_accept_dot(p, "entry"))
            parse_func(p, true, ext);
        else if (parse_accept_dot(p, "func"))
            parse_func(p, false, ext);
        else if (parse_accept_dot(p, "global"))
            parse_variables(p, SPACE_GLOBAL, ext);
        else if (parse_accept_dot(p, "const"))
            parse_variables(p, SPACE_CONST, ext);
        else if (parse_accept_dot(p, "shared"))
            parse_variables(p, SPACE_SHARED, ext);
        else if (tok_is(&p->tok, TOK_DOT, "file") || tok_is(&p->tok, TOK_DOT, "loc"))
            skip_line(p);
        else if (tok_is(&p->tok, TOK_DOT, "section"))
            skip_section(p);
        else if (parse_accept_dot(p, "pragma") || parse_accept_dot(p, "alias")) {
            while (!tok_punct(&p->tok, ';') && p->tok.kind != TOK_END)
                parse_next(p);
            parse_expect(p, ';');
        } else {
            parse_fail(p, "unexpected '%.*s'", (int)(p->tok.len < 40 ? p->tok.len : 40),
                       p->tok.text);
        }
    }
    parse_shared_layout(p);
}

/* What is called is there, and as it is called. */
static void check_calls(struct parser *p)
{
    for (uint32_t i = 0; i < p->m->nfuncs; i++) {
        struct sim_func *f = p->m->funcs[i];
        for (uint32_t k = 0; f->defined && k < f->ncode; k++) {
            if (!f->code[k].call || f->code[k].target == SIM_INDIRECT)
                continue;
            struct sim_func *to = p->m->funcs[f->code[k].target];
            struct call_args *a = f->code[k].call;
            if (!to->defined && !to->builtin)
                parse_fail_at(p, f->code[k].line, "%s calls %s, which the module has not", f->name,
                              to->name);
            if (!to->builtin && (a->nin != to->nparams || a->nout != to->nrets))
                parse_fail_at(p, f->code[k].line, "a call of %s with other arguments than its own",
                              to->name);
        }
    }
}

static int parse(const char *text, size_t len, bool whole, struct sim_module **ret_module,
                 struct sim_log *log)
{
    *log = (struct sim_log){0};
    if (len > SIM_MAX_TEXT) {
        snprintf(log->text, sizeof(log->text), "more than %u bytes of PTX", SIM_MAX_TEXT);
        return -1;
    }
    struct sim_module *m = calloc(1, sizeof(*m));
    struct parser *p = calloc(1, sizeof(*p));
    uint32_t *hash = malloc(sizeof(uint32_t) * (SIM_MAX_CONSTS * 2));
    int rc = -1;
    if (!m || !p || !hash) {
        log->no_memory = true;
        snprintf(log->text, sizeof(log->text), "no memory");
    } else {
        p->m = m;
        p->log = log;
        p->const_hash = hash;
        p->nscopes = 1; /* scope 0: the module */
        lex_init(&p->lx, text, len);
        if (!setjmp(p->fail)) {
            p->scopes = parse_grow(p, NULL, 0, &p->scopes_cap, sizeof(struct scope), 1u << 20, "");
            parse_module(p);
            if (whole)
                check_calls(p);
            rc = 0;
        }
    }
    free(hash);
    free(p);
    if (rc)
        sim_module_free(m);
    else
        *ret_module = m;
    return rc;
}

int sim_parse(const char *text, size_t len, struct sim_module **ret_module, struct sim_log *log)
{
    return parse(text, len, true, ret_module, log);
}

int sim_parse_part(const char *text, size_t len, struct sim_module **ret_module,
                   struct sim_log *log)
{
    return parse(text, len, false, ret_module, log);
}

/* ---- after the parse ---- */

void sim_module_link(struct sim_module *m)
{
    for (uint32_t i = 0; i < m->nrelocs; i++) {
        const struct sim_reloc *r = &m->relocs[i];
        uint64_t address = m->vars[r->var].address + r->addend;
        if (!r->func) {
            memcpy(m->vars[r->index].init + r->at, &address, r->size);
            continue;
        }
        for (unsigned lane = 0; lane < SIM_WARP; lane++)
            r->func->consts[(size_t)r->index * SIM_WARP + lane] = address;
    }
}

struct sim_func *sim_module_func(struct sim_module *m, const char *name)
{
    for (uint32_t i = 0; i < m->nfuncs; i++)
        if (m->funcs[i]->entry && m->funcs[i]->defined && !strcmp(m->funcs[i]->name, name))
            return m->funcs[i];
    return NULL;
}

struct sim_var *sim_module_var(struct sim_module *m, const char *name)
{
    for (uint32_t i = 0; i < m->nvars; i++)
        if (!m->vars[i].ext && !strcmp(m->vars[i].name, name))
            return &m->vars[i];
    return NULL;
}
