/* SPDX-License-Identifier: Apache-2.0 */
#include "pod.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

int pod_stop(struct ctl *ctl, char *id, struct gi_error *err)
{
    Runtime__V1__StopPodSandboxRequest request = RUNTIME__V1__STOP_POD_SANDBOX_REQUEST__INIT;
    cleanup_message Runtime__V1__StopPodSandboxResponse *r = NULL;
    request.pod_sandbox_id = id;
    return ctl_call(ctl, "StopPodSandbox", &request.base, -1, &r, err);
}

int pod_stop_container(struct ctl *ctl, char *id, long grace_s, struct gi_error *err)
{
    Runtime__V1__StopContainerRequest request = RUNTIME__V1__STOP_CONTAINER_REQUEST__INIT;
    cleanup_message Runtime__V1__StopContainerResponse *r = NULL;
    request.container_id = id;
    request.timeout = grace_s;
    return ctl_call(ctl, "StopContainer", &request.base, ctl->timeout_ms + (int)grace_s * 1000, &r,
                    err);
}

int pod_remove(struct ctl *ctl, char *id, struct gi_error *err)
{
    Runtime__V1__RemovePodSandboxRequest request = RUNTIME__V1__REMOVE_POD_SANDBOX_REQUEST__INIT;
    cleanup_message Runtime__V1__RemovePodSandboxResponse *r = NULL;
    request.pod_sandbox_id = id;
    return ctl_call(ctl, "RemovePodSandbox", &request.base, -1, &r, err);
}

int pod_remove_container(struct ctl *ctl, char *id, struct gi_error *err)
{
    Runtime__V1__RemoveContainerRequest request = RUNTIME__V1__REMOVE_CONTAINER_REQUEST__INIT;
    cleanup_message Runtime__V1__RemoveContainerResponse *r = NULL;
    request.container_id = id;
    return ctl_call(ctl, "RemoveContainer", &request.base, -1, &r, err);
}

int pod_remove_logs(struct ctl *ctl, const char *uid, struct gi_error *err)
{
    if (!uid || strlen(uid) != 32 || strspn(uid, "0123456789abcdef") != 32)
        return 0;
    cleanup_close int dir = open(ctl->log_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return errno == ENOENT ? 0 : gi_fail_errno(err, errno, "%s", ctl->log_root);
    int rc = gi_remove_tree_at(dir, uid, err);
    /* Fails while there are others, as it should. */
    (void)rmdir(ctl->log_root);
    return rc;
}
