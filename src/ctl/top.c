/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything live on one screen, 80x24 and up. Once a second: ask all proxies, make a frame, write
 * it in one go over the last one, each line cut at the terminal's width. The alternate screen is
 * left by whatever way this ends.
 *
 *   q, Ctrl-C  quit        anything else, or a resize: draw now
 */
#include "command.h"
#include "finding.h"
#include "show.h"
#include "text.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum {
    INTERVAL_MS = 1000,
    HISTORY = 240, /* seconds of the line of requests: as wide as terminals get */
    LINES_MAX = 256,
};

/* What of a proxy's last answer the next one is compared with. */
struct sample {
    bool is_there;
    double uptime_s;
    double total;
    double hits;
    double misses;
    double errors;
};

struct proxy_rates {
    double requests;
    double hit_percent; /* below 0: nothing was read */
    double errors;
};

struct top {
    const struct session *session;
    struct sample last[OPTIONS_TARGETS_MAX];
    struct proxy_rates rates[OPTIONS_TARGETS_MAX];
    uint64_t last_ms;
    double history[HISTORY]; /* requests a second of all proxies, oldest first */
    size_t history_count;
    size_t columns;
    size_t lines;
};

static volatile sig_atomic_t is_ended;
static volatile sig_atomic_t is_resized;

static void on_signal(int number)
{
    if (number == SIGWINCH) {
        is_resized = 1;
    } else {
        is_ended = 1;
    }
}

/* -- samples ------------------------------------------------------------------- */

/* Of "commands": each member that is an object counts outcomes. */
static double sum_errors(const json_t *stats)
{
    double sum = 0;
    const char *name = NULL;
    const json_t *command = NULL;
    json_object_foreach(json_object_get(stats, "commands"), name, command)
    {
        sum += table_number(command, "server_error");
    }
    return sum;
}

static struct sample take_sample(const json_t *stats)
{
    return (struct sample){
        .is_there = true,
        .uptime_s = table_number(stats, "uptime_s"),
        .total = table_number(stats, "commands.total"),
        .hits = table_number(stats, "commands.keys_hit"),
        .misses = table_number(stats, "commands.keys_missed"),
        .errors = sum_errors(stats),
    };
}

/* Nothing is known of a proxy that was not there, or was restarted, in between. */
static struct proxy_rates compare(const struct sample *before, const struct sample *now,
                                  double seconds)
{
    struct proxy_rates rates = {.hit_percent = -1};
    if (!before->is_there || !now->is_there || now->uptime_s < before->uptime_s ||
        now->total < before->total || seconds <= 0) {
        return rates;
    }
    const double hits = now->hits - before->hits;
    const double reads = hits + now->misses - before->misses;
    rates.requests = (now->total - before->total) / seconds;
    rates.errors = (now->errors - before->errors) / seconds;
    rates.hit_percent = reads > 0 ? hits * 100 / reads : -1;
    return rates;
}

static void push_history(struct top *top, double value)
{
    if (top->history_count == HISTORY) {
        memmove(top->history, top->history + 1, (HISTORY - 1) * sizeof(top->history[0]));
        top->history_count--;
    }
    top->history[top->history_count++] = value;
}

static void take_answers(struct top *top, const struct answers *answers)
{
    const uint64_t now_ms = session_now_ms();
    const double seconds = (double)(now_ms - top->last_ms) / 1e3;
    double requests = 0;
    for (size_t i = 0; i < answers->count; i++) {
        const struct answer *answer = &answers->items[i];
        const struct sample sample =
            answer_is_good(answer) ? take_sample(answer->body) : (struct sample){.is_there = false};
        top->rates[i] = compare(&top->last[i], &sample, seconds);
        top->last[i] = sample;
        requests += top->rates[i].requests;
    }
    if (top->last_ms != 0) {
        push_history(top, requests);
    }
    top->last_ms = now_ms;
}

/* -- the frame ----------------------------------------------------------------- */

static bool is_utf8(void)
{
    static const char *const NAMES[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        const char *value = getenv(NAMES[i]); /* nobody changes the environment */
        if (value != NULL && value[0] != '\0') {
            return strcasestr(value, "utf-8") != NULL || strcasestr(value, "utf8") != NULL;
        }
    }
    return false;
}

