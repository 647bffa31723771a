/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A GPU container's door: a unix socket bind-mounted into it, behind which the
 * agent makes each client's channel and hands it to client and gpu-proxy.
 */
#ifndef AGENT_GPU_H
#define AGENT_GPU_H

#include "agent.h"

#define GPU_CONTAINER_FOLDER "/run/gpu-isolated"
#define GPU_SOCKET_NAME      "gpu.sock"

struct gpu;

/* Listens at FOLDER/gpu.sock (made, with its folder). */
int gpu_new(struct agent *a, const char *folder, struct gpu **ret_gpu, struct gi_error *err);
/* Ends the container's clients. NULL is fine. */
void gpu_free(struct gpu *g);

#endif
