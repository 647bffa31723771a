/* SPDX-License-Identifier: Apache-2.0 */
/* Beginning, end, errors' texts, versions. */
#include <stdio.h>
#include <string.h>

#include "channel.h"

NVML_EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
    (void)flags; /* whether it's fine to find no device: there is one, or no channel */
    return nv_open();
}

NVML_EXPORT nvmlReturn_t nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

NVML_EXPORT nvmlReturn_t nvmlInit(void)
{
    return nvmlInitWithFlags(0);
}

NVML_EXPORT nvmlReturn_t nvmlShutdown(void)
{
    return nv_close();
}

NVML_EXPORT const char *nvmlErrorString(nvmlReturn_t result)
{
    static const struct {
        nvmlReturn_t result;
        const char *text;
    } texts[] = {
        {NVML_SUCCESS, "Success"},
        {NVML_ERROR_UNINITIALIZED, "Not initialized"},
        {NVML_ERROR_INVALID_ARGUMENT, "Invalid argument"},
        {NVML_ERROR_NOT_SUPPORTED, "Not supported in an isolated pod"},
        {NVML_ERROR_NO_PERMISSION, "No permission"},
        {NVML_ERROR_NOT_FOUND, "Not found"},
        {NVML_ERROR_INSUFFICIENT_SIZE, "The buffer is too small"},
        {NVML_ERROR_DRIVER_NOT_LOADED, "This pod has no GPU"},
        {NVML_ERROR_GPU_IS_LOST, "The connection to the GPU is lost"},
        {NVML_ERROR_MEMORY, "Out of memory"},
        {NVML_ERROR_INSUFFICIENT_RESOURCES, "The pod's limit of GPU processes is reached"},
        {NVML_ERROR_ARGUMENT_VERSION_MISMATCH, "A struct of an unknown version"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].result == result)
            return texts[i].text;
    }
    return "Unknown error";
}

nvmlReturn_t nv_give_text(const char *text, char *out, unsigned int length)
{
    size_t n = strlen(text) + 1;
    if (!out)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (n > length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(out, text, n);
    return NVML_SUCCESS;
}

/* "0.0": the simulated GPU has no kernel driver. Tools parse numbers here. */
static nvmlReturn_t driver_version(const char *before, char *version, unsigned int length)
{
    struct nv_report report;
    char text[96];
    nvmlReturn_t rc = nv_ask_report(&report);
    if (rc != NVML_SUCCESS)
        return rc;
    snprintf(text, sizeof(text), "%s%s", before, report.driver[0] ? report.driver : "0.0");
    return nv_give_text(text, version, length);
}

NVML_EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    return driver_version("", version, length);
}

NVML_EXPORT nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
    return driver_version("13.", version, length);
}

NVML_EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
    nvmlReturn_t rc = nv_enter();
    if (rc != NVML_SUCCESS)
        return rc;
    if (!version)
        return NVML_ERROR_INVALID_ARGUMENT;
    *version = nv_cuda_version();
    return NVML_SUCCESS;
}

NVML_EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    return nvmlSystemGetCudaDriverVersion(version);
}

NVML_EXPORT nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length)
{
    struct nv_report report;
    nvmlReturn_t rc = nv_ask_report(&report);
    if (rc != NVML_SUCCESS)
        return rc;
    for (uint32_t i = 0; i < report.n_clients; i++) {
        if (report.clients[i].pid == pid)
            return nv_give_text(report.clients[i].name, name, length);
    }
    return NVML_ERROR_NOT_FOUND;
}
