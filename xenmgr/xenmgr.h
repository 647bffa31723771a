/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xenmgr: one machine per pod. The only door to libxl, xenstore and the set-up
 * of namespaces: nobody else knows which driver is behind a machine.
 *
 *   xen    the product: a Xen domain made by libxl
 *   local  the same agent in fresh Linux namespaces; NO security boundary
 *
 * Thread rules: every function may be called from any thread; calls on one
 * machine are serialized inside. A machine outlives the daemon: after a
 * restart machine_adopt() finds it again.
 */
#ifndef GI_XENMGR_H
#define GI_XENMGR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct xenmgr;
struct machine;

struct xenmgr_config {
    const char *driver;        /* "local" or "xen" */
    const char *run_dir;       /* volatile: sockets, pid records; 0700 */
    const char *state_dir;     /* scratch space of containers */
    const char *agent_path;    /* local: gpu-isolated-agent */
    const char *libvgpu_path;  /* local: libcuda.so.1 put into GPU containers */
    const char *xen_kernel;    /* xen: a zone's kernel, as libxl boots it */
    const char *xen_root;      /* xen: a zone's root file system, an EROFS image */
    const char *xen_cmdline;   /* xen: the kernel's command line; " -- " and the agent's options are
                                  put behind it */
    const char *xen_zone_type; /* xen: "auto" (also NULL), "pvh" or "pv" */
    const char *xen_vif_script;   /* xen: libxl's hotplug script for networks */
    const char *xen_block_script; /* xen: the same for our disks */
    uint64_t xen_scratch_bytes;   /* xen: what a zone's containers can write; 0: into its memory */
    unsigned xen_resize_factor;   /* xen: times its size that a zone can grow to; 0: 1 */
    const char *xen_gpu_root;     /* xen: the driver domain's root file system; NULL or "": none */
    uint64_t xen_gpu_memory;      /* xen: the driver domain's memory; 0: default */
    const char *const
        *xen_gpu_devices;         /* xen: PCI addresses of its GPUs, NULL-terminated; or NULL */
    const char *xen_gpu_type;     /* xen: "auto" (also NULL), "pvh" or "hvm" */
    const char *xen_gpu_kernel;   /* xen: its kernel; NULL or "": the zones' */
    const char *xen_gpu_cmdline;  /* xen: its kernel's command line; NULL: xen_cmdline */
    const char *gpu_proxy_socket; /* xen: where gpu-proxy's control socket appears on this host */
    const char *oci_runtime;      /* local: "auto", or a path to crun or runc */
};

int xenmgr_open(const struct xenmgr_config *config, struct xenmgr **ret_mgr, struct gi_error *err);
void xenmgr_close(struct xenmgr *mgr); /* machines run on */

/* One line for Status and the log: "local: runc 1.1.5, cgroup v1, NOT a security boundary". */
const char *xenmgr_describe(const struct xenmgr *mgr);

/* Whether machines are on this host's kernel and see its files: paths given to
 * containers are then the host's. Otherwise what a container needs is put into
 * volumes by the agent. */
bool xenmgr_shares_host(const struct xenmgr *mgr);

struct machine_config {
    const char *id; /* the sandbox id */
    const char *hostname;
    const char *const *sysctls; /* "key=value" strings, NULL-terminated; NULL: none */
    const char *netns_path;     /* network namespace to join; NULL: a fresh one with loopback up */
    const char *gpu_socket;     /* gpu-proxy's socket of this zone; NULL: no GPU */
    const char *cgroup_parent;  /* from the pod, may be NULL */
    uint64_t memory_bytes;      /* 0: driver's default */
    unsigned vcpus;             /* 0: driver's default */
    uint32_t zone_id;           /* from xenmgr_draw_zone; 0: the driver draws one itself */
};

/* The zone id of a machine that is made next: gpu-proxy must know the zone
 * before there is a socket to give to the machine. Never 0, never one in use;
 * one that is drawn and not used is simply skipped. */
int xenmgr_draw_zone(struct xenmgr *mgr, uint32_t *ret_zone, struct gi_error *err);

/* Builds and starts the machine; returns when its agent accepts connections or
 * the time is up. On failure nothing is left behind. ALREADY_EXISTS when the
 * id is in use. */
int machine_create(struct xenmgr *mgr, const struct machine_config *config, int timeout_ms,
                   struct machine **ret_machine, struct gi_error *err);

/* The ids of all machines of this driver that exist now, adopted or not; heap
 * array of heap strings. */
