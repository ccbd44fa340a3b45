/* SPDX-License-Identifier: BSD-2-Clause */
/* The unit tests' answer to a broken invariant: say it and abort. */
#include "everwarm/base/invariant.h"

#include <stdio.h>
#include <stdlib.h>

void invariant_failed(const char *kind, const char *what, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: %s failed: %s\n", file, line, kind, what);
    abort();
}
