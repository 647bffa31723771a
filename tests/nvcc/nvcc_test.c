/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs as nvcc builds them, unmodified, with the static and with the shared
 * CUDA runtime: on the driver itself, and through libvgpu and gpu-proxy. What
 * they print must be the same, and what is expected.
 *   nvcc_test GPU-PROXY DRIVER LIBVGPU PRELOAD SOURCES PROGRAM...
 * PRELOAD: what a sanitized driver needs to be loaded first, or "none".
 */
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "minitest.h"
#include "node.h"

#define MAX_OUTPUT (1u << 16)
#define MAX_FLAGS  8
#define AT_A_TIME  3

static struct node node;
static const char *driver, *libvgpu, *preload, *sources;
static char nvcc[512], cuda_libraries[600], work[] = "/tmp/gi-nvcc-XXXXXX";

__attribute__((format(printf, 3, 4))) static void print(char *to, size_t size, const char *format,
                                                        ...)
{
    va_list args;
    va_start(args, format);
    if (vsnprintf(to, size, format, args) >= (int)size)
        abort();
    va_end(args);
}

/* Where the toolkit is; false: nowhere. */
static bool find_nvcc(void)
{
    const char *named = getenv("NVCC");
    char path[4096];
    print(nvcc, sizeof(nvcc), "%s", named ? named : "/usr/local/cuda/bin/nvcc");
    const char *list = getenv("PATH");
    if (!named && list && strlen(list) < sizeof(path)) {
        print(path, sizeof(path), "%s", list);
        char *save;
        for (const char *d = strtok_r(path, ":", &save); d; d = strtok_r(NULL, ":", &save)) {
            char candidate[512];
            if (snprintf(candidate, sizeof(candidate), "%s/nvcc", d) < (int)sizeof(candidate) &&
                access(candidate, X_OK) == 0) {
                print(nvcc, sizeof(nvcc), "%s", candidate);
                break;
            }
        }
    }
    char *real = realpath(nvcc, NULL);
    if (!real || access(real, X_OK) < 0) {
        free(real);
        return false;
    }
    print(nvcc, sizeof(nvcc), "%s", real);
    *strrchr(real, '/') = '\0';
    print(cuda_libraries, sizeof(cuda_libraries), "%s/../lib64", real);
    free(real);
    return true;
}

