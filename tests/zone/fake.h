/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent of a test's own says and hears on the connection FD; it exits when out of memory.
 */
#ifndef TESTS_ZONE_FAKE_H
#define TESTS_ZONE_FAKE_H

#include "agent/wire.h"

/* The next request, the caller's to free; NULL: the connection ended. */
Gi__Agent__ToAgent *fake_next(int fd);
/* Its id alone; 0: the connection ended. */
uint64_t fake_next_id(int fd);
void fake_send(int fd, const Gi__Agent__FromAgent *msg);
void fake_reply(int fd, Gi__Agent__Reply *r);
/* "Container ID ended with CODE". */
void fake_exit(int fd, const char *id, uint32_t code);
/* Answers the runtime's first request as an agent does. */
void fake_greet(int fd);

#endif
