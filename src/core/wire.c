/* SPDX-License-Identifier: BSD-2-Clause */
/* The words of the table of ends. */
#include "everwarm/core/wire.h"

#include "everwarm/base/invariant.h"

const char *wire_end_text(enum wire_end end)
{
    switch (end) {
#define X(name, text)                                                                              \
    case WIRE_END_##name:                                                                          \
        return text;
        WIRE_END_TABLE(X)
#undef X
    }
    UNREACHABLE();
}
