/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "lookup.h"
#include "table.h"

static int sample(struct ctl *ctl, char *id, Runtime__V1__ListContainerStatsResponse **ret,
                  struct gi_error *err)
{
    Runtime__V1__ContainerStatsFilter filter = RUNTIME__V1__CONTAINER_STATS_FILTER__INIT;
    Runtime__V1__ListContainerStatsRequest request =
        RUNTIME__V1__LIST_CONTAINER_STATS_REQUEST__INIT;
    if (id) {
        filter.id = id;
        request.filter = &filter;
    }
    return ctl_call(ctl, "ListContainerStats", &request.base, -1, ret, err);
}

static uint64_t value(const Runtime__V1__UInt64Value *v)
{
    return v ? v->value : 0;
}

/* Cores used between the two samples; "-" when the container is in one only. */
static const char *cpu_cell(char buf[CELL], const Runtime__V1__ListContainerStatsResponse *before,
                            const Runtime__V1__ContainerStats *now)
{
    for (size_t i = 0; i < before->n_stats; i++) {
        const Runtime__V1__ContainerStats *b = before->stats[i];
        if (!b->attributes || !b->cpu || !now->cpu ||
            strcmp(b->attributes->id, now->attributes->id) != 0)
            continue;
        int64_t wall = now->cpu->timestamp - b->cpu->timestamp;
        uint64_t used =
            value(now->cpu->usage_core_nano_seconds) - value(b->cpu->usage_core_nano_seconds);
        if (wall <= 0 || (int64_t)used < 0)
            break;
        snprintf(buf, CELL, "%.2f", (double)used / (double)wall);
        return buf;
    }
    snprintf(buf, CELL, "-");
    return buf;
}

static int print(const Runtime__V1__ListContainerStatsResponse *before,
                 const Runtime__V1__ListContainerStatsResponse *now)
{
    struct table t = {0};
    table_row(&t, "CONTAINER", "NAME", "CORES", "CPU SECONDS", "MEMORY", "WRITTEN", "FILES", NULL);
    for (size_t i = 0; i < now->n_stats; i++) {
        const Runtime__V1__ContainerStats *s = now->stats[i];
        char id[CELL], cores[CELL], cpu[CELL], memory[CELL] = "-", disk[CELL] = "-",
                                               files[CELL] = "-";
        if (!s->attributes)
            continue;
        snprintf(cpu, sizeof(cpu), "%.2f",
                 s->cpu ? (double)value(s->cpu->usage_core_nano_seconds) / 1e9 : 0.0);
        if (s->memory)
            cell_bytes(memory, value(s->memory->working_set_bytes));
        if (s->writable_layer) {
            cell_bytes(disk, value(s->writable_layer->used_bytes));
            snprintf(files, sizeof(files), "%" PRIu64, value(s->writable_layer->inodes_used));
        }
        table_row(&t, cell_id(id, s->attributes->id),
                  s->attributes->metadata ? s->attributes->metadata->name : "?",
                  cpu_cell(cores, before, s), cpu, memory, disk, files, NULL);
    }
    return table_print(&t);
}

static int run(struct ctl *ctl, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {CTL_COMMON_OPTIONS};
    int opt = getopt_long(argc, argv, "h", options, NULL);
    if (opt != -1)
        return ctl_option(self, opt);
    if (argc - optind > 1)
        return ctl_usage_error(self, "takes one container");

    struct gi_error err = GI_ERROR_INIT;
    cleanup_lookup struct lookup found = {0};
    cleanup_message Runtime__V1__ListContainerStatsResponse *before = NULL, *now = NULL;
    if ((optind < argc && lookup_container(ctl, argv[optind], &found, &err) < 0) ||
        sample(ctl, found.id, &now, &err) < 0)
        return ctl_report(ctl, &err, NULL);
    if (ctl->json)
        return ctl_print_json(&now->base);
    before = now;
    now = NULL;
    if (before->n_stats > 0 && ctl_sleep_ms(500))
        return EXIT_INTERRUPTED;
    if (sample(ctl, found.id, &now, &err) < 0)
        return ctl_report(ctl, &err, NULL);
    return print(before, now);
}

const struct command cmd_stats = {
    .name = "stats",
    .summary = "what containers use",
    .usage =
        "usage: gpuictl stats [CONTAINER]\n\n"
        "Prints CPU use (cores, measured over half a second), CPU time, memory (working set) and\n"
        "the writable layer's size and files, of one or all running containers.\n",
    .run = run,
};
