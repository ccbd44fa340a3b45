/* SPDX-License-Identifier: BSD-2-Clause */
#include "dump_line.h"

#include "everwarm/core/view.h"
#include "everwarm/mc/encode.h"

static const struct slice reserved_prefix = SLICE_INIT(VIEW_RESERVED_PREFIX);

enum dump_line dump_line_read(struct slice line, struct mc_dump_item *out)
{
    if (slice_is_equal(line, SLICE("END"))) {
        return DUMP_LINE_END;
    }
    if (slice_is_equal(line, SLICE("OK"))) {
        return DUMP_LINE_PASS;
    }
    /* -o no_lru_crawler; -X. */
    if (slice_has_prefix(line, SLICE("CLIENT_ERROR")) ||
        slice_has_prefix(line, SLICE("ERROR metadump not allowed"))) {
        return DUMP_LINE_REFUSED;
    }
    if (!slice_has_prefix(line, SLICE("key=")) || !mc_dump_parse(line, out) ||
        out->key_bytes == 0) {
        return DUMP_LINE_AGAIN;
    }
    struct slice key = slice_of(out->key, out->key_bytes);
    return slice_has_prefix(key, reserved_prefix) ? DUMP_LINE_PASS
           : mc_key_can_be_written(key)           ? DUMP_LINE_ITEM
                                                  : DUMP_LINE_HIDDEN;
}
