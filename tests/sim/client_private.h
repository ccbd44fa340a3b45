/* SPDX-License-Identifier: BSD-2-Clause */
/* What client.c and ask.c know of each other. */
#ifndef SIM_CLIENT_PRIVATE_H
#define SIM_CLIENT_PRIVATE_H

#include "sim/world.h"

enum { CLIENT_NO_EPOCH = 0 };

bool client_is_number_key(const struct client *c, uint32_t key);
uint64_t client_epoch(const struct world *world, const struct client *c);
/* The epoch of the CAS that GETS told. None: near a fault another replica may have answered, and
 * where there are no tokens its CAS is foreign to the leader. */
uint64_t client_cas_epoch(const struct world *world, const struct client *c,
                          const struct history_op *gets);
struct history_op client_op(const struct world *world, const struct client *c, uint32_t key,
                            enum history_kind kind);
uint32_t client_record(struct world *world, const struct history_op *op);
struct client_pending *client_push(const struct world *world, struct client *c, uint32_t first_op,
                                   uint32_t count);
/* OP is told, or will never be. */
void client_told(struct world *world, struct history_op *op, enum history_result result,
                 uint64_t until_us);
/* Send bytes, or an end, to its proxy. */
void client_put(struct world *world, struct client *c, enum segment_type type, struct slice bytes);
/* Put another request at random behind OUT. */
void client_ask(struct world *world, struct client *c, struct bytes *out);

#endif
