/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripts and programs ask nvidia-smi for fields by name. Those that concern the whole GPU, and so
 * other tenants (power, temperature, clocks as they are), are there and not available.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "smi.h"

#define NOT_AVAILABLE "[N/A]"

/* One row of either table. */
struct subject {
    unsigned index;
    const struct gpu *g;
    const struct idm_zone_client *process;
};

struct field {
    const char *name, *other;
    const char *unit; /* "" for words */
    void (*put)(const struct subject *s, char *out, size_t size);
};

/* --- Of a GPU -------------------------------------------------------------------------------- */

static void put_index(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%u", s->index);
}

static void put_count(const struct subject *s, char *out, size_t size)
{
    (void)s;
    snprintf(out, size, "%u", nv_devices());
}

static void put_name(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%s", s->g->name);
}

static void put_uuid(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%s", s->g->uuid);
}

static void put_bus(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%s", s->g->pci.busId);
}

static void put_driver(const struct subject *s, char *out, size_t size)
{
    (void)s;
    if (nvmlSystemGetDriverVersion(out, (unsigned)size) != NVML_SUCCESS)
        snprintf(out, size, NOT_AVAILABLE);
}

static void put_memory(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%llu", s->g->memory.total >> 20);
}

static void put_used(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%llu", s->g->memory.used >> 20);
}

static void put_free(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%llu", s->g->memory.free >> 20);
}

static void put_use(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%u", s->g->use.gpu);
}

static void put_memory_use(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%u", s->g->use.memory);
}

static void put_capability(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%d.%d", s->g->major, s->g->minor);
}

static void put_mode(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%s", smi_mode_name(s->g->mode));
}

static void put_clock(const struct subject *s, unsigned type, char *out, size_t size)
{
    unsigned mhz;
    if (nvmlDeviceGetMaxClockInfo(s->g->device, type, &mhz) == NVML_SUCCESS)
        snprintf(out, size, "%u", mhz);
    else
        snprintf(out, size, NOT_AVAILABLE);
}

static void put_sm_clock(const struct subject *s, char *out, size_t size)
{
    put_clock(s, 1, out, size);
}

static void put_memory_clock(const struct subject *s, char *out, size_t size)
{
    put_clock(s, 2, out, size);
}

static void put_time(const struct subject *s, char *out, size_t size)
{
    struct timespec now;
    struct tm t;
    (void)s;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!localtime_r(&now.tv_sec, &t))
        memset(&t, 0, sizeof(t));
    snprintf(out, size, "%04d/%02d/%02d %02d:%02d:%02d.%03ld", t.tm_year + 1900, t.tm_mon + 1,
             t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, now.tv_nsec / 1000000);
}

static const struct field gpu_fields[] = {
    {"index", NULL, "", put_index},
    {"count", NULL, "", put_count},
    {"name", "gpu_name", "", put_name},
    {"uuid", "gpu_uuid", "", put_uuid},
    {"pci.bus_id", "gpu_bus_id", "", put_bus},
    {"driver_version", NULL, "", put_driver},
    {"memory.total", NULL, "MiB", put_memory},
    {"memory.used", NULL, "MiB", put_used},
    {"memory.free", NULL, "MiB", put_free},
    {"utilization.gpu", NULL, "%", put_use},
    {"utilization.memory", NULL, "%", put_memory_use},
    {"compute_cap", NULL, "", put_capability},
    {"compute_mode", NULL, "", put_mode},
    {"clocks.max.sm", "clocks.max.graphics", "MHz", put_sm_clock},
    {"clocks.max.memory", "clocks.max.mem", "MHz", put_memory_clock},
    {"timestamp", NULL, "", put_time},
};

/* Beginnings of what is the whole GPU's. */
static const char *const whole_gpus[] = {
    "temperature.", "power.",       "fan.",     "clocks.",  "clocks_", "pstate",
    "ecc.",         "persistence_", "display",  "mig.mode", "vbios_",  "serial",
    "pcie.",        "pci.",         "retired_", "encoder",  "inforom", "driver_model"};

/* --- Of a process ---------------------------------------------------------------------------- */

static void put_pid(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%u", s->process->pid);
}

static void put_program(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%s", s->process->name);
}

static void put_its_memory(const struct subject *s, char *out, size_t size)
{
    snprintf(out, size, "%llu", (unsigned long long)s->process->memory_used >> 20);
}

static const struct field app_fields[] = {
    {"pid", NULL, "", put_pid},
    {"process_name", "name", "", put_program},
    {"used_gpu_memory", "used_memory", "MiB", put_its_memory},
    {"gpu_name", NULL, "", put_name},
    {"gpu_uuid", NULL, "", put_uuid},
    {"gpu_bus_id", NULL, "", put_bus},
    {"timestamp", NULL, "", put_time},
};

