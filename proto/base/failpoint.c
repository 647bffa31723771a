/* SPDX-License-Identifier: Apache-2.0 */
#include "base/failpoint.h"

#ifdef GI_FAILPOINTS

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MAX_PLAN 200

/* Made by the linker from the section's name. */
extern const char *const __start_gi_failpoints[] __attribute__((weak, visibility("hidden")));
extern const char *const __stop_gi_failpoints[] __attribute__((weak, visibility("hidden")));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned fired;

static bool read_plan(const char *path, char plan[MAX_PLAN])
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, plan, MAX_PLAN - 1);
    if (n <= 0)
        return false;
    plan[n] = '\0';
    plan[strcspn(plan, "\n")] = '\0';
    return true;
}

/* What is planned for NAME: its action in plan, or NULL. Counted when taken. */
static const char *take(const char *name, char plan[MAX_PLAN])
{
    const char *env = getenv("GI_FAILPOINT");
    if (!env || !*env)
        return NULL;
    GI_LOCK_SCOPE(&lock);
    if (env[0] != '@')
        snprintf(plan, MAX_PLAN, "%s", env);
    else if (!read_plan(env + 1, plan))
        return NULL;
    size_t len = strlen(name);
    if (strncmp(plan, name, len) != 0 || plan[len] != '=')
        return NULL;
    char *action = plan + len + 1;
    char *colon = strchr(action, ':');
    unsigned long count = colon ? strtoul(colon + 1, NULL, 10) : 1;
    if (colon)
        *colon = '\0';
    if (env[0] == '@')
        return unlink(env + 1) == 0 ? action : NULL;
    if (fired >= count)
        return NULL;
    fired++;
    return action;
}

int gi_failpoint_hit(const char *name, struct gi_error *err)
{
    char plan[MAX_PLAN];
    const char *action = take(name, plan);
    if (!action)
        return 0;
    if (strcmp(action, "crash") == 0)
        kill(getpid(), SIGKILL);
    while (strcmp(action, "hang") == 0)
        pause();
    return gi_fail(err, GI_INTERNAL, "failpoint %s", name);
}

int gi_failpoint_list(void)
{
    /* One array, of which the linker tells both ends. */
    // cppcheck-suppress comparePointers
    for (const char *const *p = __start_gi_failpoints; p < __stop_gi_failpoints; p++)
        printf("%s\n", *p);
    return fflush(stdout) == 0 ? 0 : 1;
}

#else
typedef int gi_no_failpoints; /* ISO C wants something in a file */
#endif
