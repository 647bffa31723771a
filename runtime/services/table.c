/* SPDX-License-Identifier: Apache-2.0 */
/* CRI's methods that are answered here; all others are UNIMPLEMENTED. */
#include "services/services.h"

#define FAST (RPC_READ | RPC_FAST)
#define LIST (FAST | RPC_AT_ONCE)

const struct rpc_method runtime_methods[] = {
    {"Version", cri_version, LIST},
    {"Status", cri_status, RPC_READ},
    {"RuntimeConfig", cri_runtime_config, FAST},
    {"UpdateRuntimeConfig", cri_update_runtime_config, RPC_FAST},
    {"RunPodSandbox", cri_run_pod_sandbox, 0},
    {"StopPodSandbox", cri_stop_pod_sandbox, 0},
    {"RemovePodSandbox", cri_remove_pod_sandbox, 0},
    {"PodSandboxStatus", cri_pod_sandbox_status, FAST},
    {"ListPodSandbox", cri_list_pod_sandbox, LIST},
    {"CreateContainer", cri_create_container, 0},
    {"StartContainer", cri_start_container, 0},
    {"StopContainer", cri_stop_container, 0},
    {"RemoveContainer", cri_remove_container, 0},
    {"ListContainers", cri_list_containers, LIST},
    {"ContainerStatus", cri_container_status, FAST},
    {"ExecSync", cri_exec_sync, RPC_READ},
    {"Exec", cri_exec, RPC_READ},
    {"Attach", cri_attach, RPC_READ},
    {"PortForward", cri_port_forward, RPC_READ},
    {"ReopenContainerLog", cri_reopen_container_log, 0},
    {"ContainerStats", cri_container_stats, RPC_READ},
    {"ListContainerStats", cri_list_container_stats, RPC_READ},
    {"PodSandboxStats", cri_pod_sandbox_stats, RPC_READ},
    {"ListPodSandboxStats", cri_list_pod_sandbox_stats, RPC_READ},
    {"StreamPodSandboxes", cri_stream_pod_sandboxes, FAST},
    {"StreamContainers", cri_stream_containers, FAST},
    {"StreamContainerStats", cri_stream_container_stats, RPC_READ},
    {"StreamPodSandboxStats", cri_stream_pod_sandbox_stats, RPC_READ},
    {"StreamPodSandboxMetrics", cri_stream_pod_sandbox_metrics, RPC_READ},
    {"ListMetricDescriptors", cri_list_metric_descriptors, FAST},
    {"ListPodSandboxMetrics", cri_list_pod_sandbox_metrics, RPC_READ},
    {"GetContainerEvents", cri_get_container_events, RPC_READ},
    {"UpdateContainerResources", cri_update_container_resources, 0},
    {"UpdatePodSandboxResources", cri_update_pod_sandbox_resources, 0},
    {"CheckpointContainer", cri_checkpoint_container, RPC_FAST},
    {"CheckpointPod", cri_checkpoint_pod, RPC_FAST},
    {"RestorePod", cri_restore_pod, RPC_FAST},
    {"StreamImages", cri_stream_images, FAST},
    {"ListImages", cri_list_images, LIST},
    {"ImageStatus", cri_image_status, FAST},
    {"PullImage", cri_pull_image, 0},
    {"RemoveImage", cri_remove_image, 0},
    {"ImageFsInfo", cri_image_fs_info, RPC_READ},
};
const size_t runtime_n_methods = GI_ARRAY_SIZE(runtime_methods);
