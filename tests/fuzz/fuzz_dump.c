/* SPDX-License-Identifier: BSD-2-Clause */
/* The lines of a dump. Promised: a line that is taken names a key that memcached can hold. */
#include "everwarm/mc/dump.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mc_dump_item item = {.key_bytes = 0};
    if (mc_dump_parse(slice_of((const char *)data, size), &item)) {
        PROMISE(item.key_bytes > 0 && item.key_bytes <= MC_KEY_BYTES_MAX);
    }
    return 0;
}
