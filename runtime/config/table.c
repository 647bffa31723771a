/* SPDX-License-Identifier: Apache-2.0 */
#include "config/table.h"

#include "base/cleanup.h"

#ifndef GI_LIBEXECDIR
#define GI_LIBEXECDIR "/usr/libexec/gpu-isolated"
#endif
#ifndef GI_LIBDIR
#define GI_LIBDIR "/usr/lib/gpu-isolated"
#endif

#define STR(field, def, t)                                                                         \
    {                                                                                              \
#field, CONFIG_STRING, offsetof(struct config, field), def, NULL, 0, 0, t                  \
    }
#define PATH(field, def, t)                                                                        \
    {                                                                                              \
#field, CONFIG_PATH, offsetof(struct config, field), def, NULL, 0, 0, t                    \
    }
#define CHOICE(field, def, c, t)                                                                   \
    {                                                                                              \
#field, CONFIG_CHOICE, offsetof(struct config, field), def, c, 0, 0, t                     \
    }
#define FLAG(field, def, t)                                                                        \
    {                                                                                              \
#field, CONFIG_BOOL, offsetof(struct config, field), def, NULL, 0, 0, t                    \
    }
#define NUM(field, def, lo, hi, t)                                                                 \
    {                                                                                              \
#field, CONFIG_NUMBER, offsetof(struct config, field), def, NULL, lo, hi, t                \
    }
#define SIZE(field, def, lo, hi, t)                                                                \
    {                                                                                              \
#field, CONFIG_SIZE, offsetof(struct config, field), def, NULL, lo, hi, t                  \
    }
#define LIST(field, def, t)                                                                        \
    {                                                                                              \
#field, CONFIG_STRINGS, offsetof(struct config, field), def, NULL, 0, 0, t                 \
    }

