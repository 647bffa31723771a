/* SPDX-License-Identifier: Apache-2.0 */
#include "sizes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CPU_PERIOD 100000 /* microseconds: the kernel's own default */

bool sizes_bytes(const char *text, int64_t *ret)
{
    static const struct {
        const char *suffix;
        double factor;
    } units[] = {{"", 1},      {"k", 1e3},        {"M", 1e6},           {"G", 1e9},
                 {"Ki", 1024}, {"Mi", 1048576.0}, {"Gi", 1073741824.0}, {"Ti", 1099511627776.0}};
    char *end = NULL;
    if (*text < '0' || *text > '9')
        return false;
    double v = strtod(text, &end);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].suffix) == 0) {
            v *= units[i].factor;
            if (!(v >= 1) || v > 9e18)
                return false;
            *ret = (int64_t)v;
            return true;
        }
    }
    return false;
}

int sizes_set(const struct command *self, const char *memory, const char *cpus,
              Runtime__V1__LinuxContainerResources *r)
{
    int64_t bytes = 0;
    if (memory && !sizes_bytes(memory, &bytes))
        return ctl_usage_error(self, "--memory: \"%s\" is no size like 512Mi", memory);
    char *end = NULL;
    double n = cpus ? strtod(cpus, &end) : 0;
    if (cpus && (*end || end == cpus || !(n >= 0.01) || n > 1024))
        return ctl_usage_error(self, "--cpus: \"%s\" is not 0.01 to 1024", cpus);
    if (memory)
        r->memory_limit_in_bytes = bytes;
    if (cpus) {
        r->cpu_period = CPU_PERIOD;
        r->cpu_quota = (int64_t)lround(n * CPU_PERIOD);
    }
    return EXIT_OK;
}
