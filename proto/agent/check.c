/* SPDX-License-Identifier: Apache-2.0 */
/* Message-local rules of the agent protocol. */
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "agent/agent_client.h"
#include "agent/wire.h"

bool agent_id_valid(const char *id)
{
    if (!id)
        return false;
    size_t n = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    return n > 0 && n <= AGENT_ID_MAX && id[n] == '\0' && id[0] != '.' && id[0] != '-';
}

static int check_id(const char *id, struct gi_error *err)
{
    if (agent_id_valid(id))
        return 0;
    return gi_fail(err, GI_INVALID_ARGUMENT, "bad container id \"%.80s\"", id ? id : "");
}

bool agent_file_path_valid(const char *path)
{
    if (!path || !*path || strlen(path) > AGENT_FILE_PATH_MAX)
        return false;
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, "/");
        if (n == 0 || n > 255 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += n;
        if (!*p)
            return true;
    }
}

bool agent_interface_valid(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    for (size_t i = 0; i < n; i++) {
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '/')
            return false;
    }
    return n > 0 && n < 16;
}

static int check_volume(const char *name, struct gi_error *err)
{
    if (agent_id_valid(name))
        return 0;
    return gi_fail(err, GI_INVALID_ARGUMENT, "bad volume name \"%.80s\"", name ? name : "");
}

static int check_path(const char *path, struct gi_error *err)
{
    if (agent_file_path_valid(path))
        return 0;
    return gi_fail(err, GI_INVALID_ARGUMENT, "bad path in a volume");
}

static int check_mode(uint32_t mode, struct gi_error *err)
{
    return mode <= 07777 ? 0 : gi_fail(err, GI_INVALID_ARGUMENT, "mode %o", mode);
}

