/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "idmgen.h"

static const char *file;
static unsigned line_number;

static _Noreturn void die(const char *what, const char *arg)
{
    fprintf(stderr, "%s:%u: %s%s%s\n", file, line_number, what, *arg ? ": " : "", arg);
    exit(1);
}

static void copy(char *to, size_t room, const char *from)
{
    size_t n = strlen(from);
    if (n >= room)
        die("too long", from);
    memcpy(to, from, n + 1);
}

bool on_wire(const struct call *c)
{
    return c->kind == K_CALL || c->kind == K_MESSAGE;
}

bool is_tail(const struct param *p)
{
    return p->type == T_CSTR || p->type == T_BYTES;
}

bool in_request(const struct param *p)
{
    return p->dir != D_OUT;
}

bool in_reply(const struct param *p)
{
    return p->dir == D_OUT;
}

/* "mem(n*4)" -> "mem", "n*4". */
static void split_rule(char *token, char **ret_rule)
{
    char *open = strchr(token, '(');
    *ret_rule = open ? open + 1 : token + strlen(token);
    if (!open)
        return;
    char *close = strrchr(token, ')');
    if (!close || close[1])
        die("rule without end", token);
    *open = '\0';
    *close = '\0';
}

static void parse_mem(struct param *p, char *rule)
{
    char *star = strchr(rule, '*');
    p->unit = 1;
    if (star) {
        *star = '\0';
        p->unit = (unsigned)strtoul(star + 1, NULL, 10);
    }
    if (!*rule || !p->unit)
        die("mem needs (count) or (count*unit)", "");
    copy(p->count, sizeof(p->count), rule);
}

static void parse_type(struct param *p, char *token)
{
    static const struct {
        const char *name;
        enum type type;
    } plain[] = {{"u8", T_U8},         {"u16", T_U16},     {"u32", T_U32},   {"i32", T_I32},
                 {"u64", T_U64},       {"size", T_SIZE},   {"f32", T_F32},   {"addr", T_ADDR},
                 {"stream", T_STREAM}, {"bytes", T_BYTES}, {"cstr", T_CSTR}, {"mem", T_MEM}};
    char *rule;
    split_rule(token, &rule);
    size_t len = strlen(token);
    if (len && token[len - 1] == '?') {
        p->nullable = true;
        token[len - 1] = '\0';
    }
    p->type = T_HANDLE;
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        if (strcmp(plain[i].name, token) == 0)
            p->type = plain[i].type;
    }
    copy(p->handle, sizeof(p->handle), token);
    if (p->type == T_MEM)
        parse_mem(p, rule);
    if (p->type == T_CSTR && !(p->max = (unsigned)strtoul(rule, NULL, 10)))
        die("cstr needs (max)", "");
    static const char *const handles[] = {"context", "module",  "function", "event",  "library",
                                          "kernel",  "code",    "link",     "memory", "array",
                                          "mipmap",  "texture", "surface"};
    bool known = p->type != T_HANDLE;
    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
        known = known || strcmp(handles[i], token) == 0;
    if (!known)
        die("unknown type", token);
}

static void parse_param(struct call *c, char *line)
{
    if (c->n_params == MAX_PARAMS)
        die("too many parameters", c->symbol);
    struct param *p = &c->params[c->n_params++];
    char *save;
    char *dir = strtok_r(line, " ", &save);
    char *type = strtok_r(NULL, " ", &save);
    char *rest = strtok_r(NULL, "", &save);
    if (!type || !rest)
        die("direction, type and name, please", c->symbol);
    static const char *const dirs[] = {"in", "out", "new", "drop"};
    bool known = false;
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(dirs[i], dir) == 0) {
            p->dir = (enum direction)i;
            known = true;
        }
    }
    if (!known)
        die("unknown direction", dir);
    parse_type(p, type);
    const char *name = strrchr(rest, ' ');
    if (name)
        copy(p->decl, sizeof(p->decl), rest);
    name = name ? name + 1 : rest;
    while (*name == '*')
        name++;
    copy(p->name, sizeof(p->name), name);
}

/* cuMemcpyHtoD_v2_ptds: cuMemcpyHtoD, the second form, per thread. */
static void default_base(struct call *c)
{
    copy(c->base, sizeof(c->base), c->symbol);
    size_t n = strlen(c->base);
    if (n > 5 && (strcmp(c->base + n - 5, "_ptsz") == 0 || strcmp(c->base + n - 5, "_ptds") == 0)) {
        c->per_thread = true;
        n -= 5;
        c->base[n] = '\0';
    }
    c->form = 1;
    if (n > 3 && c->base[n - 3] == '_' && c->base[n - 2] == 'v' &&
        isdigit((unsigned char)c->base[n - 1])) {
        c->form = (unsigned)(c->base[n - 1] - '0');
        c->base[n - 3] = '\0';
    }
}

static void parse_class(struct call *c, const char *token)
{
    if (token && strcmp(token, "sync") == 0)
        c->class = C_SYNC;
    else if (token && strcmp(token, "async") == 0)
        c->class = C_ASYNC;
    else if (token && strcmp(token, "wait") == 0)
        c->class = C_WAIT;
    else
        die("class: sync, async or wait", c->symbol);
}

