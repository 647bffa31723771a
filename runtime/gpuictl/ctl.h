/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of gpuictl share: the call, the errors, the exit codes. */
#ifndef GPUICTL_CTL_H
#define GPUICTL_CTL_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cri/client.h"
#include "cri/cri.h"

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,      /* the runtime refused or failed */
    EXIT_USAGE = 2,       /* bad command line */
    EXIT_UNREACHABLE = 3, /* no runtime answers */
    EXIT_NOT_FOUND = 4,   /* no such pod, container or image */
    EXIT_OWN = 125,       /* run, exec: our own failure, not the program's */
    EXIT_INTERRUPTED = 130,
};

#define CTL_DEFAULT_ENDPOINT "unix:///run/gpu-isolated/runtime.sock"
#define CTL_LOG_ROOT         "/var/log/gpuictl"

struct ctl {
    struct gi_cri_client *client; /* made at the first call */
    const char *endpoint;
    const char *log_root; /* folders of the logs of pods made by `run` */
    int timeout_ms;       /* of one call that isn't expected to take long */
    bool json;
};

struct command {
    const char *name;
    const char *summary;
    const char *usage; /* the whole text of --help */
    int (*run)(struct ctl *ctl, const struct command *self, int argc, char **argv);
};

extern const struct command cmd_version, cmd_status, cmd_pull, cmd_images, cmd_rmi, cmd_run, cmd_ps,
    cmd_logs, cmd_exec, cmd_stats, cmd_stop, cmd_rm, cmd_inspect, cmd_console, cmd_update;

/* One call; RET_RESPONSE is a pointer to a pointer to METHOD's response type.
 * TIMEOUT_MS 0: none; -1: ctl's. Ctrl-C cancels it. */
int ctl_call(struct ctl *ctl, const char *method, const ProtobufCMessage *request, int timeout_ms,
             void *ret_response, struct gi_error *err);

/* Prints "gpuictl: WHAT: message" (WHAT may be NULL); returns the exit code that fits. */
int ctl_report(const struct ctl *ctl, const struct gi_error *err, const char *what);

/* After getopt_long returned an option no case of the command took: the exit
 * code after --help (0) or a bad option (2). */
int ctl_option(const struct command *self, int opt);
#define CTL_COMMON_OPTIONS                                                                         \
    {"help", no_argument, NULL, 'h'},                                                              \
    {                                                                                              \
        NULL, 0, NULL, 0                                                                           \
    }
int ctl_usage_error(const struct command *self, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* SIGINT and SIGTERM only set a flag, which ends calls and waits. A second one
 * kills. ctl_interrupt_defer(true): calls go on in spite of the flag (clean-up). */
void ctl_interrupt_init(void);
bool ctl_interrupted(void);
void ctl_interrupt_defer(bool defer);
/* Sleeps; true when interrupted. */
bool ctl_sleep_ms(int ms);

/* Prints MESSAGE as indented JSON and a newline; 0, or EXIT_FAILED. */
int ctl_print_json(const ProtobufCMessage *message);

static inline void ctl_free_message(ProtobufCMessage *m)
{
    if (m)
        protobuf_c_message_free_unpacked(m, NULL);
}
static inline void ctl_free_messagep(void *p)
{
    ctl_free_message(*(ProtobufCMessage **)p);
}
/* Frees a message (response, or a request built on the heap) by scope. */
#define cleanup_message __attribute__((cleanup(ctl_free_messagep)))

#endif
