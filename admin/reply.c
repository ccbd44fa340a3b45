/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers. Everything that can fail here fails for want of memory only, and ends as a 503 whose
 * body is empty if there is no memory even for that.
 */
#include "reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* One or two sentences with a node's name in them; longer ones are cut. */
    DETAIL_BYTES_MAX = 1024,
};

static const struct problem_kind {
    const char *type;
    unsigned int status;
    const char *title;
} KINDS[PROBLEM_COUNT] = {
#define X(name, slug, status, title) [PROBLEM_##name] = {"/problems/" slug, status, title},
    PROBLEM_TABLE(X)
#undef X
};

/* The text of JSON with a line's end, for terminals. Latencies are read to 1/32; nine digits hide
 * the noise of binary fractions. */
static char *dump(const json_t *json)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out == NULL) {
        return NULL;
    }
    const bool is_whole = json_dumpf(json, out, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) == 0 &&
                          fputc('\n', out) != EOF;
    if (fclose(out) != 0 || !is_whole) {
        free(text);
        return NULL;
    }
    return text;
}

static void take_body(struct reply *reply, unsigned int status, const char *type, char *body)
{
    reply_fini(reply);
    reply->status = body == NULL ? KINDS[PROBLEM_NO_MEMORY].status : status;
    reply->type = type;
    reply->body = body;
    reply->body_bytes = body == NULL ? 0 : strlen(body);
}

void reply_json(struct reply *reply, unsigned int status, json_t *json)
{
    if (json == NULL) {
        reply_problem(reply, PROBLEM_NO_MEMORY, "There was no memory for the answer.", "try again");
        return;
    }
    take_body(reply, status, "application/json", dump(json));
    json_decref(json);
}

void reply_text(struct reply *reply, const char *type, char *body, size_t body_bytes)
{
    take_body(reply, 200, type, body);
    if (body != NULL) {
        reply->body_bytes = body_bytes;
    }
}

void reply_stream(struct reply *reply, const char *type, reply_source *source, void *closure,
                  void (*close)(void *closure))
{
    reply->status = 200;
    reply->type = type;
    reply->source = source;
    reply->closure = closure;
    reply->close = close;
}

void reply_problem(struct reply *reply, enum problem problem, const char *detail, const char *fix)
{
    const struct problem_kind *kind = &KINDS[problem];
    json_t *json = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", kind->type, "title", kind->title,
                             "status", (int)kind->status, "detail", detail, "fix", fix);
    char *body = json == NULL ? NULL : dump(json);
    json_decref(json);
    take_body(reply, kind->status, "application/problem+json", body);
}

void reply_problem_about(struct reply *reply, enum problem problem, const char *fix,
                         const char *format, ...)
{
    char detail[DETAIL_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(detail, sizeof(detail), format, arguments);
    va_end(arguments);
    /* It may quote what a client sent, cut in the middle of a character. */
    for (char *c = detail; *c != '\0'; c++) {
        *c = (char)(*c >= ' ' && *c <= '~' ? *c : '?');
    }
    reply_problem(reply, problem, detail, fix);
}

void reply_fini(struct reply *reply)
{
    free(reply->body);
    reply->body = NULL;
    reply->body_bytes = 0;
    if (reply->close != NULL) {
        reply->close(reply->closure);
        reply->close = NULL;
    }
}
