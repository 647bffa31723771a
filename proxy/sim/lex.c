/* SPDX-License-Identifier: Apache-2.0 */
#include "lex.h"

#include <stdlib.h>
#include <string.h>

void lex_init(struct lexer *lx, const char *text, size_t len)
{
    *lx = (struct lexer){.p = text, .end = text + len, .line = 1};
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}

static bool is_name(char c)
{
    return (is_name_start(c) && c != '%') || is_digit(c);
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* White space and comments. Returns whether there was any. */
static bool skip_blank(struct lexer *lx)
{
    const char *start = lx->p;
    while (lx->p < lx->end) {
        char c = *lx->p;
        if (c == '\n') {
            lx->line++;
            lx->p++;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
            lx->p++;
        } else if (c == '/' && lx->end - lx->p > 1 && lx->p[1] == '/') {
            while (lx->p < lx->end && *lx->p != '\n')
                lx->p++;
        } else if (c == '/' && lx->end - lx->p > 1 && lx->p[1] == '*') {
            lx->p += 2;
            while (lx->p < lx->end && !(*lx->p == '*' && lx->end - lx->p > 1 && lx->p[1] == '/')) {
                if (*lx->p == '\n')
                    lx->line++;
                lx->p++;
            }
            lx->p += lx->p < lx->end ? 2 : 0;
        } else {
            break;
        }
    }
    return lx->p != start;
}

/* 0fXXXXXXXX and 0dXXXXXXXXXXXXXXXX: the bits themselves. */
static bool lex_float_bits(struct lexer *lx, struct token *t)
{
    size_t digits = lx->p[1] == 'f' || lx->p[1] == 'F' ? 8 : 16;
    uint64_t v = 0;
    if ((size_t)(lx->end - lx->p) < 2 + digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        int d = hex_digit(lx->p[2 + i]);
        if (d < 0)
            return false;
        v = v << 4 | (unsigned)d;
    }
    lx->p += 2 + digits;
    t->kind = digits == 8 ? TOK_F32 : TOK_F64;
    t->ival = v;
    return true;
}

static bool lex_decimal_float(struct lexer *lx, struct token *t)
{
    char buf[64];
    size_t n = 0;
    const char *p = lx->p;
    while (p < lx->end && n < sizeof(buf) - 1 &&
           (is_digit(*p) || *p == '.' || *p == 'e' || *p == 'E' ||
            ((*p == '+' || *p == '-') && n > 0 && (buf[n - 1] == 'e' || buf[n - 1] == 'E'))))
        buf[n++] = *p++;
    buf[n] = 0;
    char *stop = NULL;
    double d = strtod(buf, &stop);
    if (stop != buf + n)
        return false;
    memcpy(&t->ival, &d, sizeof(d));
    t->kind = TOK_F64;
    lx->p = p;
    return true;
}

static bool lex_number(struct lexer *lx, struct token *t)
{
    const char *p = lx->p;
    unsigned base = 10;
    if (*p == '0' && lx->end - p > 1) {
        char c = p[1];
        if (c == 'f' || c == 'F' || c == 'd' || c == 'D')
            return lex_float_bits(lx, t);
        if (c == 'x' || c == 'X')
            base = 16;
        else if (c == 'b' || c == 'B')
            base = 2;
        else if (is_digit(c))
            base = 8;
    }
    if (base == 10) {
        const char *q = p;
        while (q < lx->end && is_digit(*q))
            q++;
        if (q < lx->end &&
            (*q == 'e' || *q == 'E' || (*q == '.' && lx->end - q > 1 && is_digit(q[1]))))
            return lex_decimal_float(lx, t);
        if (q < lx->end && *q == '.' && !(lx->end - q > 1 && is_name_start(q[1])))
            return lex_decimal_float(lx, t);
    }
    if (base == 16 || base == 2)
        p += 2;
    const char *first = p;
    uint64_t v = 0;
    for (; p < lx->end; p++) {
        int d = hex_digit(*p);
        if (d < 0 || (unsigned)d >= base)
            break;
        if (v > (UINT64_MAX - (unsigned)d) / base)
            return false;
        v = v * base + (unsigned)d;
    }
    if (p == first)
        return false;
    if (p < lx->end && (*p == 'U' || *p == 'u'))
        p++;
    if (p < lx->end && is_name(*p))
        return false;
    lx->p = p;
    t->kind = TOK_INT;
    t->ival = v;
    return true;
}

static void lex_dot(struct lexer *lx, struct token *t)
{
    lx->p++;
    t->text = lx->p;
    while (lx->p < lx->end) {
        if (is_name(*lx->p))
            lx->p++;
        else if (*lx->p == ':' && lx->end - lx->p > 2 && lx->p[1] == ':' && is_name(lx->p[2]))
            lx->p += 2;
        else
            break;
    }
    t->len = (size_t)(lx->p - t->text);
    t->kind = t->len ? TOK_DOT : TOK_BAD;
}

static void lex_string(struct lexer *lx, struct token *t)
{
    t->text = ++lx->p;
    while (lx->p < lx->end && *lx->p != '"' && *lx->p != '\n')
        lx->p++;
    t->len = (size_t)(lx->p - t->text);
    t->kind = lx->p < lx->end && *lx->p == '"' ? TOK_STRING : TOK_BAD;
    if (t->kind == TOK_STRING)
        lx->p++;
}

void lex_next(struct lexer *lx, struct token *ret_tok)
{
    struct token *t = ret_tok;
    *t = (struct token){.glued = !skip_blank(lx)};
    t->line = lx->line;
    t->text = lx->p;
    if (lx->p >= lx->end || !*lx->p) {
        lx->p = lx->end;
        t->kind = TOK_END;
        return;
    }
    char c = *lx->p;
    if (is_name_start(c)) {
        do {
            lx->p++;
        } while (lx->p < lx->end && is_name(*lx->p));
        t->kind = TOK_NAME;
        t->len = (size_t)(lx->p - t->text);
    } else if (is_digit(c)) {
        t->kind = TOK_BAD;
        if (!lex_number(lx, t))
            lx->p++;
        t->len = (size_t)(lx->p - t->text);
    } else if (c == '.') {
        lex_dot(lx, t);
    } else if (c == '"') {
        lex_string(lx, t);
    } else {
        t->kind = strchr(",;:{}[]()<>+-!|@=*/~", c) ? TOK_PUNCT : TOK_BAD;
        t->punct = c;
        t->len = 1;
        lx->p++;
    }
}
