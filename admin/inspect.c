/* SPDX-License-Identifier: BSD-2-Clause */
/* Limits of lists. */
#include "inspect.h"

bool inspect_limit(const struct request *request, size_t max, size_t *out, struct reply *reply)
{
    const char *text = route_query(request, "limit");
    uint64_t limit = max;
    if (text != NULL && (!route_number(text, &limit) || limit == 0 || limit > max)) {
        reply_problem_about(reply, PROBLEM_BAD_REQUEST, "write ?limit=10, or leave it out",
                            "\"limit\" is a number from 1 to %zu.", max);
        return false;
    }
    *out = (size_t)limit;
    return true;
}

void inspect_refuse(struct reply *reply)
{
    reply_problem(reply, PROBLEM_BUSY, "Too many ask at once, or a worker does not answer.",
                  "repeat the call in a second; GET /livez tells whether the loops turn");
}
