/* SPDX-License-Identifier: BSD-2-Clause */
/* Operating errors: what the machine or the operator did, never our bug and never a peer. */
#ifndef EVERWARM_BASE_STATUS_H
#define EVERWARM_BASE_STATUS_H

#define STATUS_TABLE(X)                                                                            \
    X(OK, "ok")                                                                                    \
    X(NO_MEMORY, "out of memory")                                                                  \
    X(SYSTEM, "a system call failed")                                                              \
    X(BAD_CONFIG, "the configuration is invalid")                                                  \
    X(BAD_ARGUMENT, "a command-line argument is invalid")                                          \
    X(NOT_FOUND, "not found")                                                                      \
    X(FULL, "no room left")

enum status {
#define X(name, text) STATUS_##name,
    STATUS_TABLE(X)
#undef X
};

/* The status of a call that can fail must be looked at. */
#define MUST_CHECK __attribute__((warn_unused_result))

#endif
