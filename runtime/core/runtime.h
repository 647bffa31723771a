/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime: its parts and its pods. Which lock protects what, and which
 * thread may wait where: runtime/README.md, "Threads".
 */
#ifndef RT_CORE_RUNTIME_H
#define RT_CORE_RUNTIME_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent_client.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "config/config.h"
#include "control/control.h"
#include "images.h"
#include "logs/logfile.h"
#include "rpc/pool.h"
#include "rpc/rpc.h"
#include "state/record.h"
#include "xenmgr.h"

#define ID_SIZE           80 /* of an id with its NUL; ours have 63 characters */
#define AGENT_VOLUME_NAME 65 /* of a volume's name with its NUL */

struct cni;
struct streaming;

struct runtime {
    const struct config *config;
    struct xenmgr *mgr;
    struct images *images;
    struct control_client *control;
    struct streaming *streaming;
    struct cni *cni;   /* NULL: pods have loopback only */
    char *netns_dir;   /* <run_dir>/netns */
    struct pool *jobs; /* reconnecting, cleaning: work nobody waits for */
    pthread_t ticker;
    char *pods_dir; /* <state_dir>/pods */
    int lock_fd;    /* of the state folder */
    bool ticking;
    atomic_bool stopping;

    pthread_mutex_t lock;   /* the state lock */
    pthread_cond_t changed; /* a container's or a pod's state did */
    /* under lock: */
    struct pod **pods;
    size_t n_pods;
    struct listener *listeners; /* events.c */
    char *pod_cidr;             /* from UpdateRuntimeConfig */
    bool zones_doubtful;        /* gpu-proxy may have zones of pods that are gone */
    bool zones_busy;            /* a job compares gpu-proxy's zones with our pods */
    int64_t zones_ns;           /* CLOCK_MONOTONIC of the last time */
    bool networks_doubtful;     /* there may be networks of pods that are gone */
    bool networks_busy;         /* a job takes them down */
    int64_t networks_ns;        /* CLOCK_MONOTONIC of the last time */
};

/* One operation on a pod at a time. */
struct oplock {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool busy;
    unsigned waiters;
};

/* A connection to a pod's agent; calls hold a reference, no lock. */
struct agent_ref {
    struct agent_client *client;
    struct pod *pod;
    /* under the state lock: */
    unsigned refs;
    bool dead; /* the connection has ended */
};

/* What a zone holds of the host's files (volumes.c). */
struct pod_volume {
    char name[AGENT_VOLUME_NAME];
    uint64_t print;
};

struct pod {
    struct runtime *rt;
    char id[ID_SIZE];
    struct oplock op;
    pthread_mutex_t save_lock; /* orders writes of this pod's records */
    /* under the state lock: */
    unsigned refs;
    Gi__State__PodRecord *rec; /* its config never changes */
    bool unknown;              /* its record is damaged: rec is a stand-in */
    bool gone;                 /* removed; found no more */
    struct machine *machine;
    struct agent_ref *agent; /* NULL: not connected */
    struct container **containers;
    size_t n_containers;
    bool connecting;  /* a job is at it */
    int64_t retry_ns; /* CLOCK_MONOTONIC: not before */
    unsigned failures;
    bool ending; /* by our own hand: what goes now was asked to */
    bool ended;  /* the machine is no more, a job cleans up */
    char why_ended[MACHINE_REASON];
    bool stats_busy;
    struct agent_pod_stats *figures; /* the last ones; NULL: none yet */
    struct pod_volume *volumes;
    size_t n_volumes;
    bool volumes_busy;  /* a job compares them with the host's */
    int64_t volumes_ns; /* CLOCK_MONOTONIC of the last time */
};

struct container_stats_sample {
    struct agent_stats stats;
    uint64_t nano_cores;
    bool valid;
};

struct container {
    struct pod *pod;
    char id[ID_SIZE];
    struct logfile *log; /* NULL: nobody wants a log file */
    /* under the state lock: */
    unsigned refs;
    Gi__State__ContainerRecord *rec;
    bool unknown;
    bool gone;
    bool stopping;
    struct container_stats_sample sample;
};

/* ---- runtime.c ---- */

/* Opens everything, takes up what an earlier daemon left. CONFIG must outlive it. */
int runtime_open(const struct config *config, struct runtime **ret_rt, struct gi_error *err);
/* Pods run on. */
void runtime_close(struct runtime *rt);
/* Zones get copies of the host's files: they do not see them, or are not to. */
bool runtime_copies_files(const struct runtime *rt);
/* The table of CRI's methods. */
extern const struct rpc_method runtime_methods[];
extern const size_t runtime_n_methods;

/* ---- model.c ---- */

/* Draws "gi-" + 60 hex digits. */
void model_new_id(char id[ID_SIZE]);

