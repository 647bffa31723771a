/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime's end of the agent protocol (docs: proto/agent/README.md).
 *
 * A client owns one stream socket to a zone's agent and a reader thread. Calls
 * may be made from any thread at once; each blocks until its reply, its
 * deadline, or the end of the connection. The agent is hostile: every reply is
 * bounded and validated here, before a caller sees it. Callbacks run on the
 * reader thread, one at a time, and must not call back into the client except
 * for agent_ack_logs.
 */
#ifndef GI_AGENT_CLIENT_H
#define GI_AGENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct agent_client;

enum agent_container_state { AGENT_CREATED = 1, AGENT_RUNNING = 2, AGENT_EXITED = 3 };

struct agent_exit {
    int exit_code; /* 0..255; 128+signal when killed */
    bool oom_killed;
    int64_t started_ns; /* CLOCK_REALTIME; 0 when it never started */
    int64_t finished_ns;
};

struct agent_status {
    enum agent_container_state state;
    uint32_t pid;           /* in the zone's pid namespace; 0 when not running */
    struct agent_exit exit; /* valid when EXITED; started_ns also when RUNNING */
};

enum agent_stream { AGENT_STDOUT = 1, AGENT_STDERR = 2 };

/* One log record: at most AGENT_LOG_RECORD_MAX bytes, no newline inside;
 * `partial` when the line goes on in the next record of the same stream. The
 * agent's times are strictly increasing within a container: time_ns identifies
 * a record. */
#define AGENT_LOG_RECORD_MAX 16384
struct agent_log_record {
    int64_t time_ns;
    enum agent_stream stream;
    bool partial;
    const char *data;
    size_t len;
};

struct agent_callbacks {
    void (*on_exit)(void *data, const char *container_id, const struct agent_exit *exit);
    void (*on_log)(void *data, const char *container_id, const struct agent_log_record *records,
                   size_t n);
    /* The connection ended (zone gone, agent broken or lying). Last callback. */
    void (*on_disconnect)(void *data, const struct gi_error *why);
};

/* Takes FD (also on failure), shakes hands (version, limits). */
int agent_client_new(int fd, const struct agent_callbacks *cb, void *data, int timeout_ms,
                     struct agent_client **ret_client, struct gi_error *err);
/* Closes the connection, joins the reader thread. Not from a callback. */
void agent_client_free(struct agent_client *c);

struct agent_container_spec {
    const char *id;       /* [A-Za-z0-9_.-]{1,64}, checked by the agent */
    const char *oci_json; /* OCI runtime spec 1.0 config.json; root.path is filled by the agent */
    const char *image_rootfs; /* what machine_share_image returned: the read-only lower layer */
    uint64_t scratch_bytes;   /* quota of the writable layer; 0: the zone's default */
    bool tty;
    bool stdin_open;
    bool stdin_once;
    bool gpu; /* put libvgpu and the channel socket into the container */
    int stop_signal;
};

int agent_ping(struct agent_client *c, int timeout_ms, struct gi_error *err);
int agent_create_container(struct agent_client *c, const struct agent_container_spec *spec,
                           int timeout_ms, struct gi_error *err);
int agent_start_container(struct agent_client *c, const char *id, int timeout_ms,
                          struct gi_error *err);
/* ALL: every process of the container, not only its first. */
int agent_kill_container(struct agent_client *c, const char *id, int signal, bool all,
                         int timeout_ms, struct gi_error *err);
/* Kills what is left, unmounts, forgets its logs. Unknown id: success. */
int agent_remove_container(struct agent_client *c, const char *id, int timeout_ms,
                           struct gi_error *err);
/* Lets go of an image that came with containers which are removed, so that the machine's driver can
 * take it away. FAILED_PRECONDITION: something in the zone still uses it; then it stays as it is.
 */
int agent_release_image(struct agent_client *c, const char *image_rootfs, int timeout_ms,
                        struct gi_error *err);
