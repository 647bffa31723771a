/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libxenvchan alone costs between two domains: the floor under IDM's doorbells
 * and a peer of its copies. tests/bench/xen-inside.sh runs both ends.
 *   vchan-bench serve DOMID           in a zone; DOMID is the other end's
 *   vchan-bench call DOMID            in dom0; DOMID is the zone's
 */
#include <libxenvchan.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define NODE       "data/vchan/bench"
#define RING       65536
#define ROUNDS     100
#define BULK_BYTES (4u << 20)
#define CHUNK      65536u
#define CONNECT_S  60

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void whole(struct libxenvchan *chan, char *data, size_t n, bool out)
{
    for (size_t at = 0; at < n;) {
        int part = out ? libxenvchan_write(chan, data + at, n - at)
                       : libxenvchan_read(chan, data + at, n - at);
        if (part <= 0)
            die(out ? "write" : "read");
        at += (size_t)part;
    }
}

static void serve(int domid, char *buffer)
{
    char byte = 0;
    struct libxenvchan *chan = libxenvchan_server_init(NULL, domid, NODE, RING, RING);
    if (!chan)
        die("vchan of the zone");
    chan->blocking = 1;
    puts("ready");
    fflush(stdout);
    for (unsigned i = 0; i < ROUNDS; i++) {
        whole(chan, &byte, 1, false);
        whole(chan, &byte, 1, true);
    }
    for (size_t at = 0; at < BULK_BYTES; at += CHUNK)
        whole(chan, buffer, CHUNK, false);
    whole(chan, &byte, 1, true);
    while (libxenvchan_is_open(chan) == 1)
        usleep(10000);
    libxenvchan_close(chan);
}

static void call(int domid, char *buffer)
{
    char path[80], byte = 0;
    struct libxenvchan *chan = NULL;
    snprintf(path, sizeof(path), "/local/domain/%d/" NODE, domid);
    for (int i = 0; i < CONNECT_S * 10 && !chan; i++) {
        chan = libxenvchan_client_init(NULL, domid, path);
        if (!chan)
            usleep(100000);
    }
    if (!chan)
        die(path);
    chan->blocking = 1;
    int64_t began = gi_monotonic_ns();
    for (unsigned i = 0; i < ROUNDS; i++) {
        whole(chan, &byte, 1, true);
        whole(chan, &byte, 1, false);
    }
    int64_t trips = gi_monotonic_ns() - began;
    began = gi_monotonic_ns();
    for (size_t at = 0; at < BULK_BYTES; at += CHUNK)
        whole(chan, buffer, CHUNK, true);
    whole(chan, &byte, 1, false);
    int64_t bulk = gi_monotonic_ns() - began;
    char *to = malloc(BULK_BYTES), *from = malloc(BULK_BYTES);
    if (!to || !from)
        die("malloc");
    memset(to, 1, BULK_BYTES);
    memset(from, 2, BULK_BYTES);
    __asm__ volatile("" : : "r"(to), "r"(from) : "memory");
    began = gi_monotonic_ns();
    memcpy(to, from, BULK_BYTES);
    /* Somebody may look at it, for all the compiler knows: it is not left out. */
    __asm__ volatile("" : : "r"(to), "r"(from) : "memory");
    int64_t copy = gi_monotonic_ns() - began;
    printf("bare vchan: round trip %.2f ms; %u MiB in %.1f ms, memcpy in %.1f ms\n",
           (double)trips / ROUNDS / 1e6, BULK_BYTES >> 20, (double)bulk / 1e6, (double)copy / 1e6);
    free(to);
    free(from);
    libxenvchan_close(chan);
}

int main(int argc, char **argv)
{
    cleanup_free char *buffer = calloc(1, CHUNK);
    if (argc != 3 || !buffer) {
        fprintf(stderr, "usage: vchan-bench serve|call DOMID\n");
        return 2;
    }
    (strcmp(argv[1], "serve") == 0 ? serve : call)(atoi(argv[2]), buffer);
    return 0;
}
