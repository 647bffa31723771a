/* SPDX-License-Identifier: Apache-2.0 */
/* The same program with the driver itself and through libvgpu and gpu-proxy:
 * it must see the same, with one device and with two.
 *   same_test GPU-PROXY DRIVER LIBVGPU PROGRAM [SEEDS STEPS | processes]
 * With SEEDS the program is random, and runs with as many of them, one after the other; one that is
 * of two processes is a client for each. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "minitest.h"
#include "node.h"

#define MAX_OUTPUT (1u << 20)

static struct node node;
static const char *driver, *libvgpu, *program, *steps;
static char seed[24];
static unsigned long seeds;
static unsigned processes = 1;

/* Heap; NULL when it didn't end with 0. */
static char *output_of(const char *library)
{
    int out[2];
    char *text = malloc(MAX_OUTPUT);
    if (!text || pipe(out) < 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execl(program, program, library, steps ? seed : (char *)NULL, steps, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    size_t len = 0;
    ssize_t n;
    while ((n = read(out[0], text + len, MAX_OUTPUT - 1 - len)) > 0)
        len += (size_t)n;
    close(out[0]);
    text[len] = '\0';
    int status = 0;
    waitpid(pid, &status, 0);
    if (status == 0 && len > 0)
        return text;
    fprintf(stderr, "%s %s: status %x, the end of its output:\n%s\n", program, library,
            (unsigned)status, len > 2000 ? text + len - 2000 : text);
    free(text);
    return NULL;
}

/* Says which lines differ, with the last one that has a call before. */
static unsigned differences(char *a, char *b)
{
    unsigned n = 0;
    char *save_a, *save_b;
    const char *line_a = strtok_r(a, "\n", &save_a);
    const char *line_b = strtok_r(b, "\n", &save_b);
    const char *last = "";
    while (line_a || line_b) {
        if (line_a && strncmp(line_a, "cu", 2) == 0)
            last = line_a;
        if (!line_a || !line_b || strcmp(line_a, line_b) != 0) {
            n++;
            if (steps && n > 1) /* from there on they go different ways */
                break;
            fprintf(stderr, "after %s\n  driver:  %s\n  libvgpu: %s\n", last,
                    line_a ? line_a : "(end)", line_b ? line_b : "(end)");
        }
        line_a = line_a ? strtok_r(NULL, "\n", &save_a) : NULL;
        line_b = line_b ? strtok_r(NULL, "\n", &save_b) : NULL;
    }
    return n;
}

static void test_random(void)
{
    for (unsigned long i = 0; i < seeds; i++) {
        snprintf(seed, sizeof(seed), "%lu", i);
        char *native = output_of(driver);
        char *remote = output_of(libvgpu);
        unsigned different = native && remote ? differences(native, remote) : 1;
        free(native);
        free(remote);
        if (different)
            fprintf(stderr, "%s: seed %s: %u lines\n", program, seed, different);
        EXPECT_EQ(different, 0);
    }
    EXPECT(WAIT_FOR(5000, proxy_stats(&node.proxy, NODE_ZONE).clients == 0));
    struct control_zone_stats s = proxy_stats(&node.proxy, NODE_ZONE);
    EXPECT_EQ(s.clients_total, seeds);
    EXPECT(s.launches > seeds && s.bytes_to_device > seeds * 1000000);
    EXPECT_EQ(s.refused_handles, 0);
    EXPECT_EQ(s.refused_addresses, 0);
    EXPECT_EQ(s.protocol_errors, 0);
    EXPECT_EQ(s.worker_crashes, 0);
    EXPECT_EQ(s.memory_used, 0);
}

static void test_same(void)
{
    char *native = output_of(driver);
    char *remote = output_of(libvgpu);
    REQUIRE(native && remote);
    EXPECT(strlen(native) > (processes == 1 ? 10000 : 5000));
    EXPECT_EQ(differences(native, remote), 0);
    free(native);
    free(remote);
    EXPECT(WAIT_FOR(5000, proxy_stats(&node.proxy, NODE_ZONE).clients == 0));
    struct control_zone_stats s = proxy_stats(&node.proxy, NODE_ZONE);
    /* It went through the proxy; what was wrong, libvgpu kept to itself. */
    EXPECT_EQ(s.clients_total, processes);
    EXPECT(s.launches >= (processes == 1 ? 27 : 5) && s.bytes_from_device > 5000000);
    EXPECT(s.bytes_to_device > 5000000 || processes > 1);
    EXPECT_EQ(s.refused_handles, 0);
    EXPECT_EQ(s.refused_addresses, 0);
    EXPECT_EQ(s.protocol_errors, 0);
    EXPECT_EQ(s.worker_crashes, 0);
    EXPECT_EQ(s.memory_used, 0);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    driver = argv[2];
    libvgpu = argv[3];
    program = argv[4];
    if (!node_has_driver(driver))
        return 77;
    if (argc == 6 && strcmp(argv[5], "processes") == 0)
        processes = 2;
    if (argc > 6) {
        seeds = strtoul(argv[5], NULL, 10);
        steps = argv[6];
    }
    for (int devices = steps ? 2 : 1; devices <= 2; devices++) {
        setenv("GI_SIM_DEVICES", devices == 1 ? "1" : "2", 1);
        if (!node_start(&node, argv[1], driver, 8ull << 30))
            return 1;
        if (steps)
            MT_RUN(test_random);
        else
            MT_RUN(test_same);
        EXPECT_EQ(node_stop(&node), 0);
    }
    return mt_done();
}
