/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-smi: what a pod has of the GPU, in the look people know. Static, so that
 * it runs in any image; it shares libnvidia-ml's sources.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "smi.h"

#define WIDTH 79 /* between the outer bars, and them */

static const char usage[] =
    "usage: vgpu-smi [-L | --list-gpus] [--json] [--help] [--version]\n"
    "       vgpu-smi --query-gpu=FIELD,... --format=csv[,noheader][,nounits] [-i GPU]\n"
    "       vgpu-smi --query-compute-apps=FIELD,... --format=csv[,noheader][,nounits]\n"
    "Shows this pod's GPU: quota, use, and the pod's processes on it.\n";

static struct nv_report report;
static struct smi_query query = {.header = true, .units = true};

void smi_make_printable(char *text)
{
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
            *c = '?';
    }
}

/* One line between bars, cut and padded. */
__attribute__((format(printf, 1, 2))) static void row(const char *format, ...)
{
    char text[WIDTH * 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    smi_make_printable(text);
    printf("|%-*.*s|\n", WIDTH - 2, WIDTH - 2, text);
}

static void line(char c)
{
    char text[WIDTH + 1];
    memset(text, c, WIDTH);
    text[0] = text[WIDTH - 1] = c == '=' ? '|' : '+';
    text[WIDTH] = '\0';
    puts(text);
}

static unsigned long long mib(unsigned long long bytes)
{
    return bytes >> 20;
}

const char *smi_mode_name(unsigned mode)
{
    return mode == 0 ? "Default" : mode == 2 ? "Prohibited" : "E. Process";
}

nvmlReturn_t smi_look(unsigned index, struct gpu *g)
{
    memset(g, 0, sizeof(*g));
    nvmlReturn_t rc = nvmlDeviceGetHandleByIndex_v2(index, &g->device);
    if (rc != NVML_SUCCESS)
        return rc;
    nvmlDeviceGetName(g->device, g->name, sizeof(g->name));
    nvmlDeviceGetUUID(g->device, g->uuid, sizeof(g->uuid));
    nvmlDeviceGetPciInfo_v3(g->device, &g->pci);
    nvmlDeviceGetCudaComputeCapability(g->device, &g->major, &g->minor);
    nvmlDeviceGetComputeMode(g->device, &g->mode);
    rc = nvmlDeviceGetMemoryInfo(g->device, &g->memory);
    return rc == NVML_SUCCESS ? nvmlDeviceGetUtilizationRates(g->device, &g->use) : rc;
}

static void table_gpu(unsigned index, const struct gpu *g)
{
    char cc[16], memory[48], util[16];
    snprintf(cc, sizeof(cc), "%d.%d", g->major, g->minor);
    snprintf(memory, sizeof(memory), "%lluMiB / %lluMiB", mib(g->memory.used),
             mib(g->memory.total));
    snprintf(util, sizeof(util), "%u%%", g->use.gpu);
    row(" %3u  %-27.27s | %-20.20s | %20s ", index, g->name, g->pci.busId, util);
    row("      %-27.27s | %20s | %20s ", cc, memory, smi_mode_name(g->mode));
    line('-');
}

static void table_processes(void)
{
    line('-');
    row(" Processes:");
    row("   %10s   %4s   %-37s   %12s", "PID", "Type", "Process name", "GPU Memory");
    line('=');
    for (uint32_t i = 0; i < report.n_clients; i++) {
        const struct idm_zone_client *c = &report.clients[i];
        size_t n = strlen(c->name);
        bool cut = n > 37;
        row("   %10u   %4s   %s%-*s   %9lluMiB", c->pid, "C", cut ? "..." : "", cut ? 34 : 37,
            cut ? c->name + n - 34 : c->name, mib(c->memory_used));
    }
    if (!report.n_clients)
        row("   No running processes found");
    line('-');
}

static nvmlReturn_t table(void)
{
    char version[80];
    int cuda = 0;
    struct gpu g;
    nvmlReturn_t rc = nvmlSystemGetDriverVersion(version, sizeof(version));
    nvmlSystemGetCudaDriverVersion_v2(&cuda);
    line('-');
    row(" VGPU-SMI %-15.15s Driver Version: %-15.15s CUDA Version: %d.%d", GI_VERSION, version,
        cuda / 1000, cuda % 1000 / 10);
    line('-');
    row(" GPU  %-27s | %-20s | %20s ", "Name", "Bus-Id", "GPU-Util");
    row("      %-27s | %20s | %20s ", "Compute capability", "Memory-Usage", "Compute M.");
    line('=');
    for (unsigned i = 0; i < nv_devices() && rc == NVML_SUCCESS; i++) {
        rc = smi_look(i, &g);
        if (rc == NVML_SUCCESS)
            table_gpu(i, &g);
    }
    if (rc == NVML_SUCCESS) {
        puts("");
        table_processes();
    }
    return rc;
}

static nvmlReturn_t list(void)
{
    struct gpu g;
    nvmlReturn_t rc = NVML_SUCCESS;
    for (unsigned i = 0; i < nv_devices() && rc == NVML_SUCCESS; i++) {
        rc = smi_look(i, &g);
        if (rc == NVML_SUCCESS)
            printf("GPU %u: %s (UUID: %s)\n", i, g.name, g.uuid);
    }
    return rc;
}

static void json_text(const char *name, const char *text)
{
    printf("\"%s\": \"", name);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else
            putchar(c >= 0x20 && c < 0x7f ? c : '?');
    }
    putchar('"');
}

