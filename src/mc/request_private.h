/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parsers of the text protocols share: words, errors, the rules for keys. */
#ifndef EVERWARM_MC_REQUEST_PRIVATE_H
#define EVERWARM_MC_REQUEST_PRIVATE_H

#include "everwarm/mc/request.h"

#define ERROR_LINE      "ERROR\r\n"
#define ERROR_FORMAT    "CLIENT_ERROR bad command line format\r\n"
#define ERROR_TOO_LARGE "SERVER_ERROR object too large for cache\r\n"
#define ERROR_RESERVED  "CLIENT_ERROR keys that begin with _everwarm: are reserved\r\n"

/* Not to be forwarded; ERROR is a constant, and is not said to who wrote noreply. */
enum mc_parse request_bad(struct mc_request *out, struct slice error);

/* The next word of LINE, empty at its end. A NUL behind the word ends LINE there. */
struct slice request_next_word(struct slice *line);

/* KEY, decoded, is one of the proxies' own. */
bool request_is_reserved(struct slice key);

/* An expiry as memcached reads it, cut to 32 bits. */
bool request_read_exptime(struct slice word, int64_t *out);

/* The length of a data block, its CRLF not counted, if memcached would read a block of it. */
bool request_read_value_bytes(struct slice word, uint64_t *out);

/* A meta command (mg, ms, md, ma, me, mn); WORD was its first, LINE is the rest. */
enum mc_parse request_parse_meta(struct slice word, struct slice line, uint64_t item_bytes_max,
                                 struct mc_request *out);

#endif
