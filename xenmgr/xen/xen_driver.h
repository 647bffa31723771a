/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the `xen` driver: a machine is a Xen domain that libxl builds.
 *
 * Threads. libxl may be called by many threads, but one context does one thing
 * at a time: a domain's build holds it for seconds. So every operation has a
 * context of its own (operation_begin), which also gives it its own error
 * text; a context is made in a millisecond. One more context, events.c's, lives
 * as long as the driver: only it knows of deaths.
 *
 * What says that a domain is a zone of ours, in xenstore, where only dom0 can
 * write (a guest can't, whatever its own folder says):
 *
 *   /gpu-isolated/zones/<id>/domid   the number it was given
 *                           /uuid    of the domain, so that a number used again is no zone
 *                           /disks/N the image that is its disk N
 *   /gpu-isolated/drivers/<domid>    there while that driver domain is up; all may read it
 *
 * Invariants:
 *  X1  The entry is written before the domain is built and removed after it is gone.
 *  X2  A domain is <id>'s only when its uuid is the entry's.
 *  X3  A domain named "gi-..." without an entry is nobody's: swept.
 */
#ifndef GI_XENMGR_XEN_DRIVER_H
#define GI_XENMGR_XEN_DRIVER_H

#include <libxl.h>
#include <libxl_utils.h>
#include <pthread.h>
#include <stdbool.h>
#include <xen/xen.h>
#include <xenstore.h>

#include "base/buf.h"
#include "driver.h"
#include "link/link.h"

#define XEN_NAME_PREFIX "gi-"
#define DOMID_END       ((uint32_t)DOMID_FIRST_RESERVED)

struct xen {
    char *run_dir;
    char *kernel, *root_image, *cmdline, *block_script, *vif_script;
    char description[160];
    bool can_pvh;  /* there is hardware virtualization */
    bool pvh;      /* zones are PVH domains, else PV */
    int root_loop; /* keeps the root image's loop device */
    char root_device[32];
    uint64_t scratch_bytes; /* 0: zones have no scratch disks */
    char *scratch_dir;
    int scratch_empty; /* the empty file system */
    pthread_mutex_t lock;
    pthread_cond_t build_done;
    unsigned builds, max_builds;
    unsigned resize_factor; /* times its size a zone can grow to */
    uint32_t last_zone;
    struct events *events;
    struct consoles *consoles;
    struct gpu_domain *gpu;
};

/* ---- xen.c ---- */

int xen_draw_zone(void *driver, uint32_t *ret_zone, struct gi_error *err);
/* PATH, the value of the configuration's KEY, is absolute and can be read. */
int xen_check_file(const char *key, const char *path, struct gi_error *err);

/* ---- operation.c ---- */

/* libxl's words while an operation runs. */
struct operation {
    xentoollog_logger logger; /* first: libxl is given this */
    char why[256];            /* the first error line: later ones follow from it */
    libxl_ctx *ctx;
};

int operation_begin(struct operation *op, struct gi_error *err);
void operation_end(struct operation *op);
#define cleanup_operation __attribute__((cleanup(operation_end)))
/* "what: libxl's own words". RC is libxl's. */
int operation_failed(const struct operation *op, struct gi_error *err, int rc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
extern const libxl_childproc_hooks xen_children;

/* ---- zones.c ---- */

struct zone_entry {
    uint32_t domid;
    libxl_uuid uuid;
};

int zone_entry_write(const char *id, const struct zone_entry *e, struct gi_error *err);
/* NOT_FOUND; DATA_LOSS when it says nothing sensible. */
int zone_entry_read(const char *id, struct zone_entry *ret, struct gi_error *err);
int zone_entry_remove(const char *id, struct gi_error *err);
/* X2: whether the entry's own domain is there. */
bool zone_lives(struct operation *op, const struct zone_entry *e);
/* The entry of a zone whose domain lives, with OP begun. NOT_FOUND. */
int zone_find(const char *id, struct operation *op, struct zone_entry *ret, struct gi_error *err);
/* The key that tells zones of a driver domain's life; there already, or gone already, is success.
 */
int driver_announce(uint32_t domid, struct gi_error *err);
void driver_withdraw(uint32_t domid);
/* The number of the disk that is, or is to be, TREE, an image's or what else stands for a disk: 1
 * (xvdb) to ZONE_DISKS; calls on one zone come one at a time. */
#define ZONE_DISKS 24u
int zone_disk_take(const char *id, const char *tree, unsigned *ret_number, bool *ret_there,
                   struct gi_error *err);
/* NOT_FOUND: it has none of TREE. */
int zone_disk_find(const char *id, const char *tree, unsigned *ret_number, struct gi_error *err);
void zone_disk_give(const char *id, unsigned number);
/* Heap array of heap strings. */
int zone_entry_list(char ***ret_ids, size_t *ret_n, struct gi_error *err);

/* ---- events.c ---- */

/* One machine's death, as events.c sees it. */
struct death {
    struct death *next;
    uint32_t domid;
    int fd; /* eventfd: readable when it is dead */
    libxl_evgen_domain_death *evgen;
    char reason[64];
};

int events_start(struct events **ret, struct gi_error *err);
void events_stop(struct events *e);
int events_watch(struct events *e, uint32_t domid, struct death **ret, struct gi_error *err);
void events_unwatch(struct events *e, struct death *d);

#define DEATH_BY_CRASH "the domain crashed"
/* Why it died; "" while it lives. */
void events_reason(struct events *e, const struct death *d, char out[64]);

/* ---- console.c; any thread ---- */

struct consoles;
struct console;

int consoles_start(struct consoles **ret, struct gi_error *err);
void consoles_stop(struct consoles *all); /* and closes each; NULL is fine */
/* NULL: no memory; the functions below take that. */
struct console *console_open(struct consoles *all, uint32_t domid);
void console_close(struct console *c);
/* The last of what it said, printable; heap, NULL: nothing known. */
char *console_text(struct console *c);
/* The line that tells most: that of its kernel's panic, else the last. */
#define CONSOLE_WORDS 160
void console_last_words(struct console *c, char out[CONSOLE_WORDS]);

/* ---- host_link.c ---- */

struct host_link;

/* To the agent of a domain that may still boot. UNAVAILABLE when it dies meanwhile
 * (DEATH_FD is readable), CANCELLED (STOP_FD is; -1: none), DEADLINE_EXCEEDED. */
int host_link_connect(uint32_t domid, enum link_kind kind, int death_fd, int stop_fd,
                      int timeout_ms, struct host_link **ret, struct gi_error *err);
bool host_link_up(const struct host_link *h); /* NULL: no */
/* A new stream to the agent. */
/* FD, connected here, is connected to the other end; taken on success. */
int host_link_carry(struct host_link *h, int fd, struct gi_error *err);
int host_link_open(struct host_link *h, int *ret_fd, struct gi_error *err);
void host_link_free(struct host_link *h);

/* ---- zones.c ---- */

/* What the driver keeps of a domain that it made or adopted. */
struct domain {
    uint32_t domid;
    struct death *death;
    struct console *console;
    struct host_link *link; /* NULL: none yet, or it broke */
};

/* As machine_facts.state; takes over what D has. */
int zone_facts(const struct domain *d, struct machine_facts *ret, struct gi_error *err);

/* ---- gpu_domain.c ---- */

struct gpu_domain;

/* ROOT NULL or "": none; *RET is NULL, and zones with a GPU are refused. */
int gpu_domain_start(struct xen *x, const struct xenmgr_config *c, struct gpu_domain **ret,
                     struct gi_error *err);
/* The domain runs on. NULL is fine. */
void gpu_domain_stop(struct gpu_domain *g);
/* The number of the driver domain that runs now. UNAVAILABLE says why there is none. */
int gpu_domain_get(struct gpu_domain *g, uint32_t *ret_domid, struct gi_error *err);

/* ---- create.c ---- */

struct domain_plan {
    const char *id;
    uint32_t domid;
    libxl_domain_type type;
    const char *kernel, *cmdline;
    const char *root_device, *root_vdev;
    const char *scratch_device; /* NULL: none */
    const libxl_device_pci *pci;
    size_t n_pci;
    uint64_t memory_bytes; /* 0: default */
    unsigned vcpus;        /* 0: default */
    unsigned growth;       /* times memory and vcpus it may get later; 0: as 1 */
    enum link_kind link;
    int stop_fd;           /* readable: the boot is given up; 0: none */
    const struct nic *nic; /* NULL: none */
    const char *netns;     /* where it belongs */
};

/* Builds and starts a domain, waits for its link. On failure nothing is left. */
int domain_make(struct xen *x, const struct domain_plan *p, int timeout_ms, struct domain *ret,
                struct gi_error *err);
/* Lets go of what we keep of it; the domain lives on. */
void domain_forget(struct xen *x, struct domain *d);

int xen_create(void *driver, const struct machine_config *config, int timeout_ms,
               struct machine_facts *ret_facts, struct gi_error *err);
/* A domain's memory as libxl wants it, for BYTES; 0: the default. */
uint64_t xen_memory_kb(uint64_t bytes);
/* Gone already: success. */
int xen_end_domain(struct xen *x, uint32_t domid, int grace_ms, struct gi_error *err);

/* ---- resize.c ---- */

/* Asks the domain's kernel to have its first VCPUS processors; 0, or libxl's error. */
int xen_online(struct operation *op, uint32_t domid, unsigned vcpus);
/* driver.resize. FAILED_PRECONDITION: it was not made for so much, or uses more than it would
 * have. May take PATIENCE_MS for each of the two. */
int xen_resize(void *driver, const char *id, uint64_t memory_bytes, unsigned vcpus,
               struct gi_error *err);

/* ---- pci.c ---- */

#define PCI_DEVICES_MAX 16u

/* Reads "0000:01:00.0" into *RET, which needs no disposal. INVALID_ARGUMENT: it is none. */
int pci_parse(const char *text, libxl_device_pci *ret, struct gi_error *err);

/* ---- disk.c ---- */

#define ROOT_VDEV "xvda"

/* Fills *D, which the caller disposes of, on failure too. */
int disk_describe(const struct xen *x, const char *device, const char *vdev, libxl_device_disk *d);
/* Runs a program of Debian's PACKAGE to its end; it must succeed. */
int run_program(const char *const argv[], const char *package, struct gi_error *err);
int disk_share_image(struct xen *x, const char *id, const struct machine_facts *m, const char *tree,
                     char **ret_name, struct gi_error *err);
/* driver.unshare_image. A guest that keeps its disk loses it after libxl's ten seconds. */
int disk_unshare_image(struct xen *x, const char *id, const struct machine_facts *m,
                       const char *tree, machine_let_go let_go, void *data, struct gi_error *err);
/* driver.share_device and driver.unshare_device. */
int disk_share_device(struct xen *x, const char *id, const struct machine_facts *m,
                      const char *host_path, bool writable, dev_t *ret_number,
                      struct gi_error *err);
int disk_unshare_device(struct xen *x, const char *id, const struct machine_facts *m,
                        const char *host_path, bool writable, struct gi_error *err);

/* ---- nic.c ---- */

#define NIC_ADDRESSES 4u /* each is two words of a kernel's 32 for init */
#define NIC_ROUTES    4u
#define NIC_TEXT      104u

struct nic {
    unsigned char mac[6];
    int mtu;
    size_t n_addresses, n_routes;
    char addresses[NIC_ADDRESSES][NIC_TEXT]; /* "10.1.0.5/16" */
    char routes[NIC_ROUTES][NIC_TEXT];       /* "0.0.0.0/0=10.1.0.1" */
};

/* What eth0 in the namespace NETNS is set to. FAILED_PRECONDITION: there is none. */
int nic_read(const char *netns, struct nic *ret, struct gi_error *err);
/* Fills *D, which the caller disposes of, on failure too. */
int nic_describe(const struct nic *n, const char *netns, const char *script, libxl_device_nic *d);
/* The agent's options for it. Negative: B is full. */
int nic_words(const struct nic *n, struct gi_buf *b);

/* ---- loop.c ---- */

/* A read-only loop device over IMAGE that lives while *RET_FD or a domain has it open. */
int loop_open(const char *image, int *ret_fd, char device[32], struct gi_error *err);
/* The same over the open FILE, NAME is for people. */
int loop_of(int file, const char *name, bool writable, int *ret_fd, char device[32],
            struct gi_error *err);

/* ---- scratch.c ---- */

#define SCRATCH_VDEV "xvdz" /* behind the last of ZONE_DISKS */

/* Disks of SIZE bytes, 0: none; their files are in DIR. */
int scratch_open(struct xen *x, const char *dir, uint64_t size, struct gi_error *err);
/* An empty one; *RET_LOOP keeps DEVICE until a domain has it open. */
int scratch_make(const struct xen *x, int *ret_loop, char device[32], struct gi_error *err);

#endif
