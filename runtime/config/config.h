/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime's configuration: a JSON file (comments allowed) and the drop-ins
 * beside it, all described by one table (table.c), from which the parser, the
 * help, --print-config and docs/configuration.md are made.
 */
#ifndef RT_CONFIG_CONFIG_H
#define RT_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define CONFIG_DEFAULT_PATH "/etc/gpu-isolated/config.json"

struct config_registry {
    char *host;
    char **mirrors; /* NULL-terminated */
    bool plain_http;
    bool insecure_skip_verify;
    char *ca_file; /* NULL: system store */
};

struct config {
    char *socket;
    uint64_t socket_mode;
    char *socket_group;
    char *run_dir;
    char *state_dir;
    char *log_level;
    char *machine_driver;
    char *agent_path;
    char *libvgpu_path;
    char *oci_runtime;
    char *xen_kernel;
    char *xen_root;
    char *xen_cmdline;
    char *xen_zone_type;
    uint64_t xen_scratch_size;
    uint64_t xen_resize_factor;
    char *xen_block_script;
    char *xen_vif_script;
    char *xen_gpu_root;
    uint64_t xen_gpu_memory;
    char **xen_gpu_devices;
    char *xen_gpu_type, *xen_gpu_kernel, *xen_gpu_cmdline;
    char *gpu_proxy_socket;
    char *host_files;
    char **handlers;
    char *default_handler;
    char *cgroup_driver;
    struct config_registry *registries;
    uint64_t n_registries;
    char **pinned_images;
    uint64_t parallel_layers;
    uint64_t max_image_bytes;
    bool discard_layers;
    uint64_t default_memory;
    uint64_t default_vcpus;
    uint64_t default_gpu_memory;
    uint64_t scratch_bytes;
    uint64_t max_pods;
    uint64_t max_containers;
    uint64_t max_calls;
    uint64_t max_message_bytes;
    uint64_t exec_output_bytes;
    char *network;
    char *cni_conf_dir;
    char **cni_bin_dirs;
    char *streaming_address;
    uint64_t streaming_port;
    uint64_t streaming_idle_ms;
    uint64_t machine_start_ms;
    uint64_t agent_timeout_ms;
};

/* PATH, then <dir of PATH>/config.d/<name>.json sorted by name; a later file's value
 * replaces an earlier one's. A file that isn't there is an error only when
 * MUST_EXIST. Errors begin with "file:line: ". */
int config_load(const char *path, bool must_exist, struct config **ret_config,
                struct gi_error *err);
void config_free(struct config *c);

/* One file's text over what C holds already. For tests and config_load. */
int config_apply(struct config *c, const char *text, size_t len, const char *what,
                 struct gi_error *err);
int config_defaults(struct config **ret_config, struct gi_error *err);

/* As a file that can be loaded again; with COMMENTS, which JSON has not, about each key. */
int config_print(const struct config *c, bool comments, struct gi_buf *out);
/* The table as docs/configuration.md. */
int config_print_doc(struct gi_buf *out);

/* "1024", "4Gi", "512Mi", "1G": a Kubernetes quantity of bytes (integers with
 * an optional suffix k, M, G, T, P, E, Ki ... Ei). False when it isn't one. */
bool config_parse_size(const char *text, uint64_t *ret_bytes);

#endif
