/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads, many clients, and one that does nothing. */
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "bench.h"

#define MAX_THREADS 8
#define MAX_CLIENTS 32
#define ROUND       200u /* launches before a wait: they fit the ring */

static unsigned rounds(void)
{
    return quick ? 3 : 100;
}

/* --- Threads ---------------------------------------------------------------------------- */

static struct work work;
static pthread_barrier_t gate;

static void launches(CUstream stream, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < ROUND; k++)
            CU(cuLaunchKernel, work.kernel, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL);
        CU(cuStreamSynchronize, stream);
    }
}

static void questions(unsigned n)
{
    unsigned flags;
    for (unsigned i = 0; i < n * ROUND; i++)
        CU(cuCtxGetFlags, &flags);
}

/* ASKS: calls that wait instead of launches. */
static void *thread(void *asks)
{
    CUstream stream;
    CU(cuCtxSetCurrent, work.context);
    CU(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    launches(stream, 1); /* warm */
    pthread_barrier_wait(&gate);
    if (asks)
        questions(rounds());
    else
        launches(stream, rounds());
    pthread_barrier_wait(&gate);
    CU(cuStreamDestroy_v2, stream);
    return NULL;
}

/* Microseconds for each of all threads' calls. */
static double with_threads(unsigned n, bool asks)
{
    pthread_t threads[MAX_THREADS];
    pthread_barrier_init(&gate, NULL, n + 1);
    for (unsigned i = 0; i < n; i++) {
        if (pthread_create(&threads[i], NULL, thread, asks ? &gate : NULL) != 0)
            exit(1);
    }
    pthread_barrier_wait(&gate);
    double start = now_us();
    pthread_barrier_wait(&gate);
    double us = now_us() - start;
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&gate);
    return us / ((double)n * rounds() * ROUND);
}

void many_threads(void)
{
    double one[2] = {0, 0};
    work = work_begin();
    printf("\nthreads of one process, all their calls together\n");
    for (unsigned n = 1; n <= MAX_THREADS; n *= 2) {
        double us[2] = {with_threads(n, false), with_threads(n, true)};
        if (n == 1)
            memcpy(one, us, sizeof(one));
        printf("%2u: a launch, until done %8.3f us, %5.2f x one thread's rate; a call that waits "
               "%8.3f us, %5.2f x\n",
               n, us[0], one[0] / us[0], us[1], one[1] / us[1]);
    }
    CU(cuCtxDestroy_v2, work.context);
}

/* --- Clients ---------------------------------------------------------------------------- */

struct client {
    pid_t pid;
    int in, out; /* its standard input and output */
};

int client_main(const char *library)
{
    char byte = 0;
    CUstream stream;
    if (!cu_load(&cu, library))
        return 1;
    work = work_begin();
    CU(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    launches(stream, 1);
    if (write(STDOUT_FILENO, &byte, 1) != 1 || read(STDIN_FILENO, &byte, 1) != 1)
        return 1;
    launches(stream, rounds());
    return write(STDOUT_FILENO, &byte, 1) == 1 && read(STDIN_FILENO, &byte, 1) == 0 ? 0 : 1;
}

static bool client_start(struct client *c, const char *program, const char *library)
{
    int down[2], up[2];
    if (pipe(down) < 0 || pipe(up) < 0)
        exit(1);
    fflush(stdout);
    c->pid = fork();
    if (c->pid == 0) {
        dup2(down[0], STDIN_FILENO);
        dup2(up[1], STDOUT_FILENO);
        for (int fd = 3; fd < 256; fd++) /* also the other clients' */
            close(fd);
        execl(program, program, quick ? "--quick" : "--client", quick ? "--client" : library,
              quick ? library : (char *)NULL, (char *)NULL);
        _exit(127);
    }
    close(down[0]);
    close(up[1]);
    c->in = down[1];
    c->out = up[0];
    return c->pid > 0;
}

static bool all_say(const struct client *c, unsigned n)
{
    char byte;
    bool good = true;
    for (unsigned i = 0; i < n; i++)
        good = read(c[i].out, &byte, 1) == 1 && good;
    return good;
}

/* Microseconds for each of all clients' launches; negative: they can't all be there. */
static double with_clients(unsigned n, const char *program, const char *library)
{
    struct client c[MAX_CLIENTS] = {{0}};
    bool good = true;
    for (unsigned i = 0; i < n; i++)
        good = client_start(&c[i], program, library) && good;
    good = all_say(c, n) && good;
    double start = now_us();
    for (unsigned i = 0; i < n && good; i++)
        good = write(c[i].in, "", 1) == 1;
    good = good && all_say(c, n);
    double us = now_us() - start;
    for (unsigned i = 0; i < n; i++) {
        close(c[i].in);
        close(c[i].out);
        waitpid(c[i].pid, NULL, 0);
    }
    return good ? us / ((double)n * rounds() * ROUND) : -1;
}

void many_clients(const char *program, const char *library)
{
    double one = 0;
    printf("\nclients, each a process, all their launches together\n");
    for (unsigned n = 1; n <= (quick ? 4u : MAX_CLIENTS); n *= 2) {
        double us = with_clients(n, program, library);
        if (us < 0) {
            printf("%2u: more than the zone may have\n", n);
            return;
        }
        if (n == 1)
            one = us;
        printf("%2u: a launch, until done %8.3f us, %5.2f x one client's rate\n", n, us, one / us);
    }
}

/* --- Idle --------------------------------------------------------------------------------- */

/* Nanoseconds that all threads of PID have run, but for the thread NOT_THIS. */
static uint64_t ran_ns(pid_t pid, pid_t not_this)
{
    char path[300];
    uint64_t all = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    cleanup_closedir DIR *d = opendir(path);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] == '.' || strtol(e->d_name, NULL, 10) == not_this)
            continue;
        snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", (int)pid, e->d_name);
        cleanup_fclose FILE *f = fopen(path, "re");
        unsigned long long ns;
        if (f && fscanf(f, "%llu", &ns) == 1)
            all += ns;
    }
    return all;
}

/* PROXY, its workers, and we, but for the thread that measures. */
static uint64_t all_ran_ns(pid_t proxy)
{
    char path[64];
    int child;
    uint64_t all = ran_ns(getpid(), getpid()) + ran_ns(proxy, 0);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)proxy, (int)proxy);
    cleanup_fclose FILE *f = fopen(path, "re");
    while (f && fscanf(f, "%d", &child) == 1)
        all += ran_ns(child, 0);
    return all;
}

void idle(pid_t proxy)
{
    struct work w = work_begin();
    CU(cuLaunchKernel, w.kernel, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    CU(cuCtxSynchronize);
    usleep(2000 * 1000); /* whoever looks a while before it sleeps sleeps */
    double start = now_us();
    uint64_t before = all_ran_ns(proxy);
    usleep(quick ? 300 * 1000 : 5000 * 1000);
    uint64_t ran = all_ran_ns(proxy) - before;
    double us = now_us() - start;
    printf("\nan idle client, its worker and gpu-proxy: %.4f %% of a CPU\n",
           (double)ran / 1e3 / us * 100);
    CU(cuCtxDestroy_v2, w.context);
}
