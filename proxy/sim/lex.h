/* SPDX-License-Identifier: Apache-2.0 */
/* PTX text to tokens. The text is hostile: nothing outside [text, end) is read. */
#ifndef SIM_LEX_H
#define SIM_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum token_kind {
    TOK_END,
    TOK_NAME,   /* name, %reg, $label */
    TOK_DOT,    /* .name, .v4, .shared::cta; text without the dot */
    TOK_INT,    /* ival */
    TOK_F32,    /* ival: the bits */
    TOK_F64,    /* ival: the bits */
    TOK_STRING, /* text without the quotes */
    TOK_PUNCT,  /* punct */
    TOK_BAD,
};

struct token {
    enum token_kind kind;
    char punct;
    bool glued; /* no white space before it */
    unsigned line;
    const char *text;
    size_t len;
    uint64_t ival;
};

struct lexer {
    const char *p, *end;
    unsigned line;
};

void lex_init(struct lexer *lx, const char *text, size_t len);
/* The next token; TOK_END for ever at the end, TOK_BAD for a character or number that is none. */
void lex_next(struct lexer *lx, struct token *ret_tok);

static inline bool tok_is(const struct token *t, enum token_kind kind, const char *s)
{
    size_t i = 0;
    for (; i < t->len && s[i]; i++)
        if (t->text[i] != s[i])
            return false;
    return t->kind == kind && i == t->len && !s[i];
}

static inline bool tok_punct(const struct token *t, char c)
{
    return t->kind == TOK_PUNCT && t->punct == c;
}

#endif
