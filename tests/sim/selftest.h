/* SPDX-License-Identifier: BSD-2-Clause */
/* The checker's own test: planted histories, good and bad. */
#ifndef SIM_SELFTEST_H
#define SIM_SELFTEST_H

/* Returns how many were judged wrongly; each is printed. */
int selftest_run(void);

#endif