const struct config_key config_keys[] = {
    PATH(socket, "\"/run/gpu-isolated/runtime.sock\"",
         "The unix socket that the kubelet, crictl and gpuictl connect to."),
    {"socket_mode", CONFIG_MODE, offsetof(struct config, socket_mode), "\"0660\"", NULL, 0, 0777,
     "Permissions of that socket. Who may connect to it may run anything on this host."},
    STR(socket_group, "\"\"", "Group of that socket; \"\": the runtime's own."),
    PATH(run_dir, "\"/run/gpu-isolated\"",
         "Volatile state: machines' sockets and records. Best on a tmpfs."),
    PATH(state_dir, "\"/var/lib/gpu-isolated\"",
         "Persistent state: records of pods and containers, images, scratch space."),
    CHOICE(log_level, "\"info\"", "error|warning|info|debug",
           "What is written to stderr. debug: calls that only read, too."),
    CHOICE(machine_driver, "\"local\"", "local|xen",
           "What a pod's machine is. xen: a Xen domain. local: Linux namespaces on this host, NO "
           "security boundary, to try and to test."),
    PATH(agent_path, "\"" GI_LIBEXECDIR "/gpu-isolated-agent\"",
         "The program that runs as a zone's first process (driver local)."),
    PATH(libvgpu_path, "\"" GI_LIBDIR "/libcuda.so.1\"",
         "The library put into containers of pods with a GPU (driver local)."),
    STR(oci_runtime, "\"auto\"",
        "The OCI runtime in a zone (driver local): a path to crun or runc, or auto for what this "
        "host's cgroups allow."),
    PATH(xen_kernel, "\"" GI_LIBDIR "/zone-vmlinux\"",
         "A zone's kernel (driver xen), as guest-image/kernel builds it."),
    PATH(xen_root, "\"" GI_LIBDIR "/zone.erofs\"",
         "A zone's root file system (driver xen), as guest-image/rootfs builds it."),
    STR(xen_cmdline, "\"console=hvc0 quiet root=/dev/xvda ro rootfstype=erofs\"",
        "The zone kernel's command line (driver xen); the agent's options are put behind it."),
    CHOICE(xen_zone_type, "\"auto\"", "auto|pvh|pv",
           "What Xen makes of a zone (driver xen). auto: PVH, and PV where the processor has no "
           "virtualization with nested paging."),
    SIZE(xen_scratch_size, "\"10Gi\"", 0, 0,
         "What the containers of a pod can write in all (driver xen): a disk that takes space in "
         "state_dir as it is used. 0: they write into the pod's memory."),
    NUM(xen_resize_factor, "1", 1, 16,
        "How many times the memory and processors it starts with a pod can get while it runs "
        "(driver xen; UpdatePodSandboxResources, gpuictl update). 1: less, and back. What it could "
        "have costs memory (a sixtieth of it) and time at its start: the kernel first gives back "
        "what "
        "it has not got."),
    PATH(xen_block_script, "\"" GI_LIBEXECDIR "/xen-block\"",
         "What libxl runs when a disk comes or goes (driver xen)."),
    PATH(xen_vif_script, "\"" GI_LIBEXECDIR "/xen-vif\"",
         "What libxl runs when a pod's network comes or goes (driver xen)."),
    STR(xen_gpu_root, "\"\"",
        "The driver domain's root file system (driver xen), as guest-image/driver builds it, or "
        "guest-image/rootfs with the simulated GPU; \"\": no driver domain, pods with a GPU are "
        "refused."),
    SIZE(xen_gpu_memory, "\"1Gi\"", 128 << 20, 0, "The driver domain's memory (driver xen)."),
    LIST(xen_gpu_devices, "[]",
         "PCI addresses as \"0000:01:00.0\" of the GPUs that the driver domain gets (driver xen). "
         "They must be assignable (xl pci-assignable-add), and there must be an IOMMU."),
    CHOICE(xen_gpu_type, "\"auto\"", "auto|pvh|hvm",
           "What Xen makes of the driver domain (driver xen). auto: HVM when it gets GPUs, else "
           "PVH. HVM needs the Debian package qemu-system-xen."),
    STR(xen_gpu_kernel, "\"\"",
        "The driver domain's kernel (driver xen), for HVM a vmlinuz; \"\": the zones'."),
    STR(xen_gpu_cmdline, "\"console=hvc0 quiet root=/dev/xvde ro rootfstype=erofs\"",
        "Its kernel's command line (driver xen). Words nvidia.KEY=VALUE are options of that "
        "kernel module."),
    PATH(gpu_proxy_socket, "\"/run/gpu-isolated/gpu-proxy.sock\"",
         "gpu-proxy's control socket. It need not exist until a pod asks for the GPU. With the "
         "driver xen it is made here, and leads into the driver domain."),
    CHOICE(host_files, "\"auto\"", "auto|copied",
           "How containers get mounted files and folders of the host. copied: as a pod that is a "
           "Xen domain always does (docs/volumes.md). auto: with the driver local, mounted."),
    LIST(handlers, "[\"gpu-isolated\"]",
         "Runtime handlers (RuntimeClass.handler) whose pods are run here."),
    STR(default_handler, "\"gpu-isolated\"",
        "The handler of a pod that names none; \"\": such pods are refused."),
    CHOICE(cgroup_driver, "\"cgroupfs\"", "cgroupfs|systemd",
           "What the kubelet is told: how it is to name pods' cgroups."),
    {"registries", CONFIG_REGISTRIES, offsetof(struct config, registries), "[]", NULL, 0, 0,
     "Image registries that differ from the usual (https, system certificates, no mirror)."},
    LIST(pinned_images, "[]", "Image references that are never garbage-collected."),
    NUM(parallel_layers, "3", 1, 32, "Layers of one image that are downloaded at once."),
    SIZE(max_image_bytes, "\"64Gi\"", 1 << 20, 0, "The largest image, unpacked."),
    FLAG(discard_layers, "false",
         "Delete compressed layers once they are unpacked: less disk, but layers that images share "
         "are downloaded again."),
    SIZE(default_memory, "0", 0, 0,
         "Memory of a machine whose pod has no limit; 0: the driver's default."),
    NUM(default_vcpus, "0", 0, 512,
        "CPUs of a machine whose pod has no limit; 0: the driver's default."),
    SIZE(default_gpu_memory, "0", 0, 0,
         "GPU memory of a pod that asks for the GPU without gpu-isolated.dev/gpu-memory; 0: "
         "gpu-proxy's default."),
    SIZE(scratch_bytes, "0", 0, 0, "Quota of a container's writable layer; 0: the zone's default."),
    NUM(max_pods, "1000", 1, 100000, "Pods at once, ready or not."),
    NUM(max_containers, "128", 1, 1000, "Containers of one pod, running or not."),
    NUM(max_calls, "256", 4, 4096, "CRI calls under way at once; lists and statuses don't count."),
    SIZE(max_message_bytes, "\"16Mi\"", 1 << 16, 256 << 20, "The longest CRI message, each way."),
    SIZE(exec_output_bytes, "\"16Mi\"", 1 << 12, 256 << 20,
         "The most output that ExecSync returns, both streams together; more is read and dropped."),
    CHOICE(
        network, "\"cni\"", "cni|none",
        "Pods' networks. cni: by CNI plugins, as every Kubernetes node has them. none: a loopback "
        "interface only."),
    PATH(cni_conf_dir, "\"/etc/cni/net.d\"",
         "Where CNI network configurations are; the first by name counts."),
    LIST(cni_bin_dirs, "[\"/opt/cni/bin\", \"/usr/lib/cni\"]",
         "Where CNI plugins are looked for, in this order."),
    STR(streaming_address, "\"127.0.0.1\"",
        "Where exec, attach and port-forward are served; the kubelet connects there."),
    NUM(streaming_port, "0", 0, 65535, "The port of that; 0: any that is free."),
    NUM(streaming_idle_ms, "14400000", 1000, 2000000000,
        "Milliseconds without a byte after which a stream is cut."),
    NUM(machine_start_ms, "60000", 100, 3600000,
        "Milliseconds a machine may take until its agent answers."),
    NUM(agent_timeout_ms, "60000", 100, 3600000, "Milliseconds an agent may take for one request."),
};
const size_t config_n_keys = GI_ARRAY_SIZE(config_keys);

