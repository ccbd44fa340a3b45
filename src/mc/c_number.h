/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers as memcached reads them from clients: by strtol and strtoull in the C locale, so that
 * white space before, a plus sign, and anything after a further white space are fine.
 */
#ifndef MC_C_NUMBER_H
#define MC_C_NUMBER_H

#include "everwarm/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Read WORD as strtol would.
 *
 * Returns  false when it is no number or is outside 64 bits; *out is unchanged then.
 */
bool c_number_read_i64(struct slice word, int64_t *out);

/*
 * Read WORD as strtoull would: a minus sign negates modulo 2^64. As in memcached, a result above
 * INT64_MAX is refused when WORD holds a minus sign anywhere.
 *
 * Returns  false when it is no number or is outside 64 bits; *out is unchanged then.
 */
bool c_number_read_u64(struct slice word, uint64_t *out);

#endif
