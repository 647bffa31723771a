/* SPDX-License-Identifier: Apache-2.0 */
/* gpu-proxy: broker, and worker (the same program, executed again). */
#include <stdio.h>
#include <string.h>

#include "boot.h"
#include "broker.h"
#include "options.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--worker") == 0)
        return worker_main(argc, argv);
    struct proxy_options o;
    struct gi_error err = GI_ERROR_INIT;
    if (proxy_options_parse(argc, argv, &o, &err) < 0) {
        fprintf(stderr, "gpu-proxy: %s\n", err.message);
        return 2;
    }
    int rc = 0;
    switch (o.mode) {
    case PROXY_HELP:
        proxy_options_help();
        return 0;
    case PROXY_VERSION:
        printf("gpu-proxy %s\n", GI_VERSION);
        return 0;
    case PROXY_BROKER:
        gi_log_init("gpu-proxy", o.log_level);
        rc = broker_run(&o, &err);
        break;
    }
    if (rc < 0)
        fprintf(stderr, "gpu-proxy: %s\n", err.message);
    return rc < 0 ? 1 : 0;
}
