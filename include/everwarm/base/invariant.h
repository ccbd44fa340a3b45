/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Our own bugs end the process at once, in production too: a proxy that goes on with a broken
 * promise would give one client another's bytes. What a peer does wrong is never an invariant.
 */
#ifndef EVERWARM_BASE_INVARIANT_H
#define EVERWARM_BASE_INVARIANT_H

/*
 * Report a broken invariant and abort. Not defined in the pure libraries: the program that links
 * them (everwarm, a test, the simulator) brings it.
 */
_Noreturn void invariant_failed(const char *kind, const char *what, const char *file, int line);

/* What a caller must give us. */
#define REQUIRE(condition)                                                                         \
    ((condition) ? (void)0 : invariant_failed("require", #condition, __FILE__, __LINE__))

/* What must hold by our own doing. */
#define INVARIANT(condition)                                                                       \
    ((condition) ? (void)0 : invariant_failed("invariant", #condition, __FILE__, __LINE__))

/* A place that no state leads to. */
#define UNREACHABLE() invariant_failed("unreachable", "", __FILE__, __LINE__)

#endif
