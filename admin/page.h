/* SPDX-License-Identifier: BSD-2-Clause */
/* The page for people, and the files that it is made of. */
#ifndef EVERWARM_ADMIN_PAGE_H
#define EVERWARM_ADMIN_PAGE_H

#include "route.h"

#include <stddef.h>

/* A file of admin/web, as it was when this was built. */
struct page_file {
    const char *name; /* "main.js" */
    const char *type; /* Content-Type */
    const char *etag; /* in quotes; of the bytes alone */
    size_t byte_count;
    const unsigned char *bytes;
};

/* Made by scripts/embed.sh; ends with one that has no name. */
extern const struct page_file page_files[];

/* GET /, and GET /web/{file}. */
void page_show(const struct request *request, struct reply *reply);
void page_show_file(const struct request *request, struct reply *reply);

#endif
