/* SPDX-License-Identifier: BSD-2-Clause */
/* Writing protocol text into a buffer of known size, without printf. */
#ifndef EVERWARM_MC_ENCODE_H
#define EVERWARM_MC_ENCODE_H

#include "everwarm/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * A writer into the caller's bytes. Writing past the end writes nothing more and sets is_full, so a
 * run of calls needs one look at its end.
 */
struct mc_writer {
    char *ptr;
    size_t len;
    size_t capacity;
    bool is_full;
};

static inline struct mc_writer mc_writer_of(char *ptr, size_t capacity)
{
    return (struct mc_writer){.ptr = ptr, .len = 0, .capacity = capacity, .is_full = false};
}

static inline void mc_write(struct mc_writer *w, struct slice s)
{
    if (w->is_full || s.len > w->capacity - w->len) {
        w->is_full = true;
        return;
    }
    if (s.len > 0) {
        memcpy(w->ptr + w->len, s.ptr, s.len);
    }
    w->len += s.len;
}

/* The decimal form of a number. */
void mc_write_u64(struct mc_writer *w, uint64_t value);
void mc_write_i64(struct mc_writer *w, int64_t value);
/*
 * A key as a meta command names it: its bytes, or base64 where they hold a space, a line feed or a
 * zero byte; then the flag b belongs behind it, which mc_write_key_flag writes with its space, and
 * for other keys not.
 *
 *   key      mc_key_can_be_written()
 */
void mc_write_key(struct mc_writer *w, struct slice key);
void mc_write_key_flag(struct mc_writer *w, struct slice key);
/* False: it needs base64, which would be longer than MC_KEY_BYTES_MAX. */
bool mc_key_can_be_written(struct slice key);
/* Sixteen lower-case hexadecimal digits. */
void mc_write_hex64(struct mc_writer *w, uint64_t value);

/*
 * Read a decimal number that fills the whole slice, one to twenty digits, no sign.
 *
 * Returns  false when it is anything else or overflows; *out is unchanged then.
 */
bool mc_read_u64(struct slice s, uint64_t *out);
/* The same with an optional minus sign. */
bool mc_read_i64(struct slice s, int64_t *out);
/* Sixteen hexadecimal digits. */
bool mc_read_hex64(struct slice s, uint64_t *out);

/*
 * Take the next word off the front of LINE; words are separated by one or more spaces.
 *
 * Returns  the word; of length 0 when there is none left.
 */
struct slice mc_next_word(struct slice *line);

#endif
