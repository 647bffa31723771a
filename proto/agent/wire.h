/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both ends of the agent protocol share: framing, bounded unpacking, and
 * the checks a message must pass before anybody looks at its content. A frame
 * is a 32-bit little-endian length (1..AGENT_FRAME_MAX) and that many bytes of
 * one protobuf message: ToAgent or FromAgent. No state, no threads.
 */
#ifndef GI_AGENT_WIRE_H
#define GI_AGENT_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/agent.pb-c.h"
#include "base/buf.h"
#include "base/error.h"

#define AGENT_PROTOCOL_VERSION 1u
#define AGENT_FRAME_HEADER     4u
#define AGENT_FRAME_MAX        (1u << 20)
/* Memory one message may take once unpacked: a field of two bytes can become
 * a structure of a hundred. */
#define AGENT_UNPACK_MAX      (8u << 20)

#define AGENT_ID_MAX          64u
#define AGENT_JSON_MAX        (768u << 10)
#define AGENT_PATH_MAX        4095u
#define AGENT_ARGS_MAX        1024u
#define AGENT_CONTAINERS_MAX  512u
#define AGENT_BATCH_MAX       1024u /* records */
#define AGENT_EXEC_OUTPUT_MAX (64u << 20)
#define AGENT_INTERFACES_MAX  64u
#define AGENT_FILES_MAX       4096u       /* of a volume's one transaction */
#define AGENT_VOLUME_MAX      (32u << 20) /* bytes of a volume's one transaction */
#define AGENT_FILE_PATH_MAX   1024u
#define AGENT_READ_MAX        (512u << 10)

/* Does BUF begin with a whole frame? 1: yes, of *ret_total bytes with the
 * header; 0: more bytes are needed; -INVALID_ARGUMENT: no frame has that
 * length. */
int agent_frame_peek(const void *buf, size_t len, size_t *ret_total, struct gi_error *err);

/* Appends MSG as one frame. RESOURCE_EXHAUSTED when OUT's ceiling doesn't let
 * it, INVALID_ARGUMENT when it is longer than a frame may be. */
int agent_frame_append(struct gi_buf *out, const ProtobufCMessage *msg, struct gi_error *err);

/* The payload of a frame → message, using at most AGENT_UNPACK_MAX bytes, and
 * passed by the check below. Freed by agent_*_free. */
int agent_unpack_to(const void *data, size_t len, Gi__Agent__ToAgent **ret_msg,
                    struct gi_error *err);
int agent_unpack_from(const void *data, size_t len, Gi__Agent__FromAgent **ret_msg,
                      struct gi_error *err);
void agent_to_free(Gi__Agent__ToAgent *msg);
void agent_from_free(Gi__Agent__FromAgent *msg);

/* [A-Za-z0-9_.-]{1,64}, not beginning with '.' or '-'. */
bool agent_id_valid(const char *id);

/* Relative, of components that are neither empty nor "." nor "..". */
bool agent_file_path_valid(const char *path);

/* A network interface's name as the kernel allows it, but ASCII. */
bool agent_interface_valid(const char *name);

/* Message-local rules: lengths, ranges, enum values, order of times. */
int agent_check_to(const Gi__Agent__ToAgent *msg, struct gi_error *err);
int agent_check_from(const Gi__Agent__FromAgent *msg, struct gi_error *err);

#endif
