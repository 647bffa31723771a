/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#undef gi_fail
#undef gi_fail_errno
#undef gi_prefix

static const char *const code_names[] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

const char *gi_code_name(enum gi_code code)
{
    if ((unsigned)code >= sizeof(code_names) / sizeof(code_names[0]))
        return "UNKNOWN";
    return code_names[code];
}

static enum gi_code code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ESRCH:
        return GI_NOT_FOUND;
    case EEXIST:
        return GI_ALREADY_EXISTS;
    case EACCES:
    case EPERM:
        return GI_PERMISSION_DENIED;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
        return GI_RESOURCE_EXHAUSTED;
    case ETIMEDOUT:
        return GI_DEADLINE_EXCEEDED;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
        return GI_UNAVAILABLE;
    case ECANCELED:
        return GI_CANCELLED;
    case ENOSYS:
    case EOPNOTSUPP:
        return GI_UNIMPLEMENTED;
    default:
        return GI_INTERNAL;
    }
}

int gi_fail(struct gi_error *err, enum gi_code code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        vsnprintf(err->message, sizeof(err->message), fmt, ap);
        va_end(ap);
    }
    return -(int)code;
}

int gi_fail_errno(struct gi_error *err, int errnum, const char *fmt, ...)
{
    enum gi_code code = code_of_errno(errnum);
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        vsnprintf(err->message, sizeof(err->message), fmt, ap);
        va_end(ap);
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof(err->message) - used, ": %s", strerror(errnum));
    }
    return -(int)code;
}

int gi_prefix(struct gi_error *err, const char *fmt, ...)
{
    if (!err)
        return -GI_INTERNAL;
    char head[GI_ERROR_MESSAGE_SIZE];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(head, sizeof(head), fmt, ap);
    va_end(ap);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof(head) ? (size_t)n : sizeof(head) - 1;
    char tail[GI_ERROR_MESSAGE_SIZE];
    memcpy(tail, err->message, sizeof(tail));
    size_t room = sizeof(err->message) - 1;
    size_t tail_len = strnlen(tail, sizeof(tail) - 1);
    size_t head_len = used < room - 2 ? used : room - 2;
    if (tail_len > room - 2 - head_len)
        tail_len = room - 2 - head_len;
    memcpy(err->message, head, head_len);
    memcpy(err->message + head_len, ": ", 2);
    memcpy(err->message + head_len + 2, tail, tail_len);
    err->message[head_len + 2 + tail_len] = '\0';
    return err->code ? -(int)err->code : -GI_INTERNAL;
}
