/* SPDX-License-Identifier: Apache-2.0 */
#include "work.h"

#include <stdlib.h>
#include <string.h>

#include "proc.h"

struct work {
    struct agent *a;
    struct request req;
    /* The child's alone: */
    int (*fn)(void *arg, struct gi_error *err);
    void *arg;
};

static int run(void *data, void *result)
{
    const struct work *w = data;
    return w->fn(w->arg, result);
}

static void on_end(void *data, int rc, const void *result)
{
    struct work *w = data;
    struct gi_error err;
    memcpy(&err, result, sizeof(err));
    err.message[sizeof(err.message) - 1] = '\0';
    if (rc < 0 && !err.code)
        gi_fail(&err, GI_INTERNAL, "the worker died");
    conn_done(w->a, w->req, &err);
    free(w);
}

void work_answer(struct agent *a, struct request req, int (*fn)(void *arg, struct gi_error *err),
                 void *arg)
{
    struct gi_error err = GI_ERROR_INIT;
    struct work *w = malloc(sizeof(*w));
    int rc = w ? 0 : gi_fail(&err, GI_RESOURCE_EXHAUSTED, "no memory for a request");
    if (rc == 0) {
        *w = (struct work){.a = a, .req = req, .fn = fn, .arg = arg};
        rc = proc_work(run, w, sizeof(struct gi_error), on_end, w, &err);
    }
    if (rc < 0) {
        conn_done(a, req, &err);
        free(w);
    }
}
