/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "cri/pbjson.h"

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t deferred;

static void on_signal(int sig)
{
    interrupted = 1;
}

void ctl_interrupt_init(void)
{
    /* The second one meets the default action. */
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool ctl_interrupted(void)
{
    return interrupted != 0;
}

void ctl_interrupt_defer(bool defer)
{
    deferred = defer;
}

static bool call_cancelled(void *data)
{
    return interrupted && !deferred;
}

bool ctl_sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (!call_cancelled(NULL) && nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
    return call_cancelled(NULL);
}

int ctl_call(struct ctl *ctl, const char *method, const ProtobufCMessage *request, int timeout_ms,
             void *ret_response, struct gi_error *err)
{
    if (!ctl->client) {
        int rc = gi_cri_client_new(ctl->endpoint, &ctl->client, err);
        if (rc < 0)
            return rc;
    }
    struct gi_cri_call_options opt = {
        .timeout_ms = timeout_ms < 0 ? ctl->timeout_ms : timeout_ms,
        .cancelled = call_cancelled,
    };
    return gi_cri_call(ctl->client, method, request, &opt, ret_response, err);
}

int ctl_report(const struct ctl *ctl, const struct gi_error *err, const char *what)
{
    if (err->code == GI_CANCELLED && interrupted)
        return EXIT_INTERRUPTED;
    fprintf(stderr, "gpuictl: %s%s", what ? what : "", what ? ": " : "");
    if (err->code == GI_UNAVAILABLE && !strncmp(err->message, "failed to connect", 17)) {
        fprintf(stderr, "no runtime answers at %s (%s)\n", ctl->endpoint, err->message);
        return EXIT_UNREACHABLE;
    }
    for (const char *p = err->message; *p; p++)
        fputc((unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p, stderr);
    fprintf(stderr, " (%s)\n", gi_code_name(err->code));
    return err->code == GI_NOT_FOUND     ? EXIT_NOT_FOUND
           : err->code == GI_UNAVAILABLE ? EXIT_UNREACHABLE
                                         : EXIT_FAILED;
}

int ctl_option(const struct command *self, int opt)
{
    if (opt == 'h') {
        fputs(self->usage, stdout);
        return EXIT_OK;
    }
    fprintf(stderr, "try: gpuictl %s --help\n", self->name);
    return EXIT_USAGE;
}

int ctl_usage_error(const struct command *self, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "gpuictl %s: ", self->name);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\ntry: gpuictl %s --help\n", self->name);
    va_end(ap);
    return EXIT_USAGE;
}

int ctl_print_json(const ProtobufCMessage *message)
{
    cleanup_buf struct gi_buf b = GI_BUF_INIT(256u << 20);
    if (gi_pbjson_write(&b, message, GI_PBJSON_INDENT | GI_PBJSON_DEFAULTS) != 0) {
        fprintf(stderr, "gpuictl: the answer is too large to print\n");
        return EXIT_FAILED;
    }
    printf("%s\n", b.data);
    return EXIT_OK;
}