int agent_container_status(struct agent_client *c, const char *id, int timeout_ms,
                           struct agent_status *ret_status, struct gi_error *err);
/* Heap array of heap strings, *ret_n entries; the caller frees. */
int agent_list_containers(struct agent_client *c, int timeout_ms, char ***ret_ids, size_t *ret_n,
                          struct gi_error *err);

struct agent_exec_result {
    int exit_code;
    char *out; /* heap, NUL-terminated, the caller frees */
    size_t out_len;
    char *errout;
    size_t errout_len;
    bool truncated; /* output beyond the limit was read and dropped */
};
/* Runs ARGV (NULL-terminated) to its end in the container. EXEC_TIMEOUT_MS 0:
 * none; when it passes, the process is killed and DEADLINE_EXCEEDED returned.
 * A missing program is NOT an error of the call: exit_code 127/126 and the
 * reason on errout, promptly. MAX_OUTPUT bounds each stream. */
int agent_exec_sync(struct agent_client *c, const char *id, const char *const *argv,
                    int exec_timeout_ms, size_t max_output, struct agent_exec_result *ret_result,
                    struct gi_error *err);

/* The figures of a container or a whole zone, as struct agent_stats and StatsReply
 * name them; 0 is also what a zone's kernel doesn't count. Times are cumulative.
 *   cpu_throttled_*       what a quota kept waiting, of cpu_periods
 *   memory_working_set    usage less inactive file
 *   memory_limit          bytes, 0: none; memory_limit_hits: how often it was met
 *   writable_*            of the writable layer; disk_*: of the file system it is on
 *   pids                  processes and threads; pids_limit, 0: none
 *   read_*, written_*     by block devices */
#define AGENT_STATS_FIGURES(X)                                                                     \
    X(cpu_ns)                                                                                      \
    X(cpu_user_ns)                                                                                 \
    X(cpu_system_ns)                                                                               \
    X(cpu_periods)                                                                                 \
    X(cpu_throttled_periods)                                                                       \
    X(cpu_throttled_ns)                                                                            \
    X(memory_usage)                                                                                \
    X(memory_working_set)                                                                          \
    X(memory_rss)                                                                                  \
    X(memory_cache)                                                                                \
    X(memory_mapped)                                                                               \
    X(memory_kernel)                                                                               \
    X(memory_swap)                                                                                 \
    X(memory_peak)                                                                                 \
    X(memory_limit)                                                                                \
    X(memory_limit_hits)                                                                           \
    X(oom_kills)                                                                                   \
    X(page_faults)                                                                                 \
    X(major_page_faults)                                                                           \
    X(writable_bytes)                                                                              \
    X(writable_inodes)                                                                             \
    X(disk_bytes)                                                                                  \
    X(disk_inodes)                                                                                 \
    X(disk_inodes_free)                                                                            \
    X(read_bytes)                                                                                  \
    X(reads)                                                                                       \
    X(written_bytes)                                                                               \
    X(writes)                                                                                      \
    X(processes)                                                                                   \
    X(pids)                                                                                        \
    X(pids_limit)                                                                                  \
    X(descriptors)                                                                                 \
    X(sockets)

struct agent_stats {
    int64_t time_ns;
#define AGENT_STATS_MEMBER(name) uint64_t name;
    AGENT_STATS_FIGURES(AGENT_STATS_MEMBER)
#undef AGENT_STATS_MEMBER
};
int agent_container_stats(struct agent_client *c, const char *id, int timeout_ms,
                          struct agent_stats *ret_stats, struct gi_error *err);

