/* SPDX-License-Identifier: BSD-2-Clause */
/* Changes to the configuration's file. Thread: any, one at a time. */
#ifndef EVERWARM_SHELL_EDIT_FILE_H
#define EVERWARM_SHELL_EDIT_FILE_H

#include "everwarm/config/edit.h"

/*
 * Make EDIT in the file at PATH, which is replaced in one step, so that it is always whole. Owner
 * and mode stay; a symbolic link stays one.
 *
 * Errors  as edit_text's; STATUS_SYSTEM: the file can't be read or written.
 */
MUST_CHECK enum status edit_file(const char *path, const struct edit_node *edit,
                                 struct config_error *error);

#endif
