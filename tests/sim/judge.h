/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Judge a history that was recorded on real processes. Its lines, times in microseconds:
 *
 *   op KEY CLIENT ASKED TOLD KIND RESULT VALUE SEEN NUMBER   "-" for what an operation has not
 *   fault AT    something was harmed: replies that nodes sent may be lost
 *   lapse AT    a proxy was stopped or killed: what it had under way may be deleted afterwards
 *   flush AT    somebody else emptied a node: a miss says nothing until that has been noticed
 *   split KEY   not judged: its proxy died in the middle of a write (docs/limits.md)
 *
 * KIND and RESULT are history.h's words; SEEN is what a get read, or what a cas had read before;
 * VALUE of incr and decr is the signed difference, NUMBER the answer.
 */
#ifndef SIM_JUDGE_H
#define SIM_JUDGE_H

/* Returns 0: every key has an order, 1: some has none (they are printed), 2: FILE is no history. */
int judge_file(const char *file);

#endif
