/* SPDX-License-Identifier: BSD-2-Clause */
/* The meta commands of the model memcached. */
#ifndef SIM_MODEL_META_H
#define SIM_MODEL_META_H

#include "sim/model.h"

/*
 * Answer the meta command WORD ("mg", "ms", "md", "ma", "mn") with the words REST behind it.
 *
 * DATA  what stands behind the line; ms takes its block from there.
 * Returns  bytes of DATA that belong to the command; SIZE_MAX: they have not all come.
 */
size_t model_meta_run(struct model *model, struct model_conn *conn, struct slice word,
                      struct slice rest, struct slice data);

#endif
