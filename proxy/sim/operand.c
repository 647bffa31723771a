/* SPDX-License-Identifier: Apache-2.0 */
/* What an instruction's text names: registers, constants, variables, addresses. */
#include <string.h>

#include "build.h"

/* ---- registers and constants ---- */

uint32_t parse_new_register(struct parser *p)
{
    if (p->f->nregs >= SIM_MAX_REGS)
        parse_fail(p, "%s uses more than %u registers", p->f->name ? p->f->name : "the function",
                   SIM_MAX_REGS);
    return p->f->nregs++;
}

static uint32_t range_slot(struct parser *p, struct symbol *s, uint32_t n)
{
    if (n >= s->nslots) {
        uint32_t room = n + 1 > 2 * s->nslots ? n + 1 : 2 * s->nslots;
        uint32_t *slots = parse_alloc(p, room * sizeof(*slots));
        if (s->nslots)
            memcpy(slots, s->slots, s->nslots * sizeof(*slots));
        s->slots = slots;
        s->nslots = room;
    }
    if (!s->slots[n])
        s->slots[n] = parse_new_register(p) + 1;
    return s->slots[n] - 1;
}

int64_t parse_register(struct parser *p, const char *name, size_t len, uint8_t *ret_type)
{
    struct symbol *s = parse_find(p, name, len);
    if (s && s->kind == SYM_REG) {
        if (s->vec > 1)
            parse_fail(p, "%.*s: vector registers are not supported", (int)len, name);
        if (!s->index)
            s->index = parse_new_register(p) + 1;
        *ret_type = s->type;
        return s->index - 1;
    }
    if (s)
        return -1;
    /* %r12 of .reg .b32 %r<20> */
    size_t digits = 0;
    while (digits < len && digits < 9 && name[len - 1 - digits] >= '0' &&
           name[len - 1 - digits] <= '9')
        digits++;
    for (size_t d = 1; d <= digits; d++) {
        s = parse_find(p, name, len - d);
        if (!s || s->kind != SYM_RANGE)
            continue;
        uint32_t n = 0;
        for (size_t i = len - d; i < len; i++)
            n = n * 10 + (uint32_t)(name[i] - '0');
        if (n >= s->count || s->vec > 1)
            continue;
        if (n >= SIM_MAX_REGS * 16)
            parse_fail(p, "register number %u is too high", n);
        *ret_type = s->type;
        return range_slot(p, s, n);
    }
    return -1;
}

uint32_t parse_const_unique(struct parser *p)
{
    p->const_values = parse_grow(p, p->const_values, p->nconsts, &p->consts_cap, sizeof(uint64_t),
                                 SIM_MAX_CONSTS, "constants");
    p->const_values[p->nconsts] = 0;
    return p->nconsts++;
}

uint32_t parse_const(struct parser *p, uint64_t value)
{
    uint32_t h = (uint32_t)((value * 0x9e3779b97f4a7c15ull) >> 40);
    for (;; h++) {
        uint32_t *at = &p->const_hash[h % (SIM_MAX_CONSTS * 2)];
        if (!*at) {
            uint32_t index = parse_const_unique(p);
            p->const_values[index] = value;
            *at = index + 1;
            return index;
        }
        if (p->const_values[*at - 1] == value)
            return *at - 1;
    }
}

/* ---- operands ---- */

static uint64_t number(struct parser *p, uint8_t type)
{
    bool minus = parse_accept(p, '-');
    bool invert = !minus && parse_accept(p, '~');
    uint64_t v = p->tok.ival;
    if (p->tok.kind == TOK_INT) {
        if (type == T_F32 || type == T_F64)
            parse_fail(p, "an integer where a floating point number belongs");
        v = minus ? 0 - v : invert ? ~v : v;
    } else if (p->tok.kind == TOK_F32) {
        if (type == T_F64) {
            float f;
            uint32_t bits = (uint32_t)v;
            memcpy(&f, &bits, sizeof(f));
            double d = (double)f;
            memcpy(&v, &d, sizeof(v));
            v ^= minus ? 1ull << 63 : 0;
        } else {
            v ^= minus ? 1u << 31 : 0;
        }
    } else if (p->tok.kind == TOK_F64) {
        v ^= minus ? 1ull << 63 : 0;
        if (type == T_F32) {
            double d;
            memcpy(&d, &v, sizeof(d));
            float f = (float)d;
            uint32_t bits;
            memcpy(&bits, &f, sizeof(bits));
            v = bits;
        }
    } else {
        parse_fail(p, "expected an operand");
    }
    parse_next(p);
    return v;
}

/* Cut to the operand's width, so that rows hold no bits above it. */
static uint64_t fit(uint64_t v, uint8_t type)
{
    unsigned size = type_size(type);
    if (type == T_PRED)
        return v != 0;
    return size && size < 8 ? v & ((1ull << (8 * size)) - 1) : v;
}

