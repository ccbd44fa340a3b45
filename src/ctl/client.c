/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One libcurl handle a request, all of them driven by one multi handle:
 *
 *   transfer ─► begin: handle with URL, method, body ─► multi ─► end: status, JSON or error
 *
 * Proxies of the environment are never used and redirects never followed: an admin port is asked
 * itself or not at all. A proxy that hangs costs its own timeout, not everybody's, where order does
 * not matter.
 */
#include "client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    /* A LAN answers in milliseconds; a machine that is gone shall not cost more. */
    CONNECT_TIMEOUT_MS = 2000,
    READ_TIMEOUT_MS = 5000,
    /* A command waits for the view to be in effect: the proxy gives up after 60 s at most. */
    COMMAND_TIMEOUT_MS = 65000,
    /* A snapshot of 512 nodes stays far below; what is larger is not everwarm's. */
    BODY_BYTES_MAX = 16 << 20,
    TOKEN_BYTES_MAX = 512,
    URL_BYTES_MAX = 2048,
};

struct client {
    const struct options *options;
    CURLM *multi;
    struct curl_slist *headers;
};

struct transfer {
    CURL *curl;
    char *text; /* owned */
    size_t bytes;
    char *sent; /* owned; the body */
    size_t proxy;
    client_take *take; /* NULL: keep the text */
    void *closure;
    char curl_error[CURL_ERROR_SIZE];
};

static size_t target_count(const struct client *client)
{
    return client->options->socket != NULL ? 1 : client->options->target_count;
}

static const char *target_name(const struct client *client, size_t index)
{
    return client->options->socket != NULL ? client->options->socket
                                           : client->options->targets[index];
}

/* The first line of the file, which nobody else may read. */
static bool read_token(const char *path, char token[TOKEN_BYTES_MAX])
{
    FILE *file = fopen(path, "re");
    struct stat found;
    if (file == NULL || fstat(fileno(file), &found) < 0) {
        (void)fprintf(stderr, "everwarmctl: %s: %s\n", path, strerrordesc_np(errno));
        if (file != NULL) {
            (void)fclose(file);
        }
        return false;
    }
    const bool is_private = (found.st_mode & (S_IRWXG | S_IRWXO)) == 0;
    const bool is_read = fgets(token, TOKEN_BYTES_MAX, file) != NULL;
    (void)fclose(file);
    if (!is_private) {
        (void)fprintf(stderr, "everwarmctl: %s: others can read it; type: chmod 600 %s\n", path,
                      path);
        return false;
    }
    token[is_read ? strcspn(token, "\r\n") : 0] = '\0';
    if (token[0] == '\0') {
        (void)fprintf(stderr, "everwarmctl: %s: there is no token in its first line\n", path);
    }
    return token[0] != '\0';
}

static bool add_header(struct client *client, const char *line)
{
    struct curl_slist *longer = curl_slist_append(client->headers, line);
    client->headers = longer == NULL ? client->headers : longer;
    return longer != NULL;
}

static bool set_up(struct client *client)
{
    char token[TOKEN_BYTES_MAX];
    char line[TOKEN_BYTES_MAX + 32];
    client->multi = curl_multi_init();
    if (client->multi == NULL || !add_header(client, "Content-Type: application/json") ||
        !add_header(client, "Expect:")) {
        (void)fputs("everwarmctl: out of memory\n", stderr);
        return false;
    }
    if (client->options->token_file == NULL) {
        return true;
    }
    if (!read_token(client->options->token_file, token)) {
        return false;
    }
    (void)snprintf(line, sizeof(line), "Authorization: Bearer %s", token);
    return add_header(client, line);
}

struct client *client_create(const struct options *options)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return NULL;
    }
    struct client *client = calloc(1, sizeof(*client));
    if (client != NULL) {
        client->options = options;
        if (!set_up(client)) {
            client_destroy(&client);
        }
    }
    return client;
}

