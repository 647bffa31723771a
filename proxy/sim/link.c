/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A linker for PTX: statements of all texts, sorted so that what is used is declared before.
 * Declarations of functions come first, then variables, those with addresses of others last, then
 * bodies. Of a variable that one text
 * defines, others' declarations go; names that are their text's own and another's as well get the
 * number of their text.
 */
#include "link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lex.h"

#define WHY 256

/* In the order of the result; the last ones are a debugger's. */
enum part { PART_DECLARATION, PART_VARIABLE, PART_ADDRESSES, PART_BODY, PART_OTHER };

/* A statement at the outermost level. */
struct statement {
    const char *text;
    size_t len;
    const char *name; /* in the text; NULL: of no name */
    size_t name_len;
    unsigned input;
    enum part part;
    bool ext, shared_by_all; /* .extern; .visible, .weak, .common */
    bool weak;
    bool dropped, renamed;
};

struct linker {
    struct statement *all;
    size_t n, room;
    struct statement **named; /* by name; of them the renamed ones come first after settle_all */
    size_t n_renamed;
    unsigned version, target; /* the highest: 10 * major + minor, sm */
    char *out;
    size_t len, cap;
    bool no_memory;
    char *why;
};

static void put(struct linker *l, const char *text, size_t len)
{
    if (l->no_memory)
        return;
    if (!l->out || l->cap - l->len <= len) {
        size_t cap = 2 * (l->len + len) + 4096;
        char *more = realloc(l->out, cap);
        if (!more) {
            l->no_memory = true;
            return;
        }
        l->out = more;
        l->cap = cap;
    }
    memcpy(l->out + l->len, text, len);
    l->len += len;
    l->out[l->len] = '\0';
}

static void keep(struct linker *l, const struct statement *s)
{
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        struct statement *more = realloc(l->all, room * sizeof(*more));
        if (!more) {
            l->no_memory = true;
            return;
        }
        l->all = more;
        l->room = room;
    }
    l->all[l->n++] = *s;
}

/* .version, .target and .address_size, of which the result has its own. */
static void take_header(struct linker *l, struct lexer *lx, struct token *t)
{
    while (t->kind == TOK_DOT && (tok_is(t, TOK_DOT, "version") || tok_is(t, TOK_DOT, "target") ||
                                  tok_is(t, TOK_DOT, "address_size"))) {
        unsigned line = t->line;
        for (lex_next(lx, t); t->kind != TOK_END && t->line == line; lex_next(lx, t)) {
            double v;
            unsigned sm = 0;
            if (t->kind == TOK_F64) {
                memcpy(&v, &t->ival, sizeof(v));
                unsigned version = (unsigned)(v * 10 + 0.5);
                l->version = version > l->version ? version : l->version;
            }
            if (t->kind == TOK_NAME && t->len > 3 && memcmp(t->text, "sm_", 3) == 0)
                sm = (unsigned)strtoul(t->text + 3, NULL, 10);
            l->target = sm > l->target ? sm : l->target;
        }
    }
}

/* The first word outside of parentheses is its name. */
static void note_token(struct statement *s, const struct token *t, unsigned depth, bool *function)
{
    if (t->kind == TOK_DOT) {
        s->ext = s->ext || tok_is(t, TOK_DOT, "extern");
        s->weak = s->weak || tok_is(t, TOK_DOT, "weak") || tok_is(t, TOK_DOT, "common");
        s->shared_by_all = s->shared_by_all || s->weak || tok_is(t, TOK_DOT, "visible");
        *function = *function || tok_is(t, TOK_DOT, "func") || tok_is(t, TOK_DOT, "entry");
    }
    if (t->kind == TOK_NAME && depth == 0 && !s->name) {
        s->name = t->text;
        s->name_len = t->len;
    }
}

