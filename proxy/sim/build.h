/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an instruction's text to the function that executes it. body.c reads a
 * statement into a struct build; the opcode's entry (opcodes.c) chooses fn.
 */
#ifndef SIM_BUILD_H
#define SIM_BUILD_H

#include "parse.h"

/* How the text's arguments become an insn's operands. */
enum form {
    FORM_PLAIN,   /* destination(s), sources */
    FORM_SOURCES, /* sources only */
    FORM_LOAD,    /* destination(s), [address], sources */
    FORM_STORE,   /* [address], sources */
    FORM_BRANCH,  /* label */
    FORM_TABLE,   /* register, label of .branchtargets */
    FORM_CALL,
    FORM_COPY,    /* [address], [address], sources */
    FORM_BARRIER, /* [destination,] [address], sources */
    FORM_POLICY,  /* destination, whatever */
    FORM_HINT,    /* nothing to do, whatever its arguments say */
    FORM_BEYOND,  /* PTX, but nothing the simulator does: a fault when it is executed */
};

#define BUILD_DST 8u  /* a tile of wmma */
#define BUILD_SRC 24u /* three of them */

struct build {
    struct parser *p;
    const struct opcode *op;
    struct insn *in;
    uint64_t modifiers[(M_COUNT + 63) / 64]; /* bits of enum sim_modifier */
    uint8_t types[4];
    uint32_t ntypes;
    uint16_t shape[3]; /* .m16n8k16; .m8n8 has no k */
    bool col[2];       /* of the .row and .col it says, which are */
    uint32_t nlayouts;
    uint32_t line;
    unsigned addresses; /* arguments in brackets */
    bool beyond;        /* as if its form were FORM_BEYOND */
    /* Where in->dst and in->src are until the instruction is complete. */
    struct operand dst[BUILD_DST], src[BUILD_SRC];
};

/* One argument as it is written. */
struct arg {
    bool memory, vector;
    uint8_t n;
    struct operand op[8];
    int64_t offset;
    const char *name; /* a label or function */
    size_t len;
};

struct opcode {
    const char *name;
    /* Chooses in->fn by types and modifiers; NULL: not supported. */
    op_fn (*select)(struct build *b);
    const op_fn *by_type; /* if set: in->fn = by_type[in->type] */
    enum form form;
    uint8_t ndst; /* 0 or 1: whether the first argument is a destination */
    uint8_t nsrc; /* of by_type's */
    bool formats; /* knows types above T_F64 */
    bool parts;   /* operands may be bytes and halves of registers */
};

const struct opcode *opcode_find(const char *name, size_t len);

/* operand.c: one operand; a constant has TYPE. A name that is nothing else may be a label or a
 * function: RET_ARG's name. */
struct operand parse_operand(struct build *b, uint8_t type, struct arg *ret_arg);
/* All of an argument: a vector, an address, a pair. */
void parse_arg(struct build *b, struct arg *a, uint8_t type);

static inline bool has(const struct build *b, enum sim_modifier m)
{
    return b->modifiers[m / 64] >> (m % 64) & 1;
}

#endif