void client_destroy(struct client **client)
{
    if (*client != NULL) {
        curl_slist_free_all((*client)->headers);
        (void)curl_multi_cleanup((*client)->multi);
        free(*client);
        *client = NULL;
    }
    curl_global_cleanup();
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *closure)
{
    struct transfer *transfer = closure;
    const size_t len = size * count;
    long status = 0;
    (void)curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
    if (transfer->take != NULL && status == 200) {
        return transfer->take(transfer->closure, transfer->proxy, bytes, len) ? len : 0;
    }
    if (len > BODY_BYTES_MAX - transfer->bytes) {
        return 0; /* curl ends the transfer */
    }
    char *longer = realloc(transfer->text, transfer->bytes + len + 1);
    if (longer == NULL) {
        return 0;
    }
    memcpy(longer + transfer->bytes, bytes, len);
    transfer->text = longer;
    transfer->bytes += len;
    return len;
}

struct question {
    const char *method;
    const char *path;
    const json_t *body;
    client_take *take;
    void *closure;
};

#define SET(option, value) ((void)curl_easy_setopt(transfer->curl, (option), (value)))

static void set_question(const struct client *client, struct transfer *transfer,
                         const struct question *question)
{
    const bool is_get = strcmp(question->method, "GET") == 0;
    const bool is_stream = question->take != NULL;
    char url[URL_BYTES_MAX];
    (void)snprintf(url, sizeof(url), "http://%s%s",
                   client->options->socket != NULL ? "localhost"
                                                   : target_name(client, transfer->proxy),
                   question->path);
    SET(CURLOPT_URL, url);
    if (client->options->socket != NULL) {
        SET(CURLOPT_UNIX_SOCKET_PATH, client->options->socket);
    }
    if (!is_get) {
        SET(CURLOPT_CUSTOMREQUEST, question->method);
        transfer->sent = question->body == NULL ? NULL : json_dumps(question->body, JSON_COMPACT);
        /* Without a body a POST says "Content-Length: 0", and a DELETE nothing. */
        if (transfer->sent != NULL || strcmp(question->method, "POST") == 0) {
            SET(CURLOPT_POSTFIELDS, transfer->sent != NULL ? transfer->sent : "");
        }
    }
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    SET(CURLOPT_TIMEOUT_MS, is_stream ? 0L
                            : is_get  ? (long)READ_TIMEOUT_MS
                                      : (long)COMMAND_TIMEOUT_MS);
}

static void begin(struct client *client, struct transfer *transfer, size_t proxy,
                  const struct question *question)
{
    *transfer = (struct transfer){
        .curl = curl_easy_init(),
        .proxy = proxy,
        .take = question->take,
        .closure = question->closure,
    };
    if (transfer->curl == NULL) {
        return;
    }
    SET(CURLOPT_ERRORBUFFER, transfer->curl_error);
    SET(CURLOPT_WRITEFUNCTION, take_bytes);
    SET(CURLOPT_WRITEDATA, transfer);
    SET(CURLOPT_HTTPHEADER, client->headers);
    SET(CURLOPT_USERAGENT, "everwarmctl");
    SET(CURLOPT_PROTOCOLS_STR, "http");
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    set_question(client, transfer, question);
    (void)curl_multi_add_handle(client->multi, transfer->curl);
}

#undef SET

static void note_result(CURLcode code, const struct transfer *transfer, struct answer *answer)
{
    (void)curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    if (code != CURLE_OK) {
        const char *why =
            transfer->curl_error[0] != '\0' ? transfer->curl_error : curl_easy_strerror(code);
        (void)snprintf(answer->error, sizeof(answer->error), "%s", why);
        answer->status = transfer->take != NULL ? answer->status : 0;
        return;
    }
    answer->body = transfer->text == NULL
                       ? NULL
                       : json_loadb(transfer->text, transfer->bytes, JSON_DECODE_ANY, NULL);
    if (answer->body == NULL && transfer->take == NULL) {
        (void)snprintf(answer->error, sizeof(answer->error),
                       "what answers there (HTTP status %ld) is not everwarm's admin port",
                       answer->status);
        answer->status = 0;
    }
}

/* Drive all transfers that were begun to their ends. */
static void drive(struct client *client)
{
    int running = 1;
    while (running > 0) {
        if (curl_multi_perform(client->multi, &running) != CURLM_OK) {
            return;
        }
        if (running > 0 && curl_multi_poll(client->multi, NULL, 0, 1000, NULL) != CURLM_OK) {
            return;
        }
    }
}

