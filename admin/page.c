/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page. It is plain files: what it shows it asks for itself, at the routes that everybody else
 * uses too. Browsers keep the files and ask whether they are still the same, so a new release is
 * seen at once and nothing is sent twice.
 */
#include "page.h"

#include <stdlib.h>
#include <string.h>

/* All of it comes from here, nothing is inline, and nobody may put it in a frame. */
static const char POLICY[] = "default-src 'none'; script-src 'self'; style-src 'self'; "
                             "connect-src 'self'; img-src 'self'; base-uri 'none'; "
                             "form-action 'none'; frame-ancestors 'none'";

static const struct page_file *find(const char *name)
{
    const struct page_file *file = page_files;
    while (file->name != NULL && strcmp(file->name, name) != 0) {
        file++;
    }
    return file->name == NULL ? NULL : file;
}

static void send(const struct request *request, const struct page_file *file, struct reply *reply)
{
    char *body = NULL;
    const bool is_known =
        request->if_none_match != NULL && strstr(request->if_none_match, file->etag) != NULL;
    if (!is_known) {
        body = malloc(file->byte_count + 1);
        if (body != NULL) {
            memcpy(body, file->bytes, file->byte_count);
            body[file->byte_count] = '\0'; /* it is text, as all answers are */
        }
        reply_text(reply, file->type, body, file->byte_count);
    } else {
        reply->status = 304;
    }
    reply->etag = file->etag;
    reply->policy = POLICY;
}

void page_show(const struct request *request, struct reply *reply)
{
    send(request, find("index.html"), reply);
}

void page_show_file(const struct request *request, struct reply *reply)
{
    const struct page_file *file = find(request->name);
    if (file == NULL) {
        reply_problem(reply, PROBLEM_NO_ROUTE, "The page has no such file.", "open / in a browser");
        return;
    }
    send(request, file, reply);
}