/* Exact id, or an unambiguous beginning of one (as crictl passes them on). A
 * reference, or NOT_FOUND as containerd words it. */
int pod_find(struct runtime *rt, const char *id, struct pod **ret_pod, struct gi_error *err);
int container_find(struct runtime *rt, const char *id, struct container **ret_c,
                   struct gi_error *err);
struct pod *pod_ref(struct pod *p);
void pod_unref(struct pod *p);
struct container *container_ref(struct container *c);
void container_unref(struct container *c);
GI_DEFINE_CLEANUP(struct pod *, pod_unref);
GI_DEFINE_CLEANUP(struct container *, container_unref);
#define cleanup_pod       __attribute__((cleanup(pod_unrefp)))
#define cleanup_container __attribute__((cleanup(container_unrefp)))

/* With the state lock held: a new object with one reference for the caller and
 * one for the table. Takes REC. */
struct pod *pod_add(struct runtime *rt, Gi__State__PodRecord *rec);
struct container *container_add(struct pod *p, Gi__State__ContainerRecord *rec);
/* Out of the tables; the table's reference is dropped. */
void pod_drop(struct pod *p);
void container_drop(struct container *c);

/* With the state lock held: what the times say. */
Runtime__V1__PodSandboxState pod_state(const struct pod *p);
Runtime__V1__ContainerState container_state(const struct container *c);

/* Writes the record as it is now. Not with the state lock held. */
int pod_save(struct pod *p, struct gi_error *err);
int container_save(struct container *c, struct gi_error *err);
/* Like those, for who can't report: a failure is logged. */
void container_save_or_log(struct container *c);

void pod_path(const struct pod *p, const char *name, char *out, size_t size);
/* <pod>/<container id>.rec, or with another ending. */
void container_path(const struct container *c, const char *ending, char *out, size_t size);

/* Waits until no other operation runs on the pod. CALL may be NULL (then it
 * waits as long as it takes), else its deadline and cancellation count. */
int pod_begin(struct pod *p, struct rpc_call *call, struct gi_error *err);
void pod_end(struct pod *p);
/* pod_end at the end of the scope. */
static inline void pod_endp(struct pod **p)
{
    if (*p)
        pod_end(*p);
}
#define cleanup_op __attribute__((cleanup(pod_endp), unused))

/* ---- link.c: the connection to agents ---- */

/* Connects to the pod's machine and makes CALLBACKS work. Needs pod_begin. */
int pod_connect(struct pod *p, int timeout_ms, struct gi_error *err);
/* A reference to the connection, or UNAVAILABLE. */
int pod_agent(struct pod *p, struct agent_ref **ret_agent, struct gi_error *err);
void agent_unref(struct agent_ref *a);
GI_DEFINE_CLEANUP(struct agent_ref *, agent_unref);
#define cleanup_agent __attribute__((cleanup(agent_unrefp)))
/* Closes it, if there is one. Not from a callback of it. */
void pod_disconnect(struct pod *p);
/* Called by the ticker: starts what is due. */
void link_tick(struct runtime *rt);
/* Watches the machine for its death. */
int pod_watch(struct pod *p, struct gi_error *err);
/* With the state lock held: the container has ended, if it hadn't yet. */
void container_set_exit(struct container *c, const struct agent_exit *exit, const char *message);
/* Marks what still ran as killed, with MESSAGE; saves. */
void pod_mark_dead(struct pod *p, const char *message);
/* Milliseconds for one request to an agent. */
int agent_patience(const struct runtime *rt, const struct rpc_call *call);

/* ---- pod.c ---- */

int pod_run(struct rpc_call *call, const Runtime__V1__PodSandboxConfig *config, const char *handler,
            char ret_id[ID_SIZE], struct gi_error *err);
/* Needs pod_begin. Idempotent. */
int pod_stop(struct pod *p, struct gi_error *err);
int pod_remove(struct pod *p, struct gi_error *err);
/* Tells gpu-proxy (again) about the pod's zone. *ret_socket may be NULL. */
int pod_make_gpu_zone(struct pod *p, char **ret_socket, struct gi_error *err);

/* ---- podconfig.c: what a request says ---- */

struct pod_wants {
    bool gpu;
    uint64_t gpu_memory;
    uint32_t gpu_weight; /* 0: gpu-proxy's default */
    uint32_t gpu_cap;    /* per cent; 0: gpu-proxy's default */
    uint64_t memory_bytes;
    unsigned vcpus;
};
int podconfig_check(const struct config *config, const Runtime__V1__PodSandboxConfig *pod,
                    const char *handler, struct pod_wants *ret_wants, struct gi_error *err);
