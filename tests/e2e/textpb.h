/* SPDX-License-Identifier: Apache-2.0 */
/* Messages from text, for tests that set many fields. */
#ifndef E2E_TEXTPB_H
#define E2E_TEXTPB_H

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

/* A message of TYPE from what FMT makes: fields by name, each with `: value` or
 * `{ its fields }`, repeated ones again and again; a value is a word, or anything
 * but a quote between quotes. "metadata { name: web } args: -c args: 'echo x'".
 * What it can't read ends the program, with the place. protobuf_c_message_free_unpacked
 * frees it. */
void *textpb(const ProtobufCMessageDescriptor *type, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
