/* SPDX-License-Identifier: BSD-2-Clause */
/* The words of the table of traces. */
#include "everwarm/core/trace.h"

#include "everwarm/base/invariant.h"

const char *trace_word(enum trace_type type)
{
    switch (type) {
#define X(name, word, level)                                                                       \
    case TRACE_##name:                                                                             \
        return word;
        TRACE_TABLE(X)
#undef X
    case TRACE_TYPE_COUNT:
        break;
    }
    UNREACHABLE();
}