/* Runs ARGV with standard output in TEXT (NULL: where ours is); its exit code. */
static int run(char *const argv[], char *text, size_t size)
{
    int out[2] = {-1, -1};
    size_t len = 0;
    ssize_t n;
    if (text && pipe(out) < 0)
        abort();
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (text)
            dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execv(argv[0], argv);
        _exit(127);
    }
    close(out[1]);
    while (text && len < size - 1 && (n = read(out[0], text + len, size - 1 - len)) > 0)
        len += (size_t)n;
    if (text)
        text[len] = '\0';
    close(out[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* What a program's line "nvcc: FLAGS" says: flags, and perhaps a second source. */
struct own {
    char line[256];
    char *flags[MAX_FLAGS];
    unsigned n;
    const char *part; /* below SOURCES; NULL: there is none */
};

static void read_own(const char *source, struct own *ret_own)
{
    FILE *f = fopen(source, "r");
    *ret_own = (struct own){.n = 0};
    while (f && fgets(ret_own->line, sizeof(ret_own->line), f)) {
        if (strncmp(ret_own->line, "/* nvcc: ", 9) != 0)
            continue;
        char *save;
        for (char *t = strtok_r(ret_own->line + 9, " \n", &save);
             t && ret_own->n < MAX_FLAGS && *t != '*'; t = strtok_r(NULL, " \n", &save)) {
            size_t len = strlen(t);
            if (len > 3 && strcmp(t + len - 3, ".cu") == 0)
                ret_own->part = t;
            else
                ret_own->flags[ret_own->n++] = t;
        }
        break;
    }
    if (f)
        fclose(f);
}

static bool compile(const struct own *own, const char *source, const char *object)
{
    char *argv[MAX_FLAGS + 12] = {nvcc, "-std=c++17", "-c", "-o", (char *)object, (char *)source};
    memcpy(argv + 6, own->flags, own->n * sizeof(argv[0]));
#ifndef GI_HAVE_ZSTD
    /* Its default is zstd, which this build's simulated GPU can't read. */
    if (own->n == 0 || strncmp(argv[6], "--compress-mode", 15) != 0)
        argv[6 + own->n] = (char *)"--compress-mode=speed";
#endif
    return run(argv, NULL, 0) == 0;
}

/* PART: another object, or NULL. What is compiled for linking is linked with the same flags. */
static bool link_with(const struct own *own, const char *runtime, const char *object,
                      const char *part, const char *program)
{
    char *argv[MAX_FLAGS + 12] = {nvcc, "-cudart",       (char *)runtime,
                                  "-o", (char *)program, (char *)object};
    unsigned n = 6;
    if (part) {
        argv[n++] = (char *)part;
        memcpy(argv + n, own->flags, own->n * sizeof(argv[0]));
    }
    return run(argv, NULL, 0) == 0;
}

/* Whether PROGRAM with the libcuda.so.1 in FOLDER does what is expected. */
static void check(const char *program, const char *folder, const char *first, const char *expected)
{
    char *text = malloc(MAX_OUTPUT);
    char library_path[1600], load_first[600];
    if (!text)
        abort();
    print(library_path, sizeof(library_path), "LD_LIBRARY_PATH=%s/%s:%s", work, folder,
          cuda_libraries);
    print(load_first, sizeof(load_first), "LD_PRELOAD=%s", first);
    char *argv[] = {"/usr/bin/env",  library_path, load_first, "ASAN_OPTIONS=detect_leaks=0",
                    (char *)program, NULL};
    int rc = run(argv, text, MAX_OUTPUT);
    if (rc != 0 || strcmp(text, expected) != 0) {
        fprintf(stderr, "%s with %s: exit code %d, it printed\n%s--- instead of\n%s", program,
                folder, rc, text, expected);
        mt_failed++;
    }
    free(text);
}

static char *read_expected(const char *name)
{
    char path[512];
    char *text = calloc(1, MAX_OUTPUT);
    print(path, sizeof(path), "%s/expected/%s.txt", sources, name);
    FILE *f = fopen(path, "r");
    if (!text || !f || fread(text, 1, MAX_OUTPUT - 1, f) == 0)
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    if (f)
        fclose(f);
    return text;
}

static const char *const runtimes[] = {"static", "shared"};

static bool build(const char *name)
{
    char source[512], object[256], part[256], program[256];
    struct own own;
    print(source, sizeof(source), "%s/%s.cu", sources, name);
    print(object, sizeof(object), "%s/%s.o", work, name);
    print(part, sizeof(part), "%s/%s.part.o", work, name);
    read_own(source, &own);
    bool built = compile(&own, source, object);
    if (own.part && built) {
        print(source, sizeof(source), "%s/%s", sources, own.part);
        built = compile(&own, source, part);
    }
    for (unsigned i = 0; i < 2 && built; i++) {
        print(program, sizeof(program), "%s/%s-%s", work, name, runtimes[i]);
        built = link_with(&own, runtimes[i], object, own.part ? part : NULL, program);
    }
    return built;
}

/* Several at a time: nvcc is slow. */
static bool build_all(char *const *names, int n)
{
    bool good = true;
    for (int started = 0, done = 0; done < n;) {
        if (started < n && started - done < AT_A_TIME) {
            fflush(stdout);
            if (fork() == 0)
                _exit(!build(names[started]));
            started++;
            continue;
        }
        int status = 1;
        wait(&status);
        good = good && status == 0;
        done++;
    }
    return good;
}

static void test_program(const char *name)
{
    char program[256];
    char *expected = read_expected(name);
    EXPECT(expected && *expected);
    for (unsigned i = 0; i < 2 && expected; i++) {
        print(program, sizeof(program), "%s/%s-%s", work, name, runtimes[i]);
        check(program, "driver", preload, expected);
        uint64_t before = proxy_stats(&node.proxy, NODE_ZONE).clients_total;
        check(program, "libvgpu", "", expected);
        EXPECT(WAIT_FOR(5000, proxy_stats(&node.proxy, NODE_ZONE).clients == 0));
        struct control_zone_stats s = proxy_stats(&node.proxy, NODE_ZONE);
        /* It went through the proxy: each of its processes. */
        EXPECT_EQ(s.clients_total, before + (strcmp(name, "processes") == 0 ? 4 : 1));
        EXPECT_EQ(s.refused_handles + s.refused_addresses + s.protocol_errors, 0);
        EXPECT_EQ(s.worker_crashes, 0);
        EXPECT_EQ(s.memory_used, 0);
    }
    free(expected);
}

static bool provide(const char *folder, const char *library)
{
    char path[512];
    print(path, sizeof(path), "%s/%s", work, folder);
    if (mkdir(path, 0700) < 0)
        return false;
    print(path, sizeof(path), "%s/%s/libcuda.so.1", work, folder);
    char *whole = realpath(library, NULL);
    bool done = whole && symlink(whole, path) == 0;
    free(whole);
    return done;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

int main(int argc, char **argv)
{
    if (argc < 7)
        return 2;
    driver = argv[2];
    libvgpu = argv[3];
    preload = strcmp(argv[4], "none") == 0 ? "" : argv[4];
    sources = argv[5];
    if (!node_has_driver(driver))
        return 77;
    setenv("GI_SIM_DEVICES", "2", 1);
    if (!find_nvcc()) {
        printf("needs nvcc (the CUDA toolkit), in PATH, $NVCC or /usr/local/cuda\n");
        return 77;
    }
    if (!mkdtemp(work) || !build_all(argv + 6, argc - 6) || !provide("driver", driver) ||
        !provide("libvgpu", libvgpu) || !node_start(&node, argv[1], driver, 8ull << 30))
        return 1;
    for (int i = 6; i < argc; i++) {
        unsigned failed = mt_failed;
        test_program(argv[i]);
        mt_ran++;
        printf("%s %s\n", mt_failed == failed ? "ok  " : "FAIL", argv[i]);
        fflush(stdout);
    }
    EXPECT_EQ(node_stop(&node), 0);
    nftw(work, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return mt_done();
}