static nvmlReturn_t json_gpus(void)
{
    struct gpu g;
    for (unsigned i = 0; i < nv_devices(); i++) {
        nvmlReturn_t rc = smi_look(i, &g);
        if (rc != NVML_SUCCESS)
            return rc;
        printf("%s{\"index\": %u, ", i ? ", " : "", i);
        json_text("name", g.name);
        printf(", ");
        json_text("uuid", g.uuid);
        printf(", ");
        json_text("bus_id", g.pci.busId);
        printf(", \"compute_capability\": \"%d.%d\", \"memory_total\": %llu, "
               "\"memory_used\": %llu, \"utilization\": %u}",
               g.major, g.minor, g.memory.total, g.memory.used, g.use.gpu);
    }
    return NVML_SUCCESS;
}

static nvmlReturn_t json(void)
{
    int cuda = 0;
    nvmlSystemGetCudaDriverVersion_v2(&cuda);
    printf("{");
    json_text("driver_version", report.driver);
    printf(", \"cuda_version\": \"%d.%d\", \"memory_quota\": %llu, \"memory_used\": %llu, "
           "\"gpus\": [",
           cuda / 1000, cuda % 1000 / 10, (unsigned long long)report.memory_quota,
           (unsigned long long)report.memory_used);
    nvmlReturn_t rc = json_gpus();
    printf("], \"processes\": [");
    for (uint32_t i = 0; i < report.n_clients; i++) {
        const struct idm_zone_client *c = &report.clients[i];
        printf("%s{\"pid\": %u, ", i ? ", " : "", c->pid);
        json_text("name", c->name);
        printf(", \"memory_used\": %llu, \"launches\": %llu, \"gpu_seconds\": %.6f}",
               (unsigned long long)c->memory_used, (unsigned long long)c->launches,
               (double)c->gpu_ns / 1e9);
    }
    printf("]}\n");
    return rc;
}

static nvmlReturn_t csv(void)
{
    return smi_query(&query, &report);
}

struct arguments {
    int n, at;
    char **all;
};

/* Is the argument option NAME with a value? That is behind "=", or the next argument. */
static bool has_value(struct arguments *a, const char *name, const char **ret_value)
{
    const char *text = a->all[a->at];
    size_t len = strlen(name);
    if (strncmp(text, name, len) != 0)
        return false;
    if (text[len] == '=') {
        *ret_value = text + len + 1;
        return true;
    }
    if (text[len] != '\0' || a->at + 1 == a->n)
        return false;
    *ret_value = a->all[++a->at];
    return true;
}

/* 0: go on; else the exit status, plus one. */
static int take_option(struct arguments *a, nvmlReturn_t (**show)(void))
{
    const char *arg = a->all[a->at], *value;
    if (has_value(a, "--query-gpu", &query.gpu_fields)) {
        *show = csv;
    } else if (has_value(a, "--query-compute-apps", &query.app_fields)) {
        *show = csv;
    } else if (has_value(a, "-i", &query.only) || has_value(a, "--id", &query.only)) {
        return 0;
    } else if (has_value(a, "--format", &value)) {
        if (smi_query_format(&query, value))
            return 0;
        fprintf(stderr, "vgpu-smi: --format is csv, with noheader and nounits if you like\n");
        return 3;
    } else if (strcmp(arg, "--json") == 0) {
        *show = json;
    } else if (strcmp(arg, "-L") == 0 || strcmp(arg, "--list-gpus") == 0) {
        *show = list;
    } else if (strcmp(arg, "--version") == 0) {
        puts("vgpu-smi " GI_VERSION);
        return 1;
    } else {
        bool asked = strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
        fputs(usage, asked ? stdout : stderr);
        return asked ? 1 : 3;
    }
    return 0;
}

int main(int argc, char **argv)
{
    char wrong[80];
    nvmlReturn_t (*show)(void) = table;
    for (struct arguments a = {argc, 1, argv}; a.at < a.n; a.at++) {
        int status = take_option(&a, &show);
        if (status)
            return status - 1;
    }
    if (query.gpu_fields && query.app_fields) {
        fputs(usage, stderr);
        return 2;
    }
    if (smi_query_wrong(&query, wrong, sizeof(wrong))) {
        printf("Field \"%s\" is not a valid field to query.\n", wrong);
        return 2;
    }
    nvmlReturn_t rc = nvmlInit_v2();
    if (rc == NVML_SUCCESS)
        rc = nv_ask_report(&report);
    if (rc == NVML_SUCCESS)
        rc = show();
    if (rc != NVML_SUCCESS) {
        fprintf(stderr, "vgpu-smi: %s\n", nvmlErrorString(rc));
        return (int)rc < 125 ? (int)rc : 125;
    }
    nvmlShutdown();
    return fflush(stdout) == 0 ? 0 : 1;
}
