/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"

int worker_main(int argc, char **argv)
{
    return 1;
}
