/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs every file below the given folders through a fuzz target, then each
 * file again with every byte flipped in turn and cut at every length (bounded),
 * so that even without libFuzzer the neighbourhood of the corpus is walked.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE     (1u << 20)
#define MAX_MUTATION 512u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long runs;

static void run_copy(const uint8_t *data, size_t size)
{
    /* An exact-size heap copy lets ASan see a read one byte past the end. */
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    runs++;
}

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    uint8_t *data = malloc(MAX_FILE);
    if (!data)
        abort();
    size_t size = fread(data, 1, MAX_FILE, f);
    fclose(f);
    run_copy(data, size);
    size_t span = size < MAX_MUTATION ? size : MAX_MUTATION;
    for (size_t i = 0; i < span; i++) {
        static const uint8_t masks[] = {0x01, 0x80, 0xff};
        for (size_t m = 0; m < sizeof(masks); m++) {
            data[i] ^= masks[m];
            run_copy(data, size);
            data[i] ^= masks[m];
        }
        run_copy(data, i);
    }
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned long files = 0;
    int bad = 0;
    for (int i = 1; i < argc; i++) {
        struct dirent **names;
        int n = scandir(argv[i], &names, NULL, alphasort);
        if (n < 0) {
            perror(argv[i]);
            return 1;
        }
        for (int k = 0; k < n; k++) {
            char path[4096];
            struct stat st;
            snprintf(path, sizeof(path), "%s/%s", argv[i], names[k]->d_name);
            if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
                bad |= replay_file(path);
                files++;
            }
            free(names[k]);
        }
        free(names);
    }
    printf("%lu corpus files, %lu runs\n", files, runs);
    if (!files) {
        fprintf(stderr, "no corpus file found\n");
        return 1;
    }
    return bad;
}
