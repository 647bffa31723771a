/* SPDX-License-Identifier: Apache-2.0 */
#include "real_registry.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int free_port(void)
{
    struct sockaddr_in addr = loopback(0);
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int port = -1;
    if (bind(fd, (struct sockaddr *)&addr, len) == 0 &&
        getsockname(fd, (struct sockaddr *)&addr, &len) == 0)
        port = ntohs(addr.sin_port);
    close(fd);
    return port;
}

static int answers(int port)
{
    struct sockaddr_in addr = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
    close(fd);
    return rc == 0;
}

static int start_once(struct real_registry *r, const char *dir, const char *htpasswd,
                      const char *cert)
{
    char config[256];
    char log[256];
    r->port = free_port();
    snprintf(config, sizeof(config), "%s/registry.yml", dir);
    snprintf(log, sizeof(log), "%s/registry.log", dir);
    FILE *f = fopen(config, "we");
    if (!f)
        return -1;
    fprintf(f,
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            "storage: {filesystem: {rootdirectory: %s/registry}, delete: {enabled: true}}\n"
            "http:\n  addr: 127.0.0.1:%d\n",
            dir, r->port);
    if (cert)
        fprintf(f, "  tls: {certificate: %s, key: %s}\n", cert, cert);
    if (htpasswd)
        fprintf(f, "auth: {htpasswd: {realm: test, path: %s}}\n", htpasswd);
    fclose(f);
    pid_t parent = getpid();
    r->pid = fork();
    if (r->pid < 0)
        return -1;
    if (r->pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives the test */
        if (fd < 0 || getppid() != parent || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
            _exit(1);
        execlp("docker-registry", "docker-registry", "serve", config, (char *)NULL);
        _exit(1);
    }
    for (int i = 0; i < 200; i++) {
        struct timespec tick = {.tv_nsec = 50 * 1000000L};
        if (waitpid(r->pid, NULL, WNOHANG) == r->pid) {
            r->pid = 0;
            return -1;
        }
        if (answers(r->port))
            return 0;
        nanosleep(&tick, NULL);
    }
    return -1;
}

/* A port that was free may be another's by the time the registry listens on it. */
int real_registry_start(struct real_registry *r, const char *dir, const char *htpasswd,
                        const char *cert)
{
    int rc = -1;
    for (int i = 0; i < 5 && rc < 0; i++) {
        real_registry_stop(r);
        rc = start_once(r, dir, htpasswd, cert);
    }
    return rc;
}

void real_registry_stop(struct real_registry *r)
{
    if (r->pid <= 0)
        return;
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
}
