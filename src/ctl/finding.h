/* SPDX-License-Identifier: BSD-2-Clause */
/* What is wrong with a proxy and its nodes, judged by its /stats alone. */
#ifndef EVERWARM_SRC_CTL_FINDING_H
#define EVERWARM_SRC_CTL_FINDING_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum finding_severity { FINDING_CRITICAL, FINDING_WARNING, FINDING_NOTE };

enum {
    /* A few for each node of a few pools; what is past it is less bad than what is shown. */
    FINDINGS_MAX = 256,
    FINDING_TEXT_BYTES = 320,
    FINDING_FIX_BYTES = 448,
};

struct finding {
    enum finding_severity severity;
    char text[FINDING_TEXT_BYTES]; /* one sentence */
    char fix[FINDING_FIX_BYTES];   /* what to type, or to do */
};

struct findings {
    size_t count;
    struct finding items[FINDINGS_MAX];
};

/*
 * Judge STATS, worst first.
 *
 *   command  how everwarmctl is called for this proxy: "everwarmctl -H a:11280"
 *   now_s    since 1970, by the proxy's own clock (its "time")
 */
void finding_collect(const json_t *stats, const char *command, int64_t now_s, struct findings *out);

const char *finding_word(enum finding_severity severity);

/* Answer "is it fine?" in one sentence, of FINDING_TEXT_BYTES, from what was collected of STATS. */
void finding_verdict(const json_t *stats, const struct findings *findings, char *out);

#endif
