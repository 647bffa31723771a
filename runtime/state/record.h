/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One record, one file: a header (magic, version, kind, length, CRC-32 of the
 * payload; little-endian) and a protobuf message. A file is replaced as a whole,
 * so that after a crash the old or the new record is there.
 */
#ifndef RT_STATE_RECORD_H
#define RT_STATE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "state/state.pb-c.h"

#define RECORD_MAX    (20u << 20) /* bytes; a request may have 16 MiB */
#define RECORD_HEADER 24u

enum record_kind { RECORD_POD = 1, RECORD_CONTAINER = 2 };

/* Heap bytes of MESSAGE, a Gi__State__PodRecord or ContainerRecord. */
int record_encode(enum record_kind kind, const void *message, uint8_t **ret_data, size_t *ret_len,
                  struct gi_error *err);
/* DATA_LOSS: not a whole record of this kind; UNIMPLEMENTED: of a newer version. */
int record_decode(enum record_kind kind, const uint8_t *data, size_t len, void *ret_message,
                  struct gi_error *err);

int record_load(const char *path, enum record_kind kind, void *ret_message, struct gi_error *err);

#endif