static void parse_words(struct call *c, char *save)
{
    for (char *t; (t = strtok_r(NULL, " ", &save));) {
        if (strcmp(t, "since") == 0)
            c->since = (unsigned)strtoul(strtok_r(NULL, " ", &save), NULL, 10);
        else if (strcmp(t, "base") == 0)
            copy(c->base, sizeof(c->base), strtok_r(NULL, " ", &save));
        else if (strcmp(t, "client") == 0)
            c->client = true;
        else if (strcmp(t, "worker") == 0)
            c->worker = true;
        else if (strcmp(t, "noctx") == 0)
            c->noctx = true;
        else if (strcmp(t, "point") == 0)
            c->point = true;
        else if (strcmp(t, "captured") == 0)
            c->captured = true;
        else if (strcmp(t, "legacy") == 0)
            c->legacy = true;
        else if (*t == '"') {
            char *rest = strtok_r(NULL, "\"", &save);
            snprintf(c->text, sizeof(c->text), "%s%s%s", t + 1, rest ? " " : "", rest ? rest : "");
            return;
        } else
            die("unknown word", t);
    }
}

static struct call *add(struct model *m, enum kind kind, const char *symbol)
{
    if (m->n_calls == MAX_CALLS)
        die("too many calls", symbol ? symbol : "");
    if (!symbol)
        die("no name", "");
    /* What the worker calls besides may be something else to programs. */
    FOR_CALLS(other, m)
    {
        if ((kind == K_DRIVER) == (other->kind == K_DRIVER) && strcmp(other->symbol, symbol) == 0)
            die("described twice", symbol);
    }
    struct call *c = &m->calls[m->n_calls++];
    c->kind = kind;
    copy(c->symbol, sizeof(c->symbol), symbol);
    default_base(c);
    c->section = m->n_sections ? m->sections[m->n_sections - 1] : "";
    return c;
}

static void add_wire(struct model *m, enum kind kind, char *save)
{
    struct call *c = add(m, kind, strtok_r(NULL, " ", &save));
    const char *number = strtok_r(NULL, " ", &save);
    c->number = number ? (unsigned)strtoul(number, NULL, 0) : 0;
    if (c->number < 2 || c->number > 0xffff)
        die("number", c->symbol);
    FOR_CALLS(other, m)
    {
        if (other != c && on_wire(other) && other->number == c->number)
            die("number used twice", c->symbol);
    }
    parse_class(c, strtok_r(NULL, " ", &save));
    parse_words(c, save);
    if (kind == K_MESSAGE)
        c->client = c->worker = c->noctx = true;
    if (c->class == C_WAIT && !c->worker)
        die("what waits is written by hand", c->symbol);
}

static void parse_line(struct model *m, char *line)
{
    char *save;
    char *word = strtok_r(line, " ", &save);
    if (strcmp(word, "call") == 0) {
        add_wire(m, K_CALL, save);
    } else if (strcmp(word, "message") == 0) {
        add_wire(m, K_MESSAGE, save);
    } else if (strcmp(word, "local") == 0) {
        struct call *c = add(m, K_LOCAL, strtok_r(NULL, " ", &save));
        parse_words(c, save);
    } else if (strcmp(word, "refused") == 0) {
        struct call *c = add(m, K_REFUSED, strtok_r(NULL, " ", &save));
        copy(c->error, sizeof(c->error), strtok_r(NULL, " ", &save));
        parse_words(c, save);
    } else if (strcmp(word, "planned") == 0 || strcmp(word, "driver") == 0) {
        enum kind kind = *word == 'p' ? K_PLANNED : K_DRIVER;
        for (char *t; (t = strtok_r(NULL, " ", &save));)
            add(m, kind, t);
    } else {
        die("unknown line", word);
    }
}

static void add_section(struct model *m, const char *line)
{
    char *to = m->sections[m->n_sections++];
    copy(to, sizeof(m->sections[0]), line + 6);
    char *end = strstr(to, " ---");
    if (end)
        *end = '\0';
}

/* cuGetProcAddress gives the newest form there is: it must not be an older one
 * than the program means. */
static void check_forms(const struct model *m)
{
    FOR_CALLS(later, m)
    {
        if (later->kind != K_PLANNED)
            continue;
        FOR_CALLS(c, m)
        {
            bool here = c->kind == K_CALL || c->kind == K_LOCAL || c->kind == K_REFUSED;
            if (here && c->per_thread == later->per_thread && c->form < later->form &&
                strcmp(c->base, later->base) == 0)
                die("a later form is only planned", later->symbol);
        }
    }
}

static void check(const struct model *m)
{
    check_forms(m);
    FOR_CALLS(c, m)
    {
        FOR_PARAMS(p, c)
        {
            if (p->type == T_MEM) {
                bool found = false;
                FOR_PARAMS(q, c) found = found || strcmp(q->name, p->count) == 0;
                if (!found)
                    die("mem counted by an unknown parameter", c->symbol);
            }
            if (is_tail(p) && c->kind == K_CALL && !c->client && p->dir == D_OUT)
                die("bytes come back to stubs written by hand only", c->symbol);
        }
    }
}

void parse(const char *path, struct model *m)
{
    char line[512];
    FILE *f = fopen(path, "r");
    file = path;
    if (!f)
        die("can't be opened", "");
    while (fgets(line, sizeof(line), f)) {
        line_number++;
        line[strcspn(line, "\n")] = '\0';
        bool indented = line[0] == ' ';
        char *text = line + strspn(line, " ");
        if (strncmp(text, "# --- ", 6) == 0)
            add_section(m, text);
        if (!*text || *text == '#')
            continue;
        struct call *last = m->n_calls ? &m->calls[m->n_calls - 1] : NULL;
        if (!indented)
            parse_line(m, text);
        else if (!last)
            die("parameter of nothing", text);
        else if (strncmp(text, "note ", 5) == 0)
            copy(last->text, sizeof(last->text), text + 5);
        else
            parse_param(last, text);
    }
    fclose(f);
    check(m);
}
