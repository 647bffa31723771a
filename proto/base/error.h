/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One error object for the whole house.
 *
 * A function that can fail returns 0 or a positive value on success and
 * -code on failure, and takes a `struct gi_error *err` as its last parameter,
 * which may be NULL. Outputs are left untouched on failure. Library code
 * fills the error and returns; only the top of a program logs it, once.
 *
 * Codes are gRPC's canonical status codes
 * (https://grpc.github.io/grpc/core/md_doc_statuscodes.html), so that an error
 * born anywhere can leave through CRI without a translation table.
 */
#ifndef GI_BASE_ERROR_H
#define GI_BASE_ERROR_H

#include <stdarg.h>

enum gi_code {
    GI_OK = 0,
    GI_CANCELLED = 1,
    GI_UNKNOWN = 2,
    GI_INVALID_ARGUMENT = 3,
    GI_DEADLINE_EXCEEDED = 4,
    GI_NOT_FOUND = 5,
    GI_ALREADY_EXISTS = 6,
    GI_PERMISSION_DENIED = 7,
    GI_RESOURCE_EXHAUSTED = 8,
    GI_FAILED_PRECONDITION = 9,
    GI_ABORTED = 10,
    GI_OUT_OF_RANGE = 11,
    GI_UNIMPLEMENTED = 12,
    GI_INTERNAL = 13,
    GI_UNAVAILABLE = 14,
    GI_DATA_LOSS = 15,
    GI_UNAUTHENTICATED = 16,
};

#define GI_ERROR_MESSAGE_SIZE 512

struct gi_error {
    enum gi_code code;
    char message[GI_ERROR_MESSAGE_SIZE];
};

#define GI_ERROR_INIT                                                                              \
    {                                                                                              \
        GI_OK,                                                                                     \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* Sets ERR (if not NULL) and returns -CODE. Too long a message is cut. */
int gi_fail(struct gi_error *err, enum gi_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Like gi_fail with the code that fits ERRNUM (ENOENT: NOT_FOUND, ENOSPC:
 * RESOURCE_EXHAUSTED, ...; INTERNAL otherwise) and ": strerror" appended. */
int gi_fail_errno(struct gi_error *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "FMT: " in front of the message of an error already set and returns
 * -err->code (-INTERNAL when ERR is NULL). */
int gi_prefix(struct gi_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Compilers and analyzers can't look into the functions above; this tells them
 * (and makes sure) that what they return is a failure, so that outputs are not
 * taken for unset after `if (rc < 0) return rc`. */
static inline int gi_negative(int rc)
{
    return rc < 0 ? rc : -(int)GI_INTERNAL;
}
#define gi_fail(...)       gi_negative(gi_fail(__VA_ARGS__))
#define gi_fail_errno(...) gi_negative(gi_fail_errno(__VA_ARGS__))
#define gi_prefix(...)     gi_negative(gi_prefix(__VA_ARGS__))

/* "NOT_FOUND" and so on; "UNKNOWN" for a number that is no code. */
const char *gi_code_name(enum gi_code code);

#endif