/* --- Lists of fields ------------------------------------------------------------------------- */

/* The name at *AT and what is behind it: past the comma and spaces. */
static size_t next_name(const char **at, const char **ret_name)
{
    *at += strspn(*at, " ");
    *ret_name = *at;
    size_t len = strcspn(*at, ",");
    *at += len;
    *at += **at == ',';
    while (len && (*ret_name)[len - 1] == ' ')
        len--;
    return len;
}

static bool is(const char *name, const char *text, size_t len)
{
    return name && strlen(name) == len && strncmp(name, text, len) == 0;
}

static bool find(bool of_gpu, const char *name, size_t len, struct field *ret)
{
    const struct field *all = of_gpu ? gpu_fields : app_fields;
    size_t n = of_gpu ? sizeof(gpu_fields) / sizeof(*all) : sizeof(app_fields) / sizeof(*all);
    for (size_t i = 0; i < n; i++) {
        if (is(all[i].name, name, len) || is(all[i].other, name, len)) {
            *ret = all[i];
            return true;
        }
    }
    for (size_t i = 0; of_gpu && i < sizeof(whole_gpus) / sizeof(*whole_gpus); i++) {
        size_t begins = strlen(whole_gpus[i]);
        if (len >= begins && strncmp(whole_gpus[i], name, begins) == 0) {
            *ret = (struct field){.unit = ""};
            return true;
        }
    }
    return false;
}

bool smi_query_format(struct smi_query *q, const char *format)
{
    const char *name;
    bool csv = false;
    while (*format) {
        size_t len = next_name(&format, &name);
        if (is("csv", name, len))
            csv = true;
        else if (is("noheader", name, len))
            q->header = false;
        else if (is("nounits", name, len))
            q->units = false;
        else
            return false;
    }
    return csv;
}

static bool is_wrong(bool of_gpu, const char *list, char *ret, size_t size)
{
    const char *name;
    struct field f;
    while (list && *list) {
        size_t len = next_name(&list, &name);
        if (find(of_gpu, name, len, &f))
            continue;
        snprintf(ret, size, "%.*s", (int)(len < 64 ? len : 64), name);
        return true;
    }
    return false;
}

bool smi_query_wrong(const struct smi_query *q, char *ret, size_t size)
{
    return is_wrong(true, q->gpu_fields, ret, size) || is_wrong(false, q->app_fields, ret, size);
}

/* --- Tables ---------------------------------------------------------------------------------- */

static void put_header(const struct smi_query *q, bool of_gpu, const char *list)
{
    const char *name;
    struct field f;
    for (const char *comma = ""; *list; comma = ", ") {
        size_t len = next_name(&list, &name);
        printf("%s%.*s", comma, (int)len, name);
        if (q->units && find(of_gpu, name, len, &f) && *f.unit)
            printf(" [%s]", f.unit);
    }
    putchar('\n');
}

static void put_row(const struct smi_query *q, bool of_gpu, const char *list,
                    const struct subject *s)
{
    const char *name;
    for (const char *comma = ""; *list; comma = ", ") {
        char text[256] = NOT_AVAILABLE;
        struct field f = {.unit = ""};
        size_t len = next_name(&list, &name);
        if (find(of_gpu, name, len, &f) && f.put)
            f.put(s, text, sizeof(text));
        smi_make_printable(text);
        bool unit = q->units && *f.unit && strcmp(text, NOT_AVAILABLE) != 0;
        printf("%s%s%s%s", comma, text, unit ? " " : "", unit ? f.unit : "");
    }
    putchar('\n');
}

static bool is_asked(const struct smi_query *q, unsigned index, const struct gpu *g)
{
    char number[16];
    snprintf(number, sizeof(number), "%u", index);
    return !q->only || strcmp(q->only, number) == 0 || strcmp(q->only, g->uuid) == 0 ||
           strcmp(q->only, g->pci.busId) == 0;
}

nvmlReturn_t smi_query(const struct smi_query *q, const struct nv_report *report)
{
    struct gpu g;
    bool any = false;
    const bool of_gpu = q->gpu_fields != NULL;
    const char *list = of_gpu ? q->gpu_fields : q->app_fields;
    if (q->header)
        put_header(q, of_gpu, list);
    for (unsigned i = 0; i < nv_devices(); i++) {
        nvmlReturn_t rc = smi_look(i, &g);
        if (rc != NVML_SUCCESS)
            return rc;
        if (!is_asked(q, i, &g))
            continue;
        any = true;
        if (of_gpu)
            put_row(q, true, list, &(struct subject){.index = i, .g = &g});
        /* Which device a process is on isn't known: each is told once. */
        for (uint32_t k = 0; !of_gpu && i == 0 && k < report->n_clients; k++)
            put_row(q, false, list, &(struct subject){.g = &g, .process = &report->clients[k]});
    }
    return any ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}
