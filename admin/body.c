/* SPDX-License-Identifier: BSD-2-Clause */
/* A member that nobody knows is refused: it was meant to do something, and would not. */
#include "body.h"

#include <string.h>

static bool is_known(const char *const members[], const char *name)
{
    for (size_t i = 0; members != NULL && members[i] != NULL; i++) {
        if (strcmp(members[i], name) == 0) {
            return true;
        }
    }
    return members == NULL;
}

static bool check_members(json_t *body, const char *const members[], struct reply *reply)
{
    const char *name;
    json_t *value;
    json_object_foreach(body, name, value)
    {
        if (!is_known(members, name)) {
            reply_problem_about(reply, PROBLEM_BAD_MEMBER, "GET /openapi.json tells the members",
                                "There is no member \"%.64s\" here.", name);
            return false;
        }
    }
    return true;
}

bool body_read(const struct request *request, const char *const members[], json_t **out,
               struct reply *reply)
{
    json_error_t error;
    json_t *body = request->body.len == 0 ? json_object()
                                          : json_loadb(request->body.ptr, request->body.len,
                                                       JSON_REJECT_DUPLICATES, &error);
    *out = body;
    if (!json_is_object(body)) {
        const bool is_json = body != NULL || request->body.len == 0;
        reply_problem_about(reply, PROBLEM_BAD_JSON, "send a JSON object, or no body",
                            "Line %d, column %d: %s.", is_json ? 1 : error.line,
                            is_json ? 1 : error.column, is_json ? "not an object" : error.text);
    } else if (check_members(body, members, reply)) {
        return true;
    }
    json_decref(body);
    *out = NULL;
    return false;
}
