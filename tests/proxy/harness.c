/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"

#define START_MS 20000

static void exec_proxy(const struct proxy *p, const char *program, const char *driver,
                       const char *const *extra)
{
    const char *argv[48] = {program,       "--driver", driver,        "--control", p->control,
                            "--zones-dir", p->zones,   "--log-level", "debug"};
    size_t n = 9;
    for (; extra && *extra && n < 47; extra++)
        argv[n++] = *extra;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int log = open(p->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (log < 0 || dup2(log, 2) < 0)
        _exit(126);
    execv(program, (char *const *)(uintptr_t)argv);
    _exit(127);
}

static bool answers(struct proxy *p)
{
    char *info = NULL;
    bool ok = control_info(p->client, &info, NULL) == 0;
    free(info);
    return ok;
}

static bool spawn(struct proxy *p, const char *program, const char *driver,
                  const char *const *extra)
{
    p->pid = fork();
    if (p->pid == 0)
        exec_proxy(p, program, driver, extra);
    if (p->pid > 0 && WAIT_FOR(START_MS, answers(p) || waitpid(p->pid, NULL, WNOHANG) != 0) &&
        answers(p))
        return true;
    char *log = proxy_log(p);
    fprintf(stderr, "gpu-proxy didn't start:\n%s", log);
    free(log);
    proxy_stop(p);
    return false;
}

bool proxy_start(struct proxy *p, const char *program, const char *driver, const char *const *extra)
{
    memset(p, 0, sizeof(*p));
    snprintf(p->dir, sizeof(p->dir), "/tmp/gi-proxy-test-XXXXXX");
    if (!mkdtemp(p->dir))
        return false;
    snprintf(p->control, sizeof(p->control), "%s/control.sock", p->dir);
    snprintf(p->zones, sizeof(p->zones), "%s/zones", p->dir);
    snprintf(p->log, sizeof(p->log), "%s/log", p->dir);
    if (control_client_new(p->control, &p->client, NULL) < 0)
        return false;
    return spawn(p, program, driver, extra);
}

bool proxy_restart(struct proxy *p, const char *program, const char *driver,
                   const char *const *extra)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    return spawn(p, program, driver, extra);
}

int proxy_stop(struct proxy *p)
{
    int status = 0;
    int code = -1;
    kill(p->pid, SIGTERM);
    if (WAIT_FOR(10000, waitpid(p->pid, &status, WNOHANG) != 0)) {
        code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    } else {
        kill(p->pid, SIGKILL);
        waitpid(p->pid, NULL, 0);
    }
    if (getenv("GI_TEST_LOG")) {
        char *log = proxy_log(p);
        fprintf(stderr, "%s", log);
        free(log);
    }
    control_client_free(p->client);
    gi_remove_tree_at(AT_FDCWD, p->dir, NULL);
    return code;
}

char *proxy_log(const struct proxy *p)
{
    char *text = NULL;
    if (gi_read_file(p->log, 64u << 20, &text, NULL, NULL) < 0)
        text = strdup("");
    return text;
}

bool proxy_log_has(const struct proxy *p, const char *text)
{
    char *log = proxy_log(p);
    bool has = log && strstr(log, text);
    free(log);
    return has;
}

bool proxy_zone(struct proxy *p, uint32_t zone, const struct control_quota *quota, char *path,
                size_t size)
{
    char *got = NULL;
    char label[32];
    struct gi_error err = GI_ERROR_INIT;
    snprintf(label, sizeof(label), "test/pod-%u", zone);
    if (control_create_zone(p->client, zone, label, quota, &got, &err) < 0) {
        fprintf(stderr, "create zone: %s\n", err.message);
        return false;
    }
    snprintf(path, size, "%s", got);
    free(got);
    return true;
}

struct control_zone_stats proxy_stats(struct proxy *p, uint32_t zone)
{
    struct control_zone_stats s = {0};
    control_zone_stats(p->client, zone, &s, NULL);
    return s;
}

struct control_client_stats proxy_client(struct proxy *p, uint32_t zone)
{
    struct control_client_stats c = {0};
    struct control_client_stats *all = NULL;
    uint32_t n = 0;
    if (control_list_clients(p->client, zone, &all, &n, NULL) == 0 && n == 1)
        c = all[0];
    free(all);
    return c;
}

int proxy_connect(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        int saved = errno;
        close(fd);
        return -saved;
    }
    return fd;
}