/* What a pod's machine is to become; 0 in memory_bytes and vcpus: what it is. Without
 * an OVERHEAD (NULL) it is the one the pod was made with. */
void podconfig_resize(const struct config *config, const Runtime__V1__PodSandboxConfig *pod,
                      const Runtime__V1__LinuxContainerResources *resources,
                      const Runtime__V1__LinuxContainerResources *overhead,
                      struct pod_wants *ret_wants);
/* etc/hosts, etc/hostname, etc/resolv.conf below the pod's folder. */
int podconfig_write_files(const struct pod *p, struct gi_error *err);
/* The same into a volume of the zone (runtime_copies_files). */
#define POD_ETC_VOLUME "pod-etc"
int podconfig_send_files(const struct pod *p, struct agent_client *agent, int timeout_ms,
                         struct gi_error *err);
const char *podconfig_hostname(const Runtime__V1__PodSandboxConfig *pod);

/* ---- container.c ---- */

int container_create(struct rpc_call *call, struct pod *p,
                     const Runtime__V1__ContainerConfig *config, char ret_id[ID_SIZE],
                     struct gi_error *err);
int container_start(struct rpc_call *call, struct container *c, struct gi_error *err);
/* GRACE_S seconds between the stop signal and SIGKILL. */
int container_stop(struct rpc_call *call, struct container *c, int64_t grace_s,
                   struct gi_error *err);
/* Needs pod_begin. */
int container_remove(struct rpc_call *call, struct container *c, struct gi_error *err);
/* Opens the log file; the agent's records go there from then on. */
int container_open_log(struct container *c, struct gi_error *err);
/* Waits until the container has ended; false: it hasn't until then. */
bool container_wait(struct container *c, const struct rpc_call *call, int64_t until_ns);

/* ---- disks.c: images and block devices in a pod's machine ---- */

/* The image that mount I of C's config names, as *RET_NAME (heap) in the machine. Needs pod_begin.
 */
int disks_share_mount(struct container *c, size_t i, char **ret_name, struct gi_error *err);
/* NUMBERS[i], zero before: what the config's device I is in the machine, where that is another
 * than on the host. Needs pod_begin. */
int disks_share_devices(const struct container *c, dev_t *numbers, struct gi_error *err);
/* Those that no other container of the pod has are taken out of the machine; C is out of it
 * already, and still holds its images in the store. What fails is logged: it stays until the pod's
 * end then, or the end of the next container that has it. Needs pod_begin. */
void disks_release(const struct container *c, struct agent_client *agent);

/* ---- volumes.c: host's files for zones that do not see them; runtime_copies_files ---- */

/* Fills SOURCES[i] (heap) for each of the config's mounts that is a host path. Needs pod_begin. */
int volumes_prepare(struct container *c, struct agent_client *agent, int timeout_ms, char **sources,
                    struct gi_error *err);
/* The copies that only C had; it is out of the zone. */
void volumes_release(struct container *c, struct agent_client *agent, int timeout_ms);
/* Whether there are files that C, which has ended, may have changed ... */
bool volumes_to_write_back(const struct container *c);
/* ... and their way back to the host. What fails is logged. Not on an agent's reader thread. */
void volumes_write_back(struct container *c);
/* Called by the ticker: changes on the host get to the zones. */
void volumes_tick(struct runtime *rt);

/* ---- network.c ---- */

int network_open(struct runtime *rt, struct gi_error *err);
void network_close(struct runtime *rt);
/* 0, or why pods can't have networks now. */
int network_ready(struct runtime *rt, struct gi_error *err);
/* Makes the pod's namespace and attaches it. On failure network_down() is owed.
 * INVALID_ARGUMENT names what of the pod's wishes can't be. */
int network_up(struct pod *p, struct gi_error *err);
/* Detaches it; to be tried again when it fails. Idempotent. The record is the caller's to save. */
int network_down(struct pod *p, struct gi_error *err);
/* At the start: removes networks and namespaces of no pod. */
void network_sweep(struct runtime *rt);
/* A pod that is forgotten has left its network: it is taken down as soon as that works. */
void network_owed(struct runtime *rt);
/* Called by the ticker. */
void network_tick(struct runtime *rt);

/* ---- streams.c ---- */

/* Starts the streaming server of exec, attach and port-forward. */
int streams_open(struct runtime *rt, struct gi_error *err);
/* FAILED_PRECONDITION when the container doesn't run. */
int streams_check(struct container *c, struct gi_error *err);

/* ---- restart.c ---- */

/* Reads the records, takes up machines, removes what belongs to nobody. */
int restart_recover(struct runtime *rt, struct gi_error *err);
/* What the agent knows of the pod's containers, into their records; follows
 * their logs. Needs pod_begin and a connection. */
int restart_reconcile(struct pod *p, struct gi_error *err);

#endif