/* Up to the ; or the } at its end. False: the text ends within. */
static bool take_statement(struct linker *l, unsigned input, struct lexer *lx, struct token *t)
{
    const char *start = t->kind == TOK_DOT ? t->text - 1 : t->text;
    struct statement s = {.text = start, .input = input};
    bool function = false, body = false, value = false, addresses = false;
    unsigned braces = 0, parentheses = 0;
    const unsigned line = t->line;
    const bool is_line = tok_is(t, TOK_DOT, "file") || tok_is(t, TOK_DOT, "loc");
    const bool section = tok_is(t, TOK_DOT, "section");
    const bool other =
        is_line || section || tok_is(t, TOK_DOT, "pragma") || tok_is(t, TOK_DOT, "alias");
    for (;; lex_next(lx, t)) {
        if (t->kind == TOK_END || t->kind == TOK_BAD)
            return is_line;
        if (is_line && t->line != line) {
            s.len = (size_t)((t->kind == TOK_DOT ? t->text - 1 : t->text) - start);
            s.part = PART_OTHER;
            keep(l, &s);
            return true;
        }
        note_token(&s, t, parentheses + braces, &function);
        addresses = addresses || (value && t->kind == TOK_NAME);
        value = value || tok_punct(t, '=');
        parentheses += tok_punct(t, '(');
        parentheses -= tok_punct(t, ')');
        if (tok_punct(t, '{')) {
            braces++;
            body = body || function;
        }
        bool closed = tok_punct(t, '}') && braces && --braces == 0 && (body || section);
        if (closed || (tok_punct(t, ';') && braces == 0))
            break;
    }
    s.len = (size_t)(lx->p - start);
    s.part = other       ? PART_OTHER
             : body      ? PART_BODY
             : function  ? PART_DECLARATION
             : addresses ? PART_ADDRESSES
                         : PART_VARIABLE;
    if (other)
        s.name = NULL;
    keep(l, &s);
    lex_next(lx, t);
    return true;
}

static bool same_name(const struct statement *a, const struct statement *b)
{
    return a->name && b->name && a->name_len == b->name_len &&
           memcmp(a->name, b->name, a->name_len) == 0;
}

static bool is_variable(const struct statement *s)
{
    return s->part == PART_VARIABLE || s->part == PART_ADDRESSES;
}

static bool defines(const struct statement *s)
{
    return s->name && (s->part == PART_BODY || (is_variable(s) && !s->ext));
}

static size_t spread(const struct statement *s)
{
    size_t h = 5381;
    for (size_t i = 0; i < s->name_len; i++)
        h = h * 33 + (unsigned char)s->name[i];
    return h;
}

static int compare_names(const struct statement *x, const struct statement *y)
{
    size_t hx = spread(x), hy = spread(y);
    if (hx != hy)
        return hx < hy ? -1 : 1;
    if (x->name_len != y->name_len)
        return x->name_len < y->name_len ? -1 : 1;
    return memcmp(x->name, y->name, x->name_len);
}

/* By name, so that those who share one are neighbours; then in the order they came. */
static int by_name(const void *a, const void *b)
{
    const struct statement *x = *(const struct statement *const *)a;
    const struct statement *y = *(const struct statement *const *)b;
    int c = compare_names(x, y);
    return c ? c : x < y ? -1 : x > y;
}

/* GROUP has one name. Its own definitions are of no account to other texts. */
static bool settle(struct linker *l, struct statement **group, size_t n)
{
    struct statement *best = NULL;
    for (size_t i = 0; i < n; i++) {
        struct statement *s = group[i];
        if (!defines(s) || !s->shared_by_all)
            continue;
        if (best && !best->weak && !s->weak) {
            snprintf(l->why, WHY, "'%.*s' is defined twice",
                     (int)(s->name_len < 200 ? s->name_len : 200), s->name);
            return false;
        }
        if (best && (s->weak || !best->weak)) {
            s->dropped = true;
            continue;
        }
        if (best)
            best->dropped = true;
        best = s;
    }
    bool declared = best != NULL;
    for (size_t i = 0; i < n; i++) {
        struct statement *s = group[i];
        if (is_variable(s) && s->ext) {
            s->dropped = declared;
            declared = true;
        }
        s->renamed = defines(s) && !s->shared_by_all &&
                     (group[0]->input != s->input || group[n - 1]->input != s->input);
    }
    return true;
}

