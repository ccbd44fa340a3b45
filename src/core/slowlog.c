/* SPDX-License-Identifier: BSD-2-Clause */
/* A ring of the latest; what is kept of a key is its beginning, by which an operator knows it. */
#include "everwarm/core/slowlog.h"

#include "everwarm/base/invariant.h"

#include <string.h>

void slowlog_add(struct slowlog *log, const struct slow_request *request, struct slice key)
{
    struct slow_request *kept = &log->entries[log->next % SLOWLOG_ENTRIES_MAX];
    *kept = *request;
    kept->serial = ++log->next;
    kept->key_bytes = (uint8_t)(key.len < SLOWLOG_KEY_BYTES_MAX ? key.len : SLOWLOG_KEY_BYTES_MAX);
    if (kept->key_bytes > 0) {
        memcpy(kept->key, key.ptr, kept->key_bytes);
    }
}

size_t slowlog_copy(const struct slowlog *log, struct slow_request *out, size_t capacity)
{
    const uint64_t there = log->next < SLOWLOG_ENTRIES_MAX ? log->next : SLOWLOG_ENTRIES_MAX;
    size_t count = 0;
    while (count < there && count < capacity) {
        out[count] = log->entries[(log->next - 1 - count) % SLOWLOG_ENTRIES_MAX];
        count++;
    }
    return count;
}

const char *slowlog_phase_word(enum slowlog_phase phase)
{
    switch (phase) {
#define X(name, word)                                                                              \
    case SLOWLOG_PHASE_##name:                                                                     \
        return word;
        SLOWLOG_PHASE_TABLE(X)
#undef X
    case SLOWLOG_PHASE_COUNT:
        break;
    }
    UNREACHABLE();
}