static bool special_register(struct parser *p, const char *name, size_t len, struct operand *o)
{
    static const struct {
        const char *name;
        uint8_t sreg;
        bool xyz;
    } all[] = {{"%tid", SR_TID_X, true},
               {"%ntid", SR_NTID_X, true},
               {"%ctaid", SR_CTAID_X, true},
               {"%nctaid", SR_NCTAID_X, true},
               {"%clusterid", SR_CLUSTERID_X, true},
               {"%nclusterid", SR_NCLUSTERID_X, true},
               {"%cluster_ctaid", SR_CLUSTER_CTAID_X, true},
               {"%cluster_nctaid", SR_CLUSTER_NCTAID_X, true},
               {"%cluster_ctarank", SR_CLUSTER_CTARANK, false},
               {"%cluster_nctarank", SR_CLUSTER_NCTARANK, false},
               {"%is_explicit_cluster", SR_IS_CLUSTER, false},
               {"%laneid", SR_LANEID, false},
               {"%warpid", SR_WARPID, false},
               {"%nwarpid", SR_NWARPID, false},
               {"%smid", SR_SMID, false},
               {"%nsmid", SR_NSMID, false},
               {"%gridid", SR_GRIDID, false},
               {"%clock", SR_CLOCK, false},
               {"%clock_hi", SR_CLOCK_HI, false},
               {"%clock64", SR_CLOCK64, false},
               {"%globaltimer", SR_GLOBALTIMER, false},
               {"%globaltimer_lo", SR_GLOBALTIMER, false},
               {"%lanemask_eq", SR_LANEMASK_EQ, false},
               {"%lanemask_lt", SR_LANEMASK_LT, false},
               {"%lanemask_le", SR_LANEMASK_LE, false},
               {"%lanemask_gt", SR_LANEMASK_GT, false},
               {"%lanemask_ge", SR_LANEMASK_GE, false},
               {"%dynamic_smem_size", SR_DYNAMIC_SMEM_SIZE, false},
               {"%total_smem_size", SR_TOTAL_SMEM_SIZE, false},
               {"%reserved_smem_offset_begin", SR_RESERVED, false},
               {"%reserved_smem_offset_cap", SR_RESERVED_END, false},
               {"%reserved_smem_offset_end", SR_RESERVED_END, false},
               {"%reserved_smem_offset_0", SR_RESERVED, false},
               {"%reserved_smem_offset_1", SR_RESERVED, false}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strlen(all[i].name) != len || memcmp(all[i].name, name, len) != 0)
            continue;
        *o = (struct operand){.kind = O_SREG, .slot = all[i].sreg};
        p->m->reserved |= all[i].sreg == SR_RESERVED;
        if (!all[i].xyz)
            return true;
        if (parse_accept_dot(p, "y"))
            o->slot += 1;
        else if (parse_accept_dot(p, "z"))
            o->slot += 2;
        else if (!parse_accept_dot(p, "x"))
            parse_fail(p, "%.*s without .x, .y or .z", (int)len, name);
        return true;
    }
    if (len > 7 && !memcmp(name, "%envreg", 7)) {
        *o = (struct operand){.kind = O_SREG, .slot = SR_ENVREG};
        if (len == 8 && (name[7] == '1' || name[7] == '2'))
            o->slot = name[7] == '1' ? SR_ENVREG1 : SR_ENVREG2;
        return true;
    }
    return false;
}

/* The address of variable S, in its own space. */
static struct operand variable(struct parser *p, const struct symbol *s)
{
    struct operand o = {.kind = O_CONST};
    if (s->space == SPACE_GLOBAL || s->space == SPACE_CONST) {
        o.slot = parse_const_unique(p);
        parse_reloc(p, (struct sim_reloc){.func = p->f, .index = o.slot, .var = s->index});
    } else if (s->space == SPACE_SHARED && s->offset == UINT64_MAX) {
        o = (struct operand){.kind = O_SREG, .slot = SR_DYNAMIC_BASE};
    } else if (s->space == SPACE_LOCAL || s->in_frame) {
        o = (struct operand){.kind = O_LOCAL, .value = s->offset};
    } else if (s->space == SPACE_SHARED) {
        o.slot = parse_shared_address(p, s->index, 0);
    } else {
        o.slot = parse_const(p, s->offset);
    }
    return o;
}

