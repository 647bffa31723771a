/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/spec.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_client.h"
#include "base/cleanup.h"
#include "oci/parts.h"

static const char *const masked[] = {
    "/proc/asound",        "/proc/acpi",       "/proc/kcore",       "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi",          "/proc/interrupts", "/sys/firmware",     "/sys/devices/virtual/powercap",
};
static const char *const readonly[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

/* ---- signals ---- */

static const int signal_numbers[] = {
    0,       SIGABRT, SIGALRM,   SIGBUS,  SIGCHLD,   SIGCHLD,  SIGCONT, SIGFPE,  SIGHUP,
    SIGILL,  SIGINT,  SIGIO,     SIGABRT, SIGKILL,   SIGPIPE,  SIGPOLL, SIGPROF, SIGPWR,
    SIGQUIT, SIGSEGV, SIGSTKFLT, SIGSTOP, SIGSYS,    SIGTERM,  SIGTRAP, SIGTSTP, SIGTTIN,
    SIGTTOU, SIGURG,  SIGUSR1,   SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
};
#define SIG_RTMIN 34 /* as libc has it: two are its own */

int oci_cri_signal(Runtime__V1__Signal s)
{
    int n = (int)s;
    if (n > 0 && n < (int)GI_ARRAY_SIZE(signal_numbers))
        return signal_numbers[n];
    /* SIGRTMIN ... SIGRTMIN+15, SIGRTMAX-14 ... SIGRTMAX follow without a gap. */
    if (n >= RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMIN && n <= RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMAX)
        return SIG_RTMIN + n - RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMIN;
    return 0;
}

/* ---- what is refused ---- */

static int check_security(const struct oci_context *c, struct gi_error *err)
{
    const Runtime__V1__LinuxContainerSecurityContext *s = c->security;
    const Runtime__V1__NamespaceMode node = RUNTIME__V1__NAMESPACE_MODE__NODE;
    const Runtime__V1__NamespaceOption *n = s ? s->namespace_options : NULL;
    if (n && (n->network == node || n->pid == node || n->ipc == node))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.linux.security_context.namespace_options.%s: a container of an "
                       "isolated pod can't have the node's",
                       n->network == node ? "network"
                       : n->pid == node   ? "pid"
                                          : "ipc");
    if (n && n->pid == RUNTIME__V1__NAMESPACE_MODE__TARGET && !c->in->pid_target)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.linux.security_context.namespace_options.target_id: missing");
    if (s && ((s->apparmor && s->apparmor->profile_type ==
                                  RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost) ||
              strncmp(s->apparmor_profile, "localhost/", 10) == 0))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.linux.security_context.apparmor: profiles of the host don't exist "
                       "in a zone");
    if (c->in->config->n_cdi_devices)
        return gi_fail(err, GI_INVALID_ARGUMENT, "config.CDI_devices: not supported");
    return 0;
}

/* ---- parts ---- */

static void put_namespaces(struct gen *g, const struct oci_context *c)
{
    const Runtime__V1__NamespaceOption *n = c->security ? c->security->namespace_options : NULL;
    const bool joins = n && n->pid == RUNTIME__V1__NAMESPACE_MODE__TARGET;
    gen_key_array(g, "namespaces");
    if (joins || !n || n->pid == RUNTIME__V1__NAMESPACE_MODE__CONTAINER) {
        char path[128];
        gen_map(g);
        gen_key_string(g, "type", "pid");
        if (joins) {
            snprintf(path, sizeof(path), AGENT_CONTAINER_SOURCE "%s", c->in->pid_target);
            gen_key_string(g, "path", path);
        }
        gen_end_map(g);
    }
    gen_map(g);
    gen_key_string(g, "type", "mount");
    gen_end_map(g);
    gen_end_array(g);
}

static void put_paths(struct gen *g, const struct oci_context *c)
{
    const Runtime__V1__LinuxContainerSecurityContext *s = c->security;
    if (c->privileged)
        return;
    if (s && s->n_masked_paths)
        gen_key_strings(g, "maskedPaths", (const char *const *)s->masked_paths, s->n_masked_paths);
    else
        gen_key_strings(g, "maskedPaths", masked, GI_ARRAY_SIZE(masked));
    if (s && s->n_readonly_paths)
        gen_key_strings(g, "readonlyPaths", (const char *const *)s->readonly_paths,
                        s->n_readonly_paths);
    else
        gen_key_strings(g, "readonlyPaths", readonly, GI_ARRAY_SIZE(readonly));
}

static int put_linux(struct gen *g, const struct oci_context *c, struct gi_error *err)
{
    gen_key_map(g, "linux");
    put_namespaces(g, c);
    put_paths(g, c);
    /* crun cuts all ties with the outside at first, unless told otherwise. */
    if (oci_follows_mounts(c))
        gen_key_string(g, "rootfsPropagation", "rslave");
    int rc = oci_put_devices(g, c, err);
    if (rc == 0)
        rc = oci_put_resources(g, c, err);
    if (rc == 0)
        rc = oci_put_seccomp(g, c, err);
    gen_end_map(g);
    return rc;
}

static int put_spec(struct gen *g, struct oci_context *c, struct gi_error *err)
{
    gen_map(g);
    gen_key_string(g, "ociVersion", "1.0.2");
    int rc = oci_put_process(g, c, err);
    if (rc < 0)
        return rc;
    gen_key_map(g, "root");
    gen_key_string(g, "path", "rootfs");
    gen_key_bool(g, "readonly", c->security && c->security->readonly_rootfs);
    gen_end_map(g);
    rc = oci_put_mounts(g, c, err);
    if (rc == 0)
        rc = put_linux(g, c, err);
    gen_end_map(g);
    return rc;
}

static int write_spec(struct oci_context *c, struct oci_output *out, struct gi_error *err)
{
    struct gen g;
    int rc = check_security(c, err);
    if (rc == 0)
        rc = oci_choose_caps(c, err);
    if (rc == 0)
        rc = oci_resolve_user(c, err);
    if (rc == 0)
        rc = gen_init(&g, err);
    if (rc < 0)
        return rc;
    rc = put_spec(&g, c, err);
    if (rc == 0)
        rc = gen_finish(&g, "config", &out->json, err);
    gen_free(&g);
    return rc;
}

int oci_spec_write(const struct oci_input *in, struct oci_output *ret_out, struct gi_error *err)
{
    const Runtime__V1__LinuxContainerConfig *l = in->config->linux;
    struct oci_context c = {
        .in = in,
        .security = l ? l->security_context : NULL,
        .resources = l ? l->resources : NULL,
    };
    struct oci_output out = {.json = NULL};
    c.privileged = c.security && c.security->privileged;
    int rc = write_spec(&c, &out, err);
    if (rc == 0) {
        out.uid = c.user.uid;
        out.gid = c.user.gid;
        out.groups = TAKE_PTR(c.user.groups);
        out.n_groups = c.user.n_groups;
        out.stop_signal = oci_cri_signal(in->config->stop_signal);
        if (!out.stop_signal)
            out.stop_signal = in->image->stop_signal ? in->image->stop_signal : SIGTERM;
        *ret_out = out;
    }
    images_user_free(&c.user);
    return rc;
}

void oci_output_free(struct oci_output *out)
{
    free(out->json);
    free(out->groups);
    *out = (struct oci_output){.json = NULL};
}
