/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest CRI server: what the client's test talks to. One thread. */
#ifndef MINI_SERVER_H
#define MINI_SERVER_H

struct mini_server;

/* Version answers the version asked for as runtime_name, "big" with a
 * runtime_version of 20 MiB; StopContainer never answers; RemoveImage fails
 * with FAILED_PRECONDITION "in use"; StreamImages sends 3 messages of 1 image,
 * then OK (DATA_LOSS if the filter names "broken"); GetContainerEvents sends
 * one event, then nothing; the rest is UNIMPLEMENTED. */
struct mini_server *mini_server_start(const char *socket_path);
void mini_server_stop(struct mini_server *s);

#endif