static void collect(struct client *client, const struct transfer *transfers, size_t count,
                    CURLcode codes[OPTIONS_TARGETS_MAX])
{
    int left = 0;
    for (;;) {
        const CURLMsg *message = curl_multi_info_read(client->multi, &left);
        if (message == NULL) {
            return;
        }
        for (size_t i = 0; i < count; i++) {
            if (transfers[i].curl == message->easy_handle && message->msg == CURLMSG_DONE) {
                codes[i] = message->data.result;
            }
        }
    }
}

/* Ask COUNT proxies from FIRST on at once. */
static void ask(struct client *client, const struct question *question, size_t first, size_t count,
                struct answers *out)
{
    struct transfer transfers[OPTIONS_TARGETS_MAX];
    CURLcode codes[OPTIONS_TARGETS_MAX];
    for (size_t i = 0; i < count; i++) {
        codes[i] = CURLE_FAILED_INIT;
        begin(client, &transfers[i], first + i, question);
    }
    drive(client);
    collect(client, transfers, count, codes);
    for (size_t i = 0; i < count; i++) {
        struct answer *answer = &out->items[first + i];
        *answer = (struct answer){.proxy = target_name(client, first + i)};
        if (transfers[i].curl != NULL) {
            note_result(codes[i], &transfers[i], answer);
            (void)curl_multi_remove_handle(client->multi, transfers[i].curl);
            curl_easy_cleanup(transfers[i].curl);
        } else {
            (void)snprintf(answer->error, sizeof(answer->error), "out of memory");
        }
        free(transfers[i].text);
        free(transfers[i].sent);
    }
}

void client_ask(struct client *client, const char *method, const char *path, const json_t *body,
                struct answers *out)
{
    const struct question question = {.method = method, .path = path, .body = body};
    out->count = target_count(client);
    const size_t step = strcmp(method, "GET") == 0 ? out->count : 1;
    for (size_t i = 0; i < out->count; i += step) {
        ask(client, &question, i, step, out);
    }
}

void client_stream(struct client *client, const char *path, client_take *take, void *closure,
                   struct answers *out)
{
    const struct question question = {
        .method = "GET", .path = path, .take = take, .closure = closure};
    out->count = target_count(client);
    ask(client, &question, 0, out->count, out);
}

void answers_fini(struct answers *answers)
{
    for (size_t i = 0; i < answers->count; i++) {
        json_decref(answers->items[i].body);
    }
    answers->count = 0;
}

bool answer_is_good(const struct answer *answer)
{
    return answer->status >= 200 && answer->status < 300;
}

enum ctl_exit answer_exit(const struct answer *answer)
{
    if (answer->status == 0) {
        return CTL_EXIT_UNREACHABLE;
    }
    if (answer_is_good(answer)) {
        return CTL_EXIT_DONE;
    }
    return answer->status == 504 ? CTL_EXIT_TIMEOUT : CTL_EXIT_REFUSED;
}

enum ctl_exit exit_merge(enum ctl_exit a, enum ctl_exit b)
{
    return a == b ? a : CTL_EXIT_PARTIAL;
}

enum ctl_exit answers_exit(const struct answers *answers)
{
    enum ctl_exit all = answer_exit(&answers->items[0]);
    for (size_t i = 1; i < answers->count; i++) {
        all = exit_merge(all, answer_exit(&answers->items[i]));
    }
    return all;
}

bool client_encode(const char *text, char *out, size_t out_bytes)
{
    static const char DIGITS[] = "0123456789ABCDEF";
    static const char PLAIN[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    size_t used = strlen(out);
    for (const char *c = text; *c != '\0'; c++) {
        const unsigned char byte = (unsigned char)*c;
        const bool is_plain = strchr(PLAIN, *c) != NULL;
        if (used + (is_plain ? 1 : 3) >= out_bytes) {
            return false;
        }
        if (is_plain) {
            out[used++] = *c;
        } else {
            out[used++] = '%';
            out[used++] = DIGITS[byte >> 4];
            out[used++] = DIGITS[byte & 15];
        }
        out[used] = '\0';
    }
    return true;
}
