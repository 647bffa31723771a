/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRI's ContainerConfig and an image's own configuration as an OCI runtime
 * spec 1.0 (config.json). root.path and cgroupsPath are the agent's to fill.
 * Network, IPC and UTS namespaces are the zone's: none of its own is asked for.
 */
#ifndef RT_OCI_SPEC_H
#define RT_OCI_SPEC_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "cri/cri.h"
#include "images.h"

struct oci_input {
    const char *container_id;
    const Runtime__V1__ContainerConfig *config;
    const Runtime__V1__PodSandboxConfig *pod;
    const struct images_image *image;
    const char *hostname;
    const char *etc_dir; /* with hosts, hostname, resolv.conf of the pod */
    bool host_paths;     /* the zone sees the host's files */
    /* One for each of config's mounts that is an image: what stands for its root
     * folder in the zone; NULL for the others. NULL: no mount is one. */
    char *const *image_roots;
    /* The same for those that are the host's files, where it does not see them. */
    char *const *zone_sources;
    /* For each of config's devices what it is in the zone; 0: the same as here. NULL: all are. */
    const dev_t *device_numbers;
    const char *pid_target;  /* whose pid namespace is joined; NULL: no other container's */
    uint64_t available_caps; /* bit n: capability n can be given */
};

struct oci_output {
    char *json; /* heap */
    uint32_t uid, gid;
    uint32_t *groups; /* heap */
    size_t n_groups;
    int stop_signal;
};

/* INVALID_ARGUMENT names the field of the request: "config.mounts[1].host_path: ...".
 * Missing host paths of mounts are made as folders, as the CRI's users expect. */
int oci_spec_write(const struct oci_input *in, struct oci_output *ret_out, struct gi_error *err);
void oci_output_free(struct oci_output *out);
#define cleanup_oci __attribute__((cleanup(oci_output_free)))

/* Capabilities this process could pass on. */
uint64_t oci_own_caps(void);
#define OCI_ALL_CAPS ((UINT64_C(1) << 41) - 1)

/* What oci_spec_write would refuse of the mounts whatever there is on the host. */
int oci_check_mounts(const Runtime__V1__ContainerConfig *config, struct gi_error *err);

/* Number of CRI's Signal, 0 for the runtime's default. */
int oci_cri_signal(Runtime__V1__Signal s);

#endif