struct agent_interface_stats {
    char name[16]; /* printable ASCII */
    uint64_t rx_bytes;
    uint64_t rx_packets;
    uint64_t rx_errors;
    uint64_t rx_dropped;
    uint64_t tx_bytes;
    uint64_t tx_packets;
    uint64_t tx_errors;
    uint64_t tx_dropped;
};
#define AGENT_POD_INTERFACES_MAX 64
struct agent_pod_stats {
    struct agent_stats total; /* of all processes in the zone; no writable layers */
    size_t n_interfaces;      /* loopback left out */
    struct agent_interface_stats interfaces[AGENT_POD_INTERFACES_MAX];
};
int agent_pod_stats(struct agent_client *c, int timeout_ms, struct agent_pod_stats *ret_stats,
                    struct gi_error *err);

/* New limits of a container, in force when the call returns. 0 and NULL leave a
 * value as it is, -1 lifts a limit. FAILED_PRECONDITION in a zone without
 * cgroups, or when the container has ended. */
struct agent_resources {
    uint64_t cpu_period; /* microseconds */
    int64_t cpu_quota;
    uint64_t cpu_shares;
    int64_t memory_limit; /* bytes */
    int64_t memory_swap;  /* memory and swap together */
    const char *cpuset_cpus;
    const char *cpuset_mems;
};
int agent_update_resources(struct agent_client *c, const char *id, const struct agent_resources *r,
                           int timeout_ms, struct gi_error *err);

/* Named folders of the zone. In an OCI spec a bind mount's source
 * "volume:NAME" or "volume:NAME/PATH" means one, or what is in it; PATH is
 * resolved inside the volume, whatever links a container left there. */
#define AGENT_VOLUME_SOURCE "volume:"
/* "image:ROOTFS" or "image:ROOTFS//PATH": the root folder of an image, as what
 * image_rootfs of agent_container_spec is, or what is in it. */
#define AGENT_IMAGE_SOURCE "image:"
/* As a namespace's path in an OCI spec, "container:ID": the one that container ID, which must run,
 * has of that type. For pid namespaces alone. */
#define AGENT_CONTAINER_SOURCE "container:"
struct agent_volume {
    const char *name;    /* like a container's id */
    bool memory;         /* a tmpfs */
    uint64_t size_bytes; /* memory only: its limit; 0: half of the zone's */
    uint32_t mode;       /* 0: 0755 */
    uint32_t uid;
    uint32_t gid;
};
/* One that exists is left as it is. */
int agent_make_volume(struct agent_client *c, const struct agent_volume *v, int timeout_ms,
                      struct gi_error *err);
/* Unknown name: success. No container should have it mounted any more. */
int agent_remove_volume(struct agent_client *c, const char *name, int timeout_ms,
                        struct gi_error *err);

struct agent_file {
    const char *path; /* relative, no "." and ".." */
    const void *data;
    size_t len;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
};
/* Puts files into a volume. SWAP: they replace all others at once, by the
 * `..data` link of Kubernetes' own volumes. Without: each is written in place,
 * keeping its inode (what a container has mounted changes). At most 4096 files
 * and 32 MiB in all. */
int agent_put_files(struct agent_client *c, const char *volume, bool swap,
                    const struct agent_file *files, size_t n, int timeout_ms, struct gi_error *err);
/* The first MAX bytes (at most 512 KiB) of a regular file; heap, NUL-terminated. Links are not
 * followed. */
int agent_read_file(struct agent_client *c, const char *volume, const char *path, size_t max,
                    int timeout_ms, char **ret_data, size_t *ret_len, struct gi_error *err);

/* From now on records later than AFTER_NS come through on_log. The agent keeps
 * a record until it is acknowledged; when its bounded buffer is full the
 * container's writes block, nothing is lost. */
int agent_follow_logs(struct agent_client *c, const char *id, int64_t after_ns, int timeout_ms,
                      struct gi_error *err);
/* Asynchronous; callable from on_log. Everything up to UPTO_NS is safe. */
int agent_ack_logs(struct agent_client *c, const char *id, int64_t upto_ns, struct gi_error *err);

/* Asks the agent to stop everything and end the zone. */
int agent_shutdown(struct agent_client *c, int timeout_ms, struct gi_error *err);

#endif
