/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The call description as idmgen holds it. The input is our own file, checked
 * for sense but not hostile: what is wrong ends the program with its line.
 */
#ifndef GI_IDMGEN_H
#define GI_IDMGEN_H

#include <stdbool.h>
#include <stdio.h>

#define MAX_PARAMS 20
#define MAX_CALLS  1200

enum kind { K_CALL, K_MESSAGE, K_LOCAL, K_REFUSED, K_PLANNED, K_DRIVER };
enum call_class { C_NONE, C_SYNC, C_ASYNC, C_WAIT };
enum direction { D_IN, D_OUT, D_NEW, D_DROP };
enum type {
    T_U8,
    T_U16,
    T_U32,
    T_I32,
    T_U64,
    T_SIZE,
    T_F32,
    T_ADDR,
    T_MEM,
    T_HANDLE,
    T_STREAM,
    T_CSTR,
    T_BYTES
};

struct param {
    enum direction dir;
    enum type type;
    bool nullable;
    char handle[24]; /* T_HANDLE: context, module ... */
    char count[48];  /* T_MEM: the parameter that counts ... */
    unsigned unit;   /* ... units of so many bytes */
    unsigned max;    /* T_CSTR */
    char decl[80];   /* C declaration; empty: on the wire only */
    char name[48];
};

struct call {
    enum kind kind;
    enum call_class class;
    char symbol[72];
    char base[72];
    bool per_thread; /* for a thread's own default stream */
    unsigned form;   /* of its name: 2 for _v2, else 1 */
    unsigned number;
    unsigned since;
    bool client; /* the stub is written by hand */
    bool worker; /* the execution is written by hand */
    bool noctx;
    bool point;     /* reports late errors */
    bool captured;  /* a capture takes it, or forbids it */
    bool legacy;    /* works in the legacy stream, and captures mind */
    char error[56]; /* K_REFUSED */
    char text[200]; /* note, or why it is refused */
    const char *section;
    struct param params[MAX_PARAMS];
    unsigned n_params;
};

struct model {
    struct call calls[MAX_CALLS];
    unsigned n_calls;
    char sections[40][80];
    unsigned n_sections;
};

void parse(const char *path, struct model *m);

void emit_wire_header(FILE *f, const struct model *m);
void emit_wire_source(FILE *f, const struct model *m);
void emit_client_header(FILE *f, const struct model *m);
void emit_client_source(FILE *f, const struct model *m);
void emit_client_table(FILE *f, const struct model *m);
void emit_symbols(FILE *f, const struct model *m);
void emit_rest(FILE *f, const struct model *m);
void emit_worker_header(FILE *f, const struct model *m);
void emit_worker_source(FILE *f, const struct model *m);
void emit_docs(FILE *f, const struct model *m);

/* All that is exported, by base name, then version; how many. */
size_t sort_symbols(const struct model *m, const struct call **ret_sorted);

/* Has a message of its own. */
bool on_wire(const struct call *c);
bool is_tail(const struct param *p);
/* Is in the request, in the reply. */
bool in_request(const struct param *p);
bool in_reply(const struct param *p);

#define FOR_PARAMS(p, c)                                                                           \
    for (const struct param *p = (c)->params; p < (c)->params + (c)->n_params; p++)
#define FOR_CALLS(c, m) for (const struct call *c = (m)->calls; c < (m)->calls + (m)->n_calls; c++)

#endif
