/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_LZ4_H
#define SIM_LZ4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Expands the LZ4 block IN (hostile) to exactly OUT_LEN bytes; false: it isn't one. */
bool lz4_expand(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len);

#endif