/* The last seconds as a line of blocks, scaled to the highest. */
static void put_history(FILE *out, const struct top *top)
{
    static const char *const BLOCKS[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const PLAIN[] = {" ", ".", ":", "-", "=", "+", "*", "%", "#"};
    const char *const *steps = is_utf8() ? BLOCKS : PLAIN;
    const size_t width = top->columns > 24 ? top->columns - 24 : 1;
    const size_t count = top->history_count < width ? top->history_count : width;
    const double *values = top->history + top->history_count - count;
    double max = 1;
    for (size_t i = 0; i < count; i++) {
        max = values[i] > max ? values[i] : max;
    }
    (void)fprintf(out, "  %zus, up to %.0f/s ", count, max);
    for (size_t i = 0; i < count; i++) {
        const size_t step = (size_t)(values[i] * 8 / max);
        (void)fputs(steps[values[i] > 0 && step == 0 ? 1 : step], out);
    }
    (void)fputc('\n', out);
}

static void put_percent(FILE *out, const char *label, double used, double limit)
{
    if (limit > 0) {
        (void)fprintf(out, "  %s %.0f%%", label, used * 100 / limit);
    }
}

static void put_proxy(FILE *out, const struct top *top, const struct answer *answer, size_t index)
{
    const json_t *stats = answer->body;
    const struct proxy_rates *rates = &top->rates[index];
    char latency[2][TEXT_BYTES_MAX] = {"-", "-"};
    char verdict[FINDING_TEXT_BYTES];
    char command[SESSION_COMMAND_BYTES];
    char uptime[32];
    struct findings findings;
    session_command(top->session, answer, command);
    finding_collect(stats, command, show_time_of(stats), &findings);
    finding_verdict(stats, &findings, verdict);
    const bool is_bad = findings.count > 0 && findings.items[0].severity != FINDING_NOTE;
    const char colour = !is_bad ? 'g' : findings.items[0].severity == FINDING_CRITICAL ? 'r' : 'y';
    text_duration((uint64_t)table_number(stats, "uptime_s"), uptime, sizeof(uptime));
    (void)fprintf(out, "%s  %s  up %s  %s\n", answer->proxy, table_text(stats, "version"), uptime,
                  table_text(stats, "state"));
    (void)fprintf(out, "%s%s%s\n", session_colour(top->session, colour), verdict,
                  session_colour(top->session, 0));
    if (is_bad) {
        (void)fprintf(out, "  -> %s\n", findings.items[0].fix);
    }
    (void)fprintf(out, "  %.0f requests/s  %.0f errors/s  ", rates->requests, rates->errors);
    if (rates->hit_percent >= 0) {
        (void)fprintf(out, "%.1f%% hits  ", rates->hit_percent);
    }
    (void)fprintf(out, "clients %.0f", table_number(stats, "clients.open"));
    put_percent(out, "memory", table_number(stats, "memory.used_bytes"),
                table_number(stats, "memory.limit_bytes"));
    put_percent(out, "fds", table_number(stats, "process.fds_open"),
                table_number(stats, "process.fds_max"));
    table_cell_latency(table_at(stats, "latency.reads.p99_s"), NULL, latency[0]);
    table_cell_latency(table_at(stats, "latency.writes.p99_s"), NULL, latency[1]);
    (void)fprintf(out, "\n  p99 since the start: reads %s, writes %s\n", latency[0], latency[1]);
}

static void put_frame(FILE *out, const struct top *top, const struct answers *answers)
{
    for (size_t i = 0; i < answers->count; i++) {
        const struct answer *answer = &answers->items[i];
        if (answer_is_good(answer)) {
            put_proxy(out, top, answer, i);
        } else {
            (void)fprintf(out, "%s  %s%s%s\n", answer->proxy, session_colour(top->session, 'r'),
                          answer->status == 0 ? answer->error : table_text(answer->body, "title"),
                          session_colour(top->session, 0));
        }
    }
    put_history(out, top);
    json_t *rows = session_rows(answers, "nodes");
    if (json_array_size(rows) > 0) {
        (void)fputc('\n', out);
        show_nodes_table(out, rows, SHOW_FILL_BAR);
    }
    json_decref(rows);
}

/* Bytes of TEXT, one line, that fit in COLUMNS; sequences of ours take none. */
static size_t clip(const char *text, size_t len, size_t columns)
{
    size_t at = 0;
    size_t width = 0;
    while (at < len) {
        if (text[at] == '\033') {
            const char *end = memchr(text + at, 'm', len - at);
            at = end == NULL ? len : (size_t)(end - text) + 1;
            continue;
        }
        char one[5] = "";
        size_t bytes = 1;
        while (at + bytes < len && bytes < 4 && ((unsigned char)text[at + bytes] & 0xc0) == 0x80) {
            bytes++;
        }
        memcpy(one, text + at, bytes);
        width += text_width(one);
        if (width > columns) {
            return at;
        }
        at += bytes;
    }
    return at;
}

/* Write the frame over the last one: each line clipped and its rest erased. */
static void draw(const struct top *top, const char *frame)
{
    size_t line = 0;
    (void)fputs("\033[H", stdout);
    while (*frame != '\0' && line + 1 < top->lines) {
        const size_t len = strcspn(frame, "\n");
        (void)fwrite(frame, 1, clip(frame, len, top->columns), stdout);
        (void)fputs(top->session->has_colour ? "\033[0m\033[K\r\n" : "\033[K\r\n", stdout);
        frame += len + (frame[len] == '\n' ? 1 : 0);
        line++;
    }
    (void)fprintf(stdout, "\033[J\033[%zu;1H%s", top->lines, "q quits");
    (void)fflush(stdout);
}

static void measure(struct top *top)
{
    struct winsize size = {0};
    const bool is_known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    top->columns = is_known ? size.ws_col : 80;
    top->lines = is_known ? size.ws_row : 24;
}

static void refresh(struct top *top)
{
    struct answers answers;
    char *frame = NULL;
    size_t bytes = 0;
    client_ask(top->session->client, "GET", "/stats", NULL, &answers);
    take_answers(top, &answers);
    measure(top);
    FILE *out = open_memstream(&frame, &bytes);
    if (out != NULL) {
        put_frame(out, top, &answers);
        if (fclose(out) == 0) {
            draw(top, frame);
        }
        free(frame);
    }
    answers_fini(&answers);
}

/* -- the terminal -------------------------------------------------------------- */

/* Wait for a key, a signal or the next second; false: quit. */
static bool await(void)
{
    const uint64_t end_ms = session_now_ms() + INTERVAL_MS;
    struct pollfd keys = {.fd = STDIN_FILENO, .events = POLLIN};
    for (;;) {
        const uint64_t now_ms = session_now_ms();
        if (is_ended != 0) {
            return false;
        }
        if (is_resized != 0 || now_ms >= end_ms) {
            is_resized = 0;
            return true;
        }
        if (poll(&keys, 1, (int)(end_ms - now_ms)) > 0) {
            char key = 'q';
            const ssize_t got = read(STDIN_FILENO, &key, 1);
            return got == 1 && key != 'q' && key != 'Q' && key != 3;
        }
    }
}

static void catch_signals(void)
{
    static const int NUMBERS[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH};
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(NUMBERS) / sizeof(NUMBERS[0]); i++) {
        (void)sigaction(NUMBERS[i], &action, NULL);
    }
}

enum ctl_exit top_run(const struct session *session)
{
    struct termios before;
    if (!session->is_terminal || tcgetattr(STDIN_FILENO, &before) < 0) {
        (void)fputs("everwarmctl: top needs a terminal; use: everwarmctl status\n", stderr);
        return CTL_EXIT_USAGE;
    }
    struct top *top = calloc(1, sizeof(*top));
    if (top == NULL) {
        (void)fputs("everwarmctl: out of memory\n", stderr);
        return CTL_EXIT_REFUSED;
    }
    top->session = session;
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
    catch_signals();
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
    (void)fputs("\033[?1049h\033[?25l", stdout);
    do {
        refresh(top);
    } while (await());
    (void)fputs("\033[?25h\033[?1049l", stdout);
    (void)fflush(stdout);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    free(top);
    return CTL_EXIT_DONE;
}
