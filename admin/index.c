/* SPDX-License-Identifier: BSD-2-Clause */
/* The route table as text. */
#include "index.h"

#include <stdio.h>
#include <stdlib.h>

void index_show(const struct request *request, struct reply *reply)
{
    (void)request;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out == NULL) {
        reply_json(reply, 200, NULL);
        return;
    }
    (void)fputs("everwarm answers here:\n\n", out);
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at(i);
        (void)fprintf(out, "  %-4s  %-26s  %s\n", route->method, route->path, route->summary);
    }
    (void)fputs(
        "\n{name} is a node's, percent-encoded. A command that would leave no readable copy "
        "is refused unless\n?force=true; repeating a command is harmless. Example:\n\n"
        "  curl -X POST http://127.0.0.1:11280/v1/nodes/{name}/drain\n",
        out);
    if (fclose(out) != 0) {
        free(text);
        text = NULL;
    }
    reply_text(reply, "text/plain; charset=utf-8", text, bytes);
}
