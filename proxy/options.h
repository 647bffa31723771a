/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of gpu-proxy. */
#ifndef GI_PROXY_OPTIONS_H
#define GI_PROXY_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/log.h"
#include "control/control.h"

enum proxy_mode { PROXY_BROKER, PROXY_HELP, PROXY_VERSION };

struct proxy_options {
    enum proxy_mode mode;
    const char *driver;    /* path or soname of the libcuda to use */
    const char *control;   /* path of the control socket */
    const char *zones_dir; /* folder of the zones' channel sockets */
    struct control_quota defaults;
    uint32_t max_clients;    /* over all zones */
    uint64_t worker_memory;  /* host memory of a worker beyond its zone's device memory quota */
    uint64_t context_memory; /* device memory of a CUDA context, charged to its zone */
    uid_t worker_uid;        /* used when started by root */
    gid_t worker_gid;
    bool have_agent_uid;
    uid_t agent_uid; /* may connect to the zones' sockets besides root and ourselves */
    int handover_timeout_ms;
    int start_timeout_ms;
    enum gi_log_level log_level;
};

/* Fills *ret_options; the strings are ARGV's. INVALID_ARGUMENT names the
 * option and what is wrong with it. */
int proxy_options_parse(int argc, char **argv, struct proxy_options *ret_options,
                        struct gi_error *err);

void proxy_options_help(void);

/* "4Gi", "512Mi", "1000000" → bytes. */
int proxy_parse_size(const char *text, uint64_t *ret_bytes, struct gi_error *err);

#endif
