/* SPDX-License-Identifier: Apache-2.0 */
/* vprintf and __assertfail, which nvcc's printf() and assert() become. */
#include "builtin.h"

#include <stdio.h>
#include <string.h>

#include "access.h"
#include "idm/cuda_abi.h"

#define MAX_TEXT 1024u /* of one printf */

/* A kernel's string, cut at SIZE - 1 characters. False: a fault. */
static bool read_string(struct warp *w, const struct insn *in, unsigned lane, uint64_t address,
                        char *out, size_t size)
{
    size_t n = 0;
    for (; n + 1 < size; n++) {
        const uint8_t *p = sim_address(w, in, lane, SPACE_GENERIC, address + n, 1, false);
        if (!p)
            return false;
        out[n] = (char)*p;
        if (!out[n])
            return true;
    }
    out[n] = 0;
    return true;
}

/* The value of argument I for LANE: a .param in the caller's frame, or a register. */
static uint64_t argument(struct warp *w, const struct insn *in, unsigned i, unsigned lane)
{
    if (!in->call || i >= in->call->nin)
        return 0;
    const struct operand *o = &in->call->in[i].from;
    if (o->kind != O_LOCAL) {
        return operand_row(w, o, 0)[lane];
    }
    uint64_t v = 0;
    uint64_t at = (uint64_t)w->local_base + o->value;
    if (at <= w->local_size && w->local_size - at >= 8)
        memcpy(&v, w->local + (size_t)lane * w->local_size + at, 8);
    return v;
}

static void append(char *out, size_t *n, const char *text)
{
    size_t len = strlen(text);
    if (len > MAX_TEXT - 1 - *n)
        len = MAX_TEXT - 1 - *n;
    memcpy(out + *n, text, len);
    *n += len;
    out[*n] = 0;
}

/*
 * One conversion of FORMAT, from its '%' on. What goes to the C library is put
 * together here from checked pieces, never the kernel's own text: no %n, no *.
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static bool convert(struct warp *w, const struct insn *in, unsigned lane, const char **format,
                    uint64_t *args, char *out, size_t *n)
{
    char spec[32] = "%", text[512] = "";
    const char *f = *format + 1;
    size_t at = 1;
    while (*f && strchr("-+ #0123456789.", *f) && at < 16)
        spec[at++] = *f++;
    bool wide = false;
    for (; *f && strchr("hlLjzt", *f); f++)
        wide |= *f != 'h';
    char c = *f ? *f++ : 0;
    *format = f;
    if (c == '%') {
        append(out, n, "%");
        return true;
    }
    if (!c || !strchr("diouxXcpseEfFgGaA", c))
        return true;
    bool eight = wide || strchr("pseEfFgGaA", c);
    *args = eight ? (*args + 7) & ~7ull : (*args + 3) & ~3ull;
    const uint8_t *p = sim_address(w, in, lane, SPACE_GENERIC, *args, eight ? 8 : 4, false);
    if (!p)
        return false;
    uint64_t v = sim_read(p, eight ? 8 : 4);
    *args += eight ? 8 : 4;
    if (c == 's') {
        char s[256];
        if (!read_string(w, in, lane, v, s, sizeof(s)))
            return false;
        snprintf(spec + at, sizeof(spec) - at, "s");
        snprintf(text, sizeof(text), spec, s);
    } else if (strchr("eEfFgGaA", c)) {
        double d;
        memcpy(&d, &v, sizeof(d));
        snprintf(spec + at, sizeof(spec) - at, "%c", c);
        snprintf(text, sizeof(text), spec, d);
    } else if (c == 'c') {
        snprintf(text, sizeof(text), "%c", (int)(v & 127));
    } else if (c == 'd' || c == 'i') {
        snprintf(spec + at, sizeof(spec) - at, "lld");
        long long s = eight ? (long long)v : (long long)(int32_t)v;
        snprintf(text, sizeof(text), spec, s);
    } else {
        snprintf(spec + at, sizeof(spec) - at, "ll%c", c == 'p' ? 'x' : c);
        unsigned long long u = v;
        if (c == 'p')
            append(out, n, "0x");
        snprintf(text, sizeof(text), spec, u);
    }
    append(out, n, text);
    return true;
}
#pragma GCC diagnostic pop

/* vprintf's result: how many arguments it took. */
static void result(struct warp *w, const struct insn *in, unsigned lane, uint32_t v)
{
    if (!in->call || !in->call->nout)
        return;
    const struct operand *o = &in->call->out[0].from;
    uint64_t at = (uint64_t)w->local_base + o->value;
    if (o->kind == O_REG)
        w->r[(size_t)o->slot * SIM_WARP + lane] = v;
    else if (o->kind == O_LOCAL && at <= w->local_size && w->local_size - at >= sizeof(v))
        memcpy(w->local + (size_t)lane * w->local_size + at, &v, sizeof(v));
}

static void print(struct warp *w, const struct insn *in, unsigned lane)
{
    char format[MAX_TEXT], out[MAX_TEXT] = "";
    size_t n = 0;
    uint32_t conversions = 0;
    uint64_t args = argument(w, in, 1, lane);
    if (!read_string(w, in, lane, argument(w, in, 0, lane), format, sizeof(format)))
        return;
    for (const char *f = format; *f;) {
        if (*f == '%') {
            conversions += f[1] != '%';
            if (!convert(w, in, lane, &f, &args, out, &n))
                return;
        } else {
            char one[2] = {*f++, 0};
            append(out, &n, one);
        }
    }
    fputs(out, stdout);
    result(w, in, lane, conversions);
}

static void assertion(struct warp *w, const struct insn *in, unsigned lane)
{
    char what[100] = "", file[60] = "";
    if (read_string(w, in, lane, argument(w, in, 0, lane), what, sizeof(what)) &&
        read_string(w, in, lane, argument(w, in, 1, lane), file, sizeof(file)))
        warp_fault(w, in, (int)lane, CUDA_ERROR_ASSERT, "%s:%u: assertion '%s' failed", file,
                   (unsigned)argument(w, in, 2, lane), what);
}

void sim_builtin(struct warp *w, const struct insn *in, const struct sim_func *f, uint32_t mask)
{
    LANES(mask, {
        if (f->builtin == BUILTIN_ASSERTFAIL)
            assertion(w, in, l);
        else
            print(w, in, l);
    });
}
