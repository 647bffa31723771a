/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer of any bytes onto a root folder that sits beside a folder of ours:
 * whatever happens, that one stays as it was. Without root, owners can't be
 * set and most layers end early; run it as root.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "digest.h"
#include "unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char base[64];
static int base_fd = -1;

static void remove_base(void)
{
    gi_remove_tree_at(AT_FDCWD, base, NULL);
}

static void start(void)
{
    snprintf(base, sizeof(base), "%s/gi-fuzz-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(base))
        abort();
    atexit(remove_base);
    base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base_fd < 0 || mkdirat(base_fd, "outside", 0700) < 0)
        abort();
    close(openat(base_fd, "outside/secret", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static void check_outside(void)
{
    struct stat st;
    if (fstatat(base_fd, "outside/secret", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        (st.st_mode & 07777) != 0600 || st.st_nlink != 1 || st.st_size != 0 ||
        fstatat(base_fd, "outside", &st, AT_SYMLINK_NOFOLLOW) < 0 || (st.st_mode & 07777) != 0700)
        abort();
    int fd = openat(base_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fdopendir(fd);
    int n = 0;
    while (d && readdir(d))
        n++;
    if (n != 4) /* ".", "..", outside, root */
        abort();
    closedir(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct unpack_limits limits = {
        .max_bytes = 4u << 20, .max_entries = 64, .max_ratio = 100, .ratio_grace = 1u << 20};
    struct gi_error err = GI_ERROR_INIT;
    char diff_id[DIGEST_SIZE];
    struct unpack *u = NULL;
    if (base_fd < 0)
        start();
    if (mkdirat(base_fd, "root", 0755) < 0)
        abort();
    int root = openat(base_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int blob = memfd_create("layer", MFD_CLOEXEC);
    if (root < 0 || blob < 0 || gi_write_full(blob, data, size) < 0 ||
        digest_of(data, size, diff_id) < 0 || unpack_new(root, &limits, NULL, NULL, &u, &err) < 0)
        abort();
    /* Twice: the second layer meets what the first one made. */
    for (int i = 0; i < 2; i++) {
        lseek(blob, 0, SEEK_SET);
        unpack_layer(u, blob, diff_id, &err);
    }
    unpack_free(u);
    close(blob);
    close(root);
    check_outside();
    if (gi_remove_tree_at(base_fd, "root", &err) < 0)
        abort();
    return 0;
}
