/* SPDX-License-Identifier: Apache-2.0 */
/* gpu-proxy --stats: the operator's view, through the control client. */
#ifndef GI_PROXY_STATS_H
#define GI_PROXY_STATS_H

#include <stdbool.h>

#include "base/error.h"

int stats_print(const char *control_socket, bool json, struct gi_error *err);

#endif
