/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is anything of a pod left on a node that has none? Processes, mounts,
 * network namespaces and interfaces, leases (ipam/testnet), cgroups below
 * TEST_CGROUP_PARENT, zones at gpu-proxy, records and folders. Environment:
 * LEAKS_NODE (the node's folder), LEAKS_PROXY (gpu-proxy's socket).
 */
#ifndef LEAKS_H
#define LEAKS_H

/* Waits some seconds for what takes its time; then -1 and a message on stderr. */
int leaks_check(void);

#endif
