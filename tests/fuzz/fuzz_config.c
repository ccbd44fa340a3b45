/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The text of a configuration file. Promised: it is refused with a place in the file, or all that
 * the rest of the program relies on holds.
 */
#include "everwarm/config/config.h"
#include "fuzz.h"

static void expect_place(const struct config_error *error, struct slice text)
{
    size_t lines = 1;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.ptr[i] == '\n';
    }
    PROMISE(error->message[0] != 0 && memchr(error->message, 0, sizeof(error->message)) != NULL);
    PROMISE(error->line <= lines);
    PROMISE((error->line == 0) == (error->column == 0));
}

static void expect_usable(const struct config *config)
{
    PROMISE(config->pool_count >= 1 && config->pool_count <= POOLS_MAX);
    PROMISE(config->threads_count >= 1 && config->threads_count <= WORKERS_MAX);
    PROMISE(config->memory_bytes >= 4 * config->item_bytes * config->threads_count);
    PROMISE(config->client_output_bytes >= config->item_bytes);
    for (size_t i = 0; i < config->pool_count; i++) {
        const struct config_pool *pool = &config->pools[i];
        PROMISE(pool->node_count >= 1 && pool->node_count <= NODES_MAX);
        PROMISE(pool->request_timeout_us > pool->lease_us + 2 * pool->health_interval_us);
        for (size_t j = 0; j < pool->node_count; j++) {
            PROMISE(pool->nodes[j].name[0] != 0);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config_error error;
    struct config *config = NULL;
    struct slice text = slice_of((const char *)data, size);
    error = (struct config_error){.line = 0};
    enum status status = config_load_text("fuzz.json", text.ptr, text.len, &config, &error);
    if (status == STATUS_OK) {
        expect_usable(config);
        config_destroy(&config);
    } else {
        PROMISE(config == NULL && status == STATUS_BAD_CONFIG);
        expect_place(&error, text);
    }
    return 0;
}