#define REG(field, type, def, t)                                                                   \
    {                                                                                              \
#field, type, offsetof(struct config_registry, field), def, NULL, 0, 0, t                  \
    }

const struct config_key config_registry_keys[] = {
    REG(host, CONFIG_STRING, NULL,
        "Name and port as in image references: \"docker.io\", \"registry.k8s.io\", "
        "\"127.0.0.1:5000\". Must be given."),
    REG(mirrors, CONFIG_STRINGS, "[]",
        "Base URLs tried in this order before the host itself: \"http://127.0.0.1:5000\"."),
    REG(plain_http, CONFIG_BOOL, "false",
        "The host is asked by http. Loopback hosts without an entry here are, too."),
    REG(insecure_skip_verify, CONFIG_BOOL, "false", "Certificates are not checked."),
    REG(ca_file, CONFIG_PATH, "\"\"", "Certificates to trust instead of the system's (PEM)."),
};
const size_t config_n_registry_keys = GI_ARRAY_SIZE(config_registry_keys);

const char *config_type_name(const struct config_key *k)
{
    switch (k->type) {
    case CONFIG_STRING:
    case CONFIG_CHOICE:
        return "a string";
    case CONFIG_PATH:
        return "an absolute path";
    case CONFIG_BOOL:
        return "true or false";
    case CONFIG_NUMBER:
        return "a whole number";
    case CONFIG_MODE:
        return "an octal number in a string";
    case CONFIG_SIZE:
        return "a number of bytes, or a string as \"4Gi\"";
    case CONFIG_STRINGS:
        return "a list of strings";
    case CONFIG_REGISTRIES:
        return "a list of objects";
    }
    return "?";
}
