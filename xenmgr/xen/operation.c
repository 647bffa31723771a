/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "xen_driver.h"

/* Other parts of the daemon (CNI plugins) have children and wait for them. */
const libxl_childproc_hooks xen_children = {
    .chldowner = libxl_sigchld_owner_libxl_always_selective_reap,
};

static void on_message(xentoollog_logger *logger, xentoollog_level level, int errnoval,
                       const char *context, const char *format, va_list al)
{
    struct operation *op = (struct operation *)logger;
    char text[sizeof(op->why)];
    (void)context;
    vsnprintf(text, sizeof(text), format, al);
    if (level >= XTL_ERROR && !op->why[0]) {
        if (errnoval >= 0)
            snprintf(op->why, sizeof(op->why), "%.180s: %s", text, strerror(errnoval));
        else
            memcpy(op->why, text, sizeof(text));
    }
    gi_log(level >= XTL_WARN ? GI_LOG_WARNING : GI_LOG_DEBUG, "libxl", "says", text, NULL);
}

static void on_progress(xentoollog_logger *logger, const char *context, const char *what,
                        int percent, unsigned long done, unsigned long total)
{
    (void)logger;
    (void)context;
    (void)what;
    (void)percent;
    (void)done;
    (void)total;
}

static void on_destroy(xentoollog_logger *logger)
{
    (void)logger;
}

int operation_begin(struct operation *op, struct gi_error *err)
{
    memset(op, 0, sizeof(*op));
    op->logger =
        (xentoollog_logger){.vmessage = on_message, .progress = on_progress, .destroy = on_destroy};
    int rc = libxl_ctx_alloc(&op->ctx, LIBXL_VERSION, 0, &op->logger);
    if (rc) {
        op->ctx = NULL;
        return gi_fail(err, GI_UNAVAILABLE, "libxl: %s (is this host running Xen?)",
                       op->why[0] ? op->why : "no context");
    }
    libxl_childproc_setmode(op->ctx, &xen_children, NULL);
    return 0;
}

void operation_end(struct operation *op)
{
    if (op->ctx)
        libxl_ctx_free(op->ctx);
    op->ctx = NULL;
}

int operation_failed(const struct operation *op, struct gi_error *err, int rc, const char *fmt, ...)
{
    char what[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    enum gi_code code = rc == ERROR_NOMEM             ? GI_RESOURCE_EXHAUSTED
                        : rc == ERROR_DOMAIN_NOTFOUND ? GI_NOT_FOUND
                        : rc == ERROR_TIMEDOUT        ? GI_DEADLINE_EXCEEDED
                        : rc == ERROR_INVAL           ? GI_INVALID_ARGUMENT
                                                      : GI_INTERNAL;
    return gi_fail(err, code, "%s: libxl error %d: %s", what, rc,
                   op->why[0] ? op->why : "it does not say why");
}