/* .b2 behind a register: its third byte. */
static uint8_t parse_part(struct parser *p)
{
    static const char *const names[] = {"b0", "b1", "b2", "b3", "h0", "h1"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (parse_accept_dot(p, names[i]))
            return (uint8_t)(PART_B0 + i);
    return PART_ALL;
}

struct operand parse_operand(struct build *b, uint8_t type, struct arg *ret_arg)
{
    struct parser *p = b->p;
    bool neg = parse_accept(p, '!');
    if (p->tok.kind != TOK_NAME) {
        if (neg)
            parse_fail(p, "'!' before something that is no predicate");
        uint64_t v = fit(number(p, type), type);
        return (struct operand){.kind = O_CONST, .slot = parse_const(p, v)};
    }
    size_t len;
    const char *name = parse_name(p, &len);
    struct operand o = {.neg = neg};
    if (len == 1 && name[0] == '_') {
        o.kind = O_SINK;
        return o;
    }
    uint8_t rtype = T_NONE;
    int64_t slot = parse_register(p, name, len, &rtype);
    if (slot >= 0) {
        if (neg && rtype != T_PRED)
            parse_fail(p, "'!' before %.*s, which is no predicate", (int)len, name);
        o.kind = O_REG;
        o.slot = (uint32_t)slot;
        o.narrow = type_size(rtype) < 8;
        o.predicate = rtype == T_PRED;
        if (b->op->parts)
            o.part = parse_part(p);
        return o;
    }
    struct symbol *s = parse_find(p, name, len);
    if (s && s->kind == SYM_VAR) {
        o = variable(p, s);
        if (!ret_arg->memory && parse_accept(p, '+')) {
            uint64_t add = parse_uint(p, UINT32_MAX, "offset");
            if (o.kind == O_LOCAL)
                o.value += add;
            else if (s->space == SPACE_GLOBAL || s->space == SPACE_CONST)
                p->m->relocs[p->m->nrelocs - 1].addend = add;
            else if (s->space == SPACE_SHARED && o.kind == O_CONST)
                p->shared_uses[p->nshared_uses - 1].addend = add;
            else if (o.kind == O_CONST)
                o.slot = parse_const(p, s->offset + add);
            else
                parse_fail(p, "an offset from dynamic shared memory");
        }
        return o;
    }
    if (s && s->kind == SYM_FUNC && b->op->form == FORM_PLAIN) {
        uint64_t address = SIM_CODE_BASE + (uint64_t)s->index * SIM_CODE_STEP;
        return (struct operand){.kind = O_CONST, .slot = parse_const(p, address)};
    }
    if (special_register(p, name, len, &o))
        return o;
    if (len == 7 && !memcmp(name, "WARP_SZ", 7))
        return (struct operand){.kind = O_CONST, .slot = parse_const(p, SIM_WARP)};
    if (b->op->form == FORM_PLAIN && name[0] == '%')
        parse_fail(p, "unknown register %.*s", (int)len, name);
    ret_arg->name = name;
    ret_arg->len = len;
    return o;
}

/* Of a texture or a surface, behind its handle: a vector, or one alone. */
static void parse_coordinates(struct build *b, struct arg *a)
{
    struct parser *p = b->p;
    bool vector = parse_accept(p, '{');
    do {
        if (a->n == 8)
            parse_fail(p, "more than 7 coordinates");
        a->op[a->n++] = parse_operand(b, T_B32, a);
        if (a->name)
            parse_fail(p, "%.*s is not declared", (int)a->len, a->name);
    } while (vector && parse_accept(p, ','));
    if (vector)
        parse_expect(p, '}');
}

static void parse_address(struct build *b, struct arg *a)
{
    struct parser *p = b->p;
    a->memory = true;
    a->n = 1;
    a->op[0] = parse_operand(b, T_B64, a);
    if (a->name)
        parse_fail(p, "%.*s has no address", (int)a->len, a->name);
    if (parse_accept(p, '+') || tok_punct(&p->tok, '-')) {
        bool minus = parse_accept(p, '-');
        uint64_t v = parse_uint(p, UINT32_MAX, "offset");
        a->offset = minus ? -(int64_t)v : (int64_t)v;
    }
    if (parse_accept(p, ','))
        parse_coordinates(b, a);
    parse_expect(p, ']');
}

void parse_arg(struct build *b, struct arg *a, uint8_t type)
{
    struct parser *p = b->p;
    *a = (struct arg){0};
    if (parse_accept(p, '[')) {
        parse_address(b, a);
        return;
    }
    if (parse_accept(p, '{')) {
        a->vector = true;
        do {
            if (a->n == 8)
                parse_fail(p, "a vector of more than 8 elements");
            a->op[a->n++] = parse_operand(b, type, a);
        } while (parse_accept(p, ','));
        parse_expect(p, '}');
    } else {
        a->op[0] = parse_operand(b, type, a);
        a->n = 1;
        if (parse_accept(p, '|'))
            a->op[a->n++] = parse_operand(b, type, a);
    }
}
