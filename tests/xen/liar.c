/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zone's agent as whoever took the zone over would have it: in the place of ours in a
 * root file system of its own. What it does is its pod's name: "silent" never
 * answers, "floods" greets and then sends as fast as the link takes it, and any
 * other answers what it was not asked.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake.h"

static int wait_for_host(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 8) < 0)
        return -1;
    return fd;
}

static const char *value(int argc, char **argv, const char *option)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], option) == 0)
            return argv[i + 1];
    return "";
}

static void flood(int fd)
{
    static char noise[1 << 16];
    memset(noise, 'x', sizeof(noise));
    while (send(fd, noise, sizeof(noise), MSG_NOSIGNAL) > 0)
        ;
}

static void lie(int fd)
{
    Gi__Agent__Reply r = GI__AGENT__REPLY__INIT;
    r.id = UINT64_MAX;
    fake_reply(fd, &r);
}

static void serve(int fd, const char *role)
{
    if (strcmp(role, "silent") != 0) {
        fake_greet(fd);
        if (strcmp(role, "floods") == 0)
            flood(fd);
        else
            lie(fd);
    }
    while (fake_next_id(fd))
        ;
    close(fd);
}

int main(int argc, char **argv)
{
    char role[65] = "";
    gethostname(role, sizeof(role) - 1);
    int listener = wait_for_host(value(argc, argv, "--listen"));
    int ready = -1;
    if (listener < 0 || sscanf(value(argc, argv, "--ready-fd"), "%d", &ready) != 1)
        return 1;
    dprintf(ready, "of another, which is %s", role);
    close(ready);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return 1;
        serve(fd, role);
    }
}