static int check_put(const Gi__Agent__PutFiles *m, struct gi_error *err)
{
    if (m->n_files > AGENT_FILES_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%zu files at once", m->n_files);
    for (size_t i = 0; i < m->n_files; i++) {
        const Gi__Agent__VolumeFile *f = m->files[i];
        if (check_path(f->path, err) < 0 || check_mode(f->mode, err) < 0)
            return -GI_INVALID_ARGUMENT;
        if (m->swap && strncmp(f->path, "..", 2) == 0)
            return gi_fail(err, GI_INVALID_ARGUMENT, "names that begin with \"..\" are taken");
        if (f->offset > AGENT_VOLUME_MAX || f->data.len > AGENT_VOLUME_MAX - f->offset)
            return gi_fail(err, GI_INVALID_ARGUMENT, "file over %u bytes", AGENT_VOLUME_MAX);
    }
    return check_volume(m->volume, err);
}

static int check_read(const Gi__Agent__ReadFile *m, struct gi_error *err)
{
    if (m->max_bytes > AGENT_READ_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "more than %u bytes asked for", AGENT_READ_MAX);
    if (check_path(m->path, err) < 0)
        return -GI_INVALID_ARGUMENT;
    return check_volume(m->volume, err);
}

/* As the kernel's list format: "0-3,7". */
static bool cpuset_valid(const char *list)
{
    return strlen(list) <= 1024 && strspn(list, "0123456789,-") == strlen(list);
}

static int check_update(const Gi__Agent__UpdateResources *m, struct gi_error *err)
{
    if (m->cpu_quota < -1 || m->memory_limit < -1 || m->memory_swap < -1)
        return gi_fail(err, GI_INVALID_ARGUMENT, "negative limit");
    if (m->cpu_period > 1000000 || m->cpu_shares > 262144)
        return gi_fail(err, GI_INVALID_ARGUMENT, "cpu period or shares out of range");
    if (!cpuset_valid(m->cpuset_cpus) || !cpuset_valid(m->cpuset_mems))
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad list of cpus or memory nodes");
    return check_id(m->container_id, err);
}

static int check_image(const char *image_rootfs, struct gi_error *err)
{
    size_t n = strlen(image_rootfs);
    return n > 0 && n <= AGENT_PATH_MAX
               ? 0
               : gi_fail(err, GI_INVALID_ARGUMENT, "image_rootfs is empty or too long");
}

static int check_create(const Gi__Agent__CreateContainer *m, struct gi_error *err)
{
    if (strlen(m->oci_json) > AGENT_JSON_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "oci_json is longer than %u bytes",
                       AGENT_JSON_MAX);
    if (check_image(m->image_rootfs, err) < 0)
        return -GI_INVALID_ARGUMENT;
    if (m->stop_signal < 0 || m->stop_signal >= _NSIG)
        return gi_fail(err, GI_INVALID_ARGUMENT, "stop_signal %d is no signal", m->stop_signal);
    return check_id(m->container_id, err);
}

static int check_argv(char *const *argv, size_t n, struct gi_error *err)
{
    if (n == 0 || n > AGENT_ARGS_MAX || argv[0][0] == '\0')
        return gi_fail(err, GI_INVALID_ARGUMENT, "exec needs 1 to %u arguments", AGENT_ARGS_MAX);
    return 0;
}

static int check_exec(const Gi__Agent__ExecSync *m, struct gi_error *err)
{
    if (check_argv(m->argv, m->n_argv, err) < 0)
        return -GI_INVALID_ARGUMENT;
    if (m->max_output > AGENT_EXEC_OUTPUT_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "max_output is over %u", AGENT_EXEC_OUTPUT_MAX);
    return check_id(m->container_id, err);
}

static int check_exec_stream(const Gi__Agent__ExecStream *m, struct gi_error *err)
{
    if (m->width > UINT16_MAX || m->height > UINT16_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "terminal of %u x %u", m->width, m->height);
    if (m->tty && m->err)
        return gi_fail(err, GI_INVALID_ARGUMENT, "a terminal has no stderr of its own");
    if (check_argv(m->argv, m->n_argv, err) < 0)
        return -GI_INVALID_ARGUMENT;
    return check_id(m->container_id, err);
}

static int check_open(const Gi__Agent__OpenStream *m, struct gi_error *err)
{
    if (m->version != AGENT_PROTOCOL_VERSION)
        return gi_fail(err, GI_FAILED_PRECONDITION, "protocol version %u, not %u", m->version,
                       AGENT_PROTOCOL_VERSION);
    switch (m->what_case) {
    case GI__AGENT__OPEN_STREAM__WHAT_EXEC:
        return check_exec_stream(m->exec, err);
    case GI__AGENT__OPEN_STREAM__WHAT_ATTACH:
        return check_id(m->attach->container_id, err);
    case GI__AGENT__OPEN_STREAM__WHAT_PORT:
        if (m->port->port == 0 || m->port->port > UINT16_MAX)
            return gi_fail(err, GI_INVALID_ARGUMENT, "port %u", m->port->port);
        return 0;
    case GI__AGENT__OPEN_STREAM__WHAT__NOT_SET:
    default:
        return gi_fail(err, GI_UNIMPLEMENTED, "unknown kind of stream");
    }
}

static int check_time(int64_t ns, const char *what, struct gi_error *err)
{
    return ns >= 0 ? 0 : gi_fail(err, GI_INVALID_ARGUMENT, "%s is negative", what);
}

int agent_check_to(const Gi__Agent__ToAgent *msg, struct gi_error *err)
{
    bool is_ack = msg->op_case == GI__AGENT__TO_AGENT__OP_ACK_LOGS;
    if ((msg->id == 0) != is_ack)
        return gi_fail(err, GI_INVALID_ARGUMENT, "request id %llu does not fit the request",
                       (unsigned long long)msg->id);
    switch (msg->op_case) {
    case GI__AGENT__TO_AGENT__OP_HELLO:
    case GI__AGENT__TO_AGENT__OP_PING:
    case GI__AGENT__TO_AGENT__OP_LIST:
    case GI__AGENT__TO_AGENT__OP_SHUTDOWN:
    case GI__AGENT__TO_AGENT__OP_POD_STATS:
        return 0;
    case GI__AGENT__TO_AGENT__OP_CREATE:
        return check_create(msg->create, err);
    case GI__AGENT__TO_AGENT__OP_START:
        return check_id(msg->start->container_id, err);
    case GI__AGENT__TO_AGENT__OP_REMOVE:
        return check_id(msg->remove->container_id, err);
    case GI__AGENT__TO_AGENT__OP_STATUS:
        return check_id(msg->status->container_id, err);
    case GI__AGENT__TO_AGENT__OP_STATS:
        return check_id(msg->stats->container_id, err);
    case GI__AGENT__TO_AGENT__OP_KILL:
        if (msg->kill->signal < 0 || msg->kill->signal >= _NSIG)
            return gi_fail(err, GI_INVALID_ARGUMENT, "%d is no signal", msg->kill->signal);
        return check_id(msg->kill->container_id, err);
    case GI__AGENT__TO_AGENT__OP_EXEC_SYNC:
        return check_exec(msg->exec_sync, err);
    case GI__AGENT__TO_AGENT__OP_FOLLOW_LOGS:
        if (check_time(msg->follow_logs->after_ns, "after_ns", err) < 0)
            return -GI_INVALID_ARGUMENT;
        return check_id(msg->follow_logs->container_id, err);
    case GI__AGENT__TO_AGENT__OP_ACK_LOGS:
        if (check_time(msg->ack_logs->upto_ns, "upto_ns", err) < 0)
            return -GI_INVALID_ARGUMENT;
        return check_id(msg->ack_logs->container_id, err);
    case GI__AGENT__TO_AGENT__OP_OPEN_STREAM:
        return check_open(msg->open_stream, err);
    case GI__AGENT__TO_AGENT__OP_UPDATE:
        return check_update(msg->update, err);
    case GI__AGENT__TO_AGENT__OP_MAKE_VOLUME:
        if (check_mode(msg->make_volume->mode, err) < 0)
            return -GI_INVALID_ARGUMENT;
        return check_volume(msg->make_volume->volume, err);
    case GI__AGENT__TO_AGENT__OP_REMOVE_VOLUME:
        return check_volume(msg->remove_volume->volume, err);
    case GI__AGENT__TO_AGENT__OP_PUT_FILES:
        return check_put(msg->put_files, err);
    case GI__AGENT__TO_AGENT__OP_READ_FILE:
        return check_read(msg->read_file, err);
    case GI__AGENT__TO_AGENT__OP_RELEASE_IMAGE:
        return check_image(msg->release_image->image_rootfs, err);
    case GI__AGENT__TO_AGENT__OP__NOT_SET:
    default:
        return gi_fail(err, GI_UNIMPLEMENTED, "unknown request");
    }
}

static int check_exit(const Gi__Agent__Exit *e, struct gi_error *err)
{
    if (e->exit_code > 255)
        return gi_fail(err, GI_INVALID_ARGUMENT, "exit code %u", e->exit_code);
    if (e->started_ns < 0 || e->finished_ns < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "negative time of start or end");
    return 0;
}

static int check_status(const Gi__Agent__StatusReply *s, struct gi_error *err)
{
    if (s->state < AGENT_CREATED || s->state > AGENT_EXITED)
        return gi_fail(err, GI_INVALID_ARGUMENT, "container state %u", s->state);
    if (!s->exit)
        return gi_fail(err, GI_INVALID_ARGUMENT, "status without times");
    return check_exit(s->exit, err);
}

static int check_list(const Gi__Agent__ListReply *l, struct gi_error *err)
{
    if (l->n_container_ids > AGENT_CONTAINERS_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "list of %zu containers", l->n_container_ids);
    for (size_t i = 0; i < l->n_container_ids; i++) {
        if (check_id(l->container_ids[i], err) < 0)
            return -GI_INVALID_ARGUMENT;
    }
    return 0;
}

static int check_pod_stats(const Gi__Agent__PodStatsReply *s, struct gi_error *err)
{
    if (!s->total || s->n_interfaces > AGENT_INTERFACES_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "statistics of %zu interfaces", s->n_interfaces);
    for (size_t i = 0; i < s->n_interfaces; i++) {
        if (!agent_interface_valid(s->interfaces[i]->name))
            return gi_fail(err, GI_INVALID_ARGUMENT, "bad name of an interface");
    }
    return check_time(s->total->time_ns, "time of statistics", err);
}

static int check_reply(const Gi__Agent__Reply *r, struct gi_error *err)
{
    if (r->id == 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "reply without an id");
    switch (r->result_case) {
    case GI__AGENT__REPLY__RESULT_STATUS:
        return check_status(r->status, err);
    case GI__AGENT__REPLY__RESULT_LIST:
        return check_list(r->list, err);
    case GI__AGENT__REPLY__RESULT_EXEC:
        if (r->exec->exit_code > 255)
            return gi_fail(err, GI_INVALID_ARGUMENT, "exit code %u", r->exec->exit_code);
        return 0;
    case GI__AGENT__REPLY__RESULT_STATS:
        return check_time(r->stats->time_ns, "time of statistics", err);
    case GI__AGENT__REPLY__RESULT_POD_STATS:
        return check_pod_stats(r->pod_stats, err);
    case GI__AGENT__REPLY__RESULT_FILE:
        if (r->file->data.len > AGENT_READ_MAX)
            return gi_fail(err, GI_INVALID_ARGUMENT, "file of %zu bytes", r->file->data.len);
        return 0;
    case GI__AGENT__REPLY__RESULT_HELLO:
    case GI__AGENT__REPLY__RESULT__NOT_SET:
    default:
        return 0;
    }
}

static int check_record(const Gi__Agent__LogRecord *r, int64_t after_ns, struct gi_error *err)
{
    if (r->stream != AGENT_STDOUT && r->stream != AGENT_STDERR)
        return gi_fail(err, GI_INVALID_ARGUMENT, "log stream %u", r->stream);
    if (r->data.len > AGENT_LOG_RECORD_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "log record of %zu bytes", r->data.len);
    if (r->data.len && memchr(r->data.data, '\n', r->data.len))
        return gi_fail(err, GI_INVALID_ARGUMENT, "log record with a newline inside");
    if (r->time_ns <= after_ns)
        return gi_fail(err, GI_INVALID_ARGUMENT, "log records out of order");
    return 0;
}

static int check_logs(const Gi__Agent__LogBatch *b, struct gi_error *err)
{
    if (check_id(b->container_id, err) < 0)
        return -GI_INVALID_ARGUMENT;
    if (b->n_records == 0 || b->n_records > AGENT_BATCH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "batch of %zu log records", b->n_records);
    int64_t last = 0;
    for (size_t i = 0; i < b->n_records; i++) {
        if (check_record(b->records[i], last, err) < 0)
            return -GI_INVALID_ARGUMENT;
        last = b->records[i]->time_ns;
    }
    return 0;
}

int agent_check_from(const Gi__Agent__FromAgent *msg, struct gi_error *err)
{
    switch (msg->kind_case) {
    case GI__AGENT__FROM_AGENT__KIND_REPLY:
        return check_reply(msg->reply, err);
    case GI__AGENT__FROM_AGENT__KIND_EXEC_OUTPUT:
        if (msg->exec_output->id == 0 || msg->exec_output->data.len == 0)
            return gi_fail(err, GI_INVALID_ARGUMENT, "empty exec output");
        if (msg->exec_output->stream != AGENT_STDOUT && msg->exec_output->stream != AGENT_STDERR)
            return gi_fail(err, GI_INVALID_ARGUMENT, "exec stream %u", msg->exec_output->stream);
        return 0;
    case GI__AGENT__FROM_AGENT__KIND_LOGS:
        return check_logs(msg->logs, err);
    case GI__AGENT__FROM_AGENT__KIND_EXIT:
        if (!msg->exit->exit)
            return gi_fail(err, GI_INVALID_ARGUMENT, "exit event without its code");
        if (check_exit(msg->exit->exit, err) < 0)
            return -GI_INVALID_ARGUMENT;
        return check_id(msg->exit->container_id, err);
    case GI__AGENT__FROM_AGENT__KIND__NOT_SET:
    default:
        return gi_fail(err, GI_INVALID_ARGUMENT, "unknown message");
    }
}