static bool settle_all(struct linker *l)
{
    size_t n = 0;
    bool good = true;
    l->named = calloc(l->n + 1, sizeof(struct statement *));
    if (!l->named) {
        l->no_memory = true;
        return false;
    }
    for (size_t i = 0; i < l->n; i++) {
        if (l->all[i].name)
            l->named[n++] = &l->all[i];
    }
    qsort(l->named, n, sizeof(struct statement *), by_name);
    for (size_t i = 0, end; i < n && good; i = end) {
        for (end = i + 1; end < n && same_name(l->named[i], l->named[end]);)
            end++;
        good = settle(l, l->named + i, end - i);
    }
    for (size_t i = 0; i < n; i++) {
        if (l->named[i]->renamed)
            l->named[l->n_renamed++] = l->named[i];
    }
    return good;
}

/* Does the name, in text INPUT, mean something that is renamed there? */
static bool is_renamed(const struct linker *l, const struct token *t, unsigned input)
{
    const struct statement word = {.name = t->text, .name_len = t->len};
    size_t low = 0, high = l->n_renamed;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_names(l->named[middle], &word) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < l->n_renamed && same_name(l->named[low], &word); low++) {
        if (l->named[low]->input == input)
            return true;
    }
    return false;
}

static void put_statement(struct linker *l, const struct statement *s)
{
    struct lexer lx;
    struct token t;
    const char *from = s->text;
    lex_init(&lx, s->text, s->len);
    for (lex_next(&lx, &t); l->n_renamed && t.kind != TOK_END && t.kind != TOK_BAD;
         lex_next(&lx, &t)) {
        char suffix[24];
        if (t.kind != TOK_NAME || !is_renamed(l, &t, s->input))
            continue;
        put(l, from, (size_t)(t.text + t.len - from));
        put(l, suffix, (size_t)snprintf(suffix, sizeof(suffix), "$%u", s->input));
        from = t.text + t.len;
    }
    put(l, from, (size_t)(s->text + s->len - from));
    put(l, "\n", 1);
}

static void put_all(struct linker *l)
{
    char header[96];
    put(l, header,
        (size_t)snprintf(header, sizeof(header),
                         ".version %u.%u\n.target sm_%u\n.address_size 64\n", l->version / 10,
                         l->version % 10, l->target));
    for (enum part part = PART_DECLARATION; part < PART_OTHER; part++) {
        for (size_t i = 0; i < l->n; i++) {
            if (l->all[i].part == part && !l->all[i].dropped)
                put_statement(l, &l->all[i]);
        }
    }
}

char *link_texts(const struct link_input *inputs, unsigned n, size_t *ret_len, char *ret_why)
{
    struct linker l = {.why = ret_why};
    bool good = true;
    ret_why[0] = '\0';
    for (unsigned i = 0; i < n && good; i++) {
        struct lexer lx;
        struct token t;
        lex_init(&lx, inputs[i].text, inputs[i].len);
        lex_next(&lx, &t);
        take_header(&l, &lx, &t);
        while (t.kind != TOK_END && good && !l.no_memory)
            good = take_statement(&l, i, &lx, &t);
    }
    if (!good)
        snprintf(ret_why, WHY, "a statement without an end");
    good = good && settle_all(&l);
    if (good)
        put_all(&l);
    free(l.named);
    free(l.all);
    if (good && !l.no_memory) {
        *ret_len = l.len;
        return l.out;
    }
    free(l.out);
    return NULL;
}