int machine_list(struct xenmgr *mgr, char ***ret_ids, size_t *ret_n, struct gi_error *err);

/* Takes up a machine that an earlier daemon made. NOT_FOUND when it is gone. */
int machine_adopt(struct xenmgr *mgr, const char *id, struct machine **ret_machine,
                  struct gi_error *err);

/* A new stream to the machine's agent; the caller owns the descriptor. */
int machine_connect_agent(struct machine *m, int timeout_ms, int *ret_fd, struct gi_error *err);

/* Makes the unpacked image at HOST_ROOTFS (a read-only folder tree; for xen the
 * EROFS file beside it) visible to the machine; *ret_name (heap) is what
 * agent_container_spec.image_rootfs expects. */
int machine_share_image(struct machine *m, const char *host_rootfs, char **ret_name,
                        struct gi_error *err);
/* Takes an image away that nothing in the machine needs any more. While the machine still has it,
 * LET_GO(DATA, NAME) makes its guest let go of what machine_share_image called NAME; does that
 * fail, the image stays and the error is returned. One that the machine hasn't: success. With
 * `local` there is nothing to take away, and LET_GO isn't called. */
typedef int (*machine_let_go)(void *data, const char *name, struct gi_error *err);
int machine_unshare_image(struct machine *m, const char *host_rootfs, machine_let_go let_go,
                          void *data, struct gi_error *err);

/* Gives the machine the host's block device at HOST_PATH; *ret_number is what it is there, 0: the
 * same as on the host. INVALID_ARGUMENT: it is none; FAILED_PRECONDITION: it is to be written to,
 * and the host itself uses it. What is written by others meanwhile is the caller's affair. */
int machine_share_device(struct machine *m, const char *host_path, bool writable, dev_t *ret_number,
                         struct gi_error *err);
/* Takes it away again, with the same arguments. One that the machine hasn't: success. A guest that
 * holds it loses it after seconds. */
int machine_unshare_device(struct machine *m, const char *host_path, bool writable,
                           struct gi_error *err);

/* A number the host assigned: the zone id gpu-proxy knows this machine by. */
uint32_t machine_zone_id(const struct machine *m);
const char *machine_id(const struct machine *m);
/* Host pid of the zone's init (local), 0 for xen. */
int machine_pid(const struct machine *m);
/* Path to the network namespace as the host sees it (local), NULL for xen. */
const char *machine_netns(const struct machine *m);

struct machine_info {
    const char *kind;      /* "PVH domain", "PV domain"; the driver's name where that is all */
    uint64_t memory_bytes; /* 0, as in what follows: not known */
    uint64_t cpu_ns;       /* all its processors, since it was made */
    unsigned vcpus;
    char *console; /* heap: the last of what it said on its console, printable; NULL */
};

/* What the host knows of it. May take milliseconds; never waits for the guest. */
int machine_info(struct machine *m, struct machine_info *ret, struct gi_error *err);
void machine_info_free(struct machine_info *info);

/* New limits of a machine that runs; 0: stays as it is. FAILED_PRECONDITION: it uses
 * more now, or one of its containers may; what was not refused is set. UNIMPLEMENTED:
 * the driver can't. */
int machine_resize(struct machine *m, uint64_t memory_bytes, unsigned vcpus, struct gi_error *err);

/* Stops all its processors, and lets them run on: for who looks into it from the host. Again is
 * a success. Its agent does not answer meanwhile. UNIMPLEMENTED: the driver can't. */
int machine_pause(struct machine *m, struct gi_error *err);
int machine_unpause(struct machine *m, struct gi_error *err);

/* "the domain crashed; on its console: ..." */
#define MACHINE_REASON 256

/* Calls FN once, on xenmgr's own thread, when the machine is no more. REASON is FN's until it
 * returns. */
int machine_watch(struct machine *m, void (*fn)(void *data, struct machine *m, const char *reason),
                  void *data, struct gi_error *err);

bool machine_alive(struct machine *m);

/* Graceful end with GRACE_MS, then by force; all its resources (mounts,
 * namespaces, cgroups, scratch) are gone on return. Idempotent. */
int machine_destroy(struct machine *m, int grace_ms, struct gi_error *err);
struct machine *machine_ref(struct machine *m);
/* Frees the handle only. */
void machine_put(struct machine *m);

/* Sweeps what a crash left of machines that no longer live (mounts, cgroups,
 * folders), except those whose id KEEP returns true for. */
int xenmgr_sweep(struct xenmgr *mgr, bool (*keep)(void *data, const char *id), void *data,
                 struct gi_error *err);

#endif
