/* SPDX-License-Identifier: Apache-2.0 */
/* The parser's insides: parse.c (directives), decl.c (variables), body.c (instructions). */
#ifndef SIM_PARSE_H
#define SIM_PARSE_H

#include <setjmp.h>

#include "ir.h"
#include "lex.h"

enum symbol_kind { SYM_REG, SYM_RANGE, SYM_VAR, SYM_FUNC, SYM_LABEL, SYM_TARGETS, SYM_PROTOTYPE };

struct symbol {
    struct symbol *next; /* in its bucket */
    const char *name;
    size_t len;
    uint32_t hash;
    uint32_t scope;
    uint8_t kind, type, space, vec;
    uint32_t index;  /* REG: slot + 1 (0: none yet); VAR: of module; FUNC; LABEL: instruction */
    uint32_t count;  /* RANGE */
    uint32_t *slots; /* RANGE: slot + 1 of each, grown with use */
    uint32_t nslots;
    uint64_t offset, size; /* VAR in shared, local, param */
    bool in_frame;         /* a .param that lives in the frame's local memory */
    uint32_t *targets;     /* TARGETS: count of them, resolved at the function's end */
};

#define PARSE_BUCKETS 4096u

struct fixup { /* a label to be resolved at the function's end */
    const char *label;
    size_t len;
    uint32_t insn, line;
    uint32_t *target; /* NULL: the instruction's own */
    bool table;       /* the label names a .branchtargets */
};

/* A variable in shared memory, and a constant of a function that is its address. */
struct shared_var {
    uint64_t size;
    uint32_t align, offset;
};
struct shared_use {
    struct sim_func *func;
    uint32_t index, var;
    uint64_t addend;
};

struct scope {
    uint32_t parent, first; /* of its names on the stack */
};

struct parser {
    struct lexer lx;
    struct token tok;
    struct sim_module *m;
    struct sim_log *log;
    jmp_buf fail;

    struct symbol *buckets[PARSE_BUCKETS];
    struct symbol **stack; /* all live symbols, innermost last */
    uint32_t nstack, stack_cap;
    uint32_t scope, nscopes;
    struct scope *scopes;
    uint32_t scopes_cap, func_scope;

    struct sim_func *f; /* the one whose body is read */
    uint32_t code_cap;
    struct insn *code;
    uint32_t ncode;
    uint64_t *const_values;
    uint32_t nconsts, consts_cap;
    uint32_t *const_hash; /* index + 1 */
    struct fixup *fixups;
    uint32_t nfixups, fixups_cap;
    uint32_t nlabels;
    uint32_t funcs_cap;
    struct shared_var *shared;
    uint32_t nshared, shared_cap;
    struct shared_use *shared_uses;
    uint32_t nshared_uses, shared_uses_cap;
    unsigned depth;
};

/* Ends the parse with a message; the line is the token's. Does not return. */
void parse_fail(struct parser *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void parse_fail_at(struct parser *p, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));

void parse_next(struct parser *p);
bool parse_accept(struct parser *p, char punct);
void parse_expect(struct parser *p, char punct);
bool parse_accept_dot(struct parser *p, const char *name);
const char *parse_name(struct parser *p, size_t *ret_len);
uint64_t parse_uint(struct parser *p, uint64_t max, const char *what);
/* Arena memory or the end of the parse. */
void *parse_alloc(struct parser *p, size_t bytes);
/* ARRAY (n of cap elements) with room for one more. */
void *parse_grow(struct parser *p, void *array, uint32_t n, uint32_t *cap, size_t element,
                 uint32_t limit, const char *what);
const char *parse_dup(struct parser *p, const char *s, size_t len);

struct symbol *parse_find(struct parser *p, const char *name, size_t len);
struct symbol *parse_define(struct parser *p, const char *name, size_t len, uint8_t kind);
void parse_scope_open(struct parser *p);
void parse_scope_close(struct parser *p);

bool type_by_name(const struct token *t, uint8_t *ret_type);

/* decl.c: after the space's name: [.align n] [.v2] .type name [dims] [= init], ... */
void parse_variables(struct parser *p, enum sim_space space, bool ext);
void parse_registers(struct parser *p);
/* (.param .b32 x, .reg .u32 y, ...) of an entry, or a function's parameters or results. */
void parse_params(struct parser *p, struct sim_func *f, bool rets);

/* shared.c: where shared variables are is known when all of the module has been read. */
uint32_t parse_shared(struct parser *p, uint64_t size, uint32_t align);
/* The address of VAR + ADDEND: a constant of the function that is read. */
uint32_t parse_shared_address(struct parser *p, uint32_t var, uint64_t addend);
void parse_shared_layout(struct parser *p);

/* body.c: the function's body after '{', up to its '}'. */
void parse_body(struct parser *p);
/* operand.c: the slot of register NAME, or -1. */
int64_t parse_register(struct parser *p, const char *name, size_t len, uint8_t *ret_type);
uint32_t parse_new_register(struct parser *p);
uint32_t parse_const(struct parser *p, uint64_t value);
uint32_t parse_const_unique(struct parser *p);
uint32_t parse_function(struct parser *p, const char *name, size_t len);
void parse_reloc(struct parser *p, struct sim_reloc r);

#endif
