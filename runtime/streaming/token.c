/* SPDX-License-Identifier: Apache-2.0 */
#include "streaming/token.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

struct entry {
    char token[TOKEN_LENGTH + 1]; /* empty: free */
    int64_t expires_ns;
    struct streaming_request *request;
};

struct token_store {
    pthread_mutex_t lock;
    int64_t lifetime_ns;
    struct entry entries[TOKEN_MAX];
};

struct streaming_request *streaming_request_copy(const struct streaming_request *r)
{
    size_t argc = 0;
    size_t bytes = strlen(r->id) + 1;
    for (; r->argv && r->argv[argc]; argc++)
        bytes += strlen(r->argv[argc]) + 1;
    size_t head = sizeof(*r) + (argc + 1) * sizeof(char *);
    struct streaming_request *copy = malloc(head + bytes);
    if (!copy)
        return NULL;
    *copy = *r;
    const char **argv = (const char **)(copy + 1);
    char *text = (char *)copy + head;
    size_t len = strlen(r->id) + 1;
    memcpy(text, r->id, len);
    copy->id = text;
    text += len;
    for (size_t i = 0; i < argc; i++) {
        len = strlen(r->argv[i]) + 1;
        memcpy(text, r->argv[i], len);
        argv[i] = text;
        text += len;
    }
    argv[argc] = NULL;
    copy->argv = argv;
    return copy;
}

struct token_store *token_store_new(int lifetime_ms)
{
    struct token_store *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    t->lifetime_ns = (int64_t)lifetime_ms * 1000000;
    return t;
}

static void clear(struct entry *e)
{
    free(e->request);
    memset(e, 0, sizeof(*e));
}

void token_store_free(struct token_store *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < TOKEN_MAX; i++)
        clear(&t->entries[i]);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static struct entry *free_entry(struct token_store *t, int64_t now)
{
    struct entry *found = NULL;
    for (size_t i = 0; i < TOKEN_MAX; i++) {
        struct entry *e = &t->entries[i];
        if (e->token[0] && e->expires_ns <= now)
            clear(e);
        if (!e->token[0] && !found)
            found = e;
    }
    return found;
}

int token_put(struct token_store *t, const struct streaming_request *r,
              char ret_token[TOKEN_LENGTH + 1], struct gi_error *err)
{
    cleanup_free struct streaming_request *copy = streaming_request_copy(r);
    char token[TOKEN_LENGTH + 1];
    if (!copy || gi_random_hex(token, TOKEN_LENGTH / 2) < 0)
        return gi_fail_errno(err, ENOMEM, "streaming token");
    GI_LOCK_SCOPE(&t->lock);
    int64_t now = gi_monotonic_ns();
    struct entry *e = free_entry(t, now);
    if (!e)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED,
                       "%d streaming requests wait for their connection", TOKEN_MAX);
    memcpy(e->token, token, sizeof(token));
    e->expires_ns = now + t->lifetime_ns;
    e->request = TAKE_PTR(copy);
    memcpy(ret_token, token, sizeof(token));
    return 0;
}

/* Takes as long for a nearly right token as for a wrong one. */
static bool equal(const char *a, const char *b)
{
    unsigned char diff = 0;
    for (size_t i = 0; i < TOKEN_LENGTH; i++)
        diff |= (unsigned char)a[i] ^ (unsigned char)b[i];
    return diff == 0;
}

struct streaming_request *token_take(struct token_store *t, enum streaming_kind kind,
                                     const char *token)
{
    if (strlen(token) != TOKEN_LENGTH)
        return NULL;
    GI_LOCK_SCOPE(&t->lock);
    int64_t now = gi_monotonic_ns();
    for (size_t i = 0; i < TOKEN_MAX; i++) {
        struct entry *e = &t->entries[i];
        if (!e->token[0] || !equal(e->token, token))
            continue;
        struct streaming_request *r = NULL;
        if (e->expires_ns > now && e->request->kind == kind)
            r = TAKE_PTR(e->request);
        clear(e);
        return r;
    }
    return NULL;
}
