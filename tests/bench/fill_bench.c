/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drives one fill between real memcacheds on loopback, with poll() and nothing else around it, and
 * prints what it cost as one line of JSON. scripts/bench-fill.sh starts the memcacheds and loads
 * them.
 *
 * usage: fill_bench TARGET_PORT DONOR_PORT... [--rate BYTES] [--window KEYS] [--list BYTES]
 */
#include "everwarm/core/fill.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_MS = 5,
    READ_BYTES = 256 * 1024,
    SECONDS_MAX = 600,
    NODE_TARGET = 0,
    SLICES_MAX = 4,
};

struct bench {
    struct fill *fill;
    struct topology topology;
    uint16_t ports[NODES_MAX];
    struct pollfd fds[FILL_WIRE_COUNT];
    char *buffer;
    uint64_t copy_from_us; /* when the first dump began */
};

static uint64_t now_us(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) {
        abort();
    }
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void wire_connect(struct bench *b, uint32_t wire, uint32_t node)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(b->ports[node]),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        fail("socket");
    }
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 &&
        errno != EINPROGRESS) {
        fail("connect");
    }
    b->fds[wire] = (struct pollfd){.fd = fd, .events = POLLOUT};
}

static void wire_close(struct bench *b, uint32_t wire)
{
    close(b->fds[wire].fd);
    b->fds[wire].fd = -1;
}

static void wire_lost(struct bench *b, uint32_t wire, enum wire_end end)
{
    wire_close(b, wire);
    struct wire_event event = {.type = WIRE_CLOSED, .wire = wire, .end = end};
    fill_step(b->fill, &event, now_us());
}

static void wire_write(struct bench *b, uint32_t wire)
{
    struct slice slices[SLICES_MAX];
    struct iovec iov[SLICES_MAX];
    size_t count = fill_gather(b->fill, wire, slices, SLICES_MAX);
    for (size_t i = 0; i < count; i++) {
        iov[i].iov_base = (void *)(uintptr_t)slices[i].ptr; /* writev only reads */
        iov[i].iov_len = slices[i].len;
    }
    ssize_t wrote = count > 0 ? writev(b->fds[wire].fd, iov, (int)count) : 0;
    if (wrote < 0 && errno != EAGAIN) {
        wire_lost(b, wire, WIRE_END_RESET);
        return;
    }
    struct wire_event event = {
        .type = WIRE_WROTE,
        .wire = wire,
        .wrote = wrote > 0 ? (uint32_t)wrote : 0,
    };
    fill_step(b->fill, &event, now_us());
    bool is_left = fill_gather(b->fill, wire, slices, 1) > 0;
    b->fds[wire].events = is_left ? POLLIN | POLLOUT : POLLIN;
}

static void act(struct bench *b)
{
    struct wire_action action;
    while (fill_next_action(b->fill, &action)) {
        switch (action.type) {
        case WIRE_CONNECT:
            wire_connect(b, action.wire, action.node);
            break;
        case WIRE_WRITE:
            wire_write(b, action.wire);
            break;
        case WIRE_FINISH: /* a fill never asks for it */
        case WIRE_CLOSE:
            wire_close(b, action.wire);
            break;
        }
    }
    if (b->copy_from_us == 0 && fill_state(b->fill) == FILL_DUMPING) {
        b->copy_from_us = now_us();
    }
}

static void wire_read(struct bench *b, uint32_t wire)
{
    ssize_t got = read(b->fds[wire].fd, b->buffer, READ_BYTES);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        wire_lost(b, wire, got == 0 ? WIRE_END_EOF : WIRE_END_RESET);
        return;
    }
    struct wire_event event = {
        .type = WIRE_BYTES,
        .wire = wire,
        .bytes = slice_of(b->buffer, (size_t)got),
    };
    fill_step(b->fill, &event, now_us());
}

static void ready(struct bench *b, uint32_t wire)
{
    short events = b->fds[wire].events;
    if ((events & POLLIN) == 0) { /* connecting */
        int error = 0;
        socklen_t len = sizeof error;
        if (getsockopt(b->fds[wire].fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
            wire_lost(b, wire, WIRE_END_REFUSED);
            return;
        }
        b->fds[wire].events = POLLIN;
        struct wire_event event = {.type = WIRE_OPEN, .wire = wire};
        fill_step(b->fill, &event, now_us());
    } else if ((b->fds[wire].revents & POLLIN) != 0) {
        wire_read(b, wire);
    } else {
        wire_write(b, wire);
    }
}

static bool is_over(const struct bench *b)
{
    return fill_state(b->fill) == FILL_DONE || fill_state(b->fill) == FILL_FAILED;
}

static void run(struct bench *b)
{
    uint64_t until_us = now_us() + (uint64_t)SECONDS_MAX * 1000000;
    while (!is_over(b) && now_us() < until_us) {
        act(b);
        if (poll(b->fds, FILL_WIRE_COUNT, TICK_MS) < 0 && errno != EINTR) {
            fail("poll");
        }
        for (uint32_t wire = 0; wire < FILL_WIRE_COUNT && !is_over(b); wire++) {
            if (b->fds[wire].fd >= 0 && b->fds[wire].revents != 0) {
                ready(b, wire);
            }
        }
        fill_tick(b->fill, now_us());
    }
    act(b);
}

/* Not ru_maxrss, which remembers the program that started us. */
static uint64_t peak_rss_kib(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL) {
        fail("/proc/self/status");
    }
    while (fgets(line, sizeof line, f) != NULL && sscanf(line, "VmHWM: %llu", &kib) != 1) {
    }
    (void)fclose(f);
    return kib;
}

static int report(const struct bench *b, uint64_t begun_us)
{
    struct fill_progress p = fill_progress(b->fill, now_us());
    struct rusage usage;
    if (fill_state(b->fill) != FILL_DONE || getrusage(RUSAGE_SELF, &usage) != 0) {
        fprintf(stderr, "fill_bench: %s: %s\n", fill_state_word(fill_state(b->fill)),
                fill_failure(b->fill));
        return 1;
    }
    double keys = (double)p.items_done;
    double seconds = (double)(now_us() - b->copy_from_us) / 1e6;
    double user_us = (double)usage.ru_utime.tv_sec * 1e6 + (double)usage.ru_utime.tv_usec;
    double kernel_us = (double)usage.ru_stime.tv_sec * 1e6 + (double)usage.ru_stime.tv_usec;
    printf("{\"keys\": %.0f, \"copied\": %llu, \"gone\": %llu, \"undone\": %llu, "
           "\"skipped\": %llu, \"bytes\": %llu, \"seconds\": %.3f, \"seconds_with_flush\": %.3f, "
           "\"keys_per_second\": %.0f, \"cpu_us_per_key\": %.2f, \"user_us_per_key\": %.2f, "
           "\"peak_rss_kib\": %llu}\n",
           keys, (unsigned long long)p.items_copied, (unsigned long long)p.items_gone,
           (unsigned long long)p.items_undone, (unsigned long long)p.items_skipped,
           (unsigned long long)p.bytes_done, seconds, (double)(now_us() - begun_us) / 1e6,
           keys / seconds, (user_us + kernel_us) / keys, user_us / keys,
           (unsigned long long)peak_rss_kib());
    return 0;
}

static uint64_t number(const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "fill_bench: not a number: %s\n", text);
        exit(2);
    }
    return value;
}

static void parse(struct bench *b, struct fill_options *options, int argc, char **argv)
{
    static const struct option names[] = {
        {"rate", required_argument, NULL, 'r'},
        {"window", required_argument, NULL, 'w'},
        {"list", required_argument, NULL, 'l'},
        {NULL, 0, NULL, 0},
    };
    int letter;
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (letter) {
        case 'r':
            options->rate_bytes = number(optarg);
            break;
        case 'w':
            options->window = (uint32_t)number(optarg);
            break;
        case 'l':
            options->list_bytes = (uint32_t)number(optarg);
            break;
        default:
            exit(2);
        }
    }
    for (; optind < argc && b->topology.node_count < NODES_MAX; optind++) {
        uint32_t node = b->topology.node_count++;
        b->ports[node] = (uint16_t)number(argv[optind]);
        b->topology.node_seed[node] = node;
        b->topology.leaders |= node == NODE_TARGET ? 0 : node_set_of(node);
    }
    if (b->topology.node_count < 1) {
        fprintf(stderr, "usage: fill_bench TARGET_PORT DONOR_PORT... "
                        "[--rate BYTES] [--window KEYS] [--list BYTES]\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct bench b = {.fds = {{.fd = -1}, {.fd = -1}, {.fd = -1}}};
    struct fill_options options = {
        .item_bytes_max = 1 << 20,
        .window = 256,
        .list_bytes = 16 << 20,
        .table_bytes = 16 << 20,
        .timeout_us = 5000000,
    };
    parse(&b, &options, argc, argv);
    void *memory = malloc(fill_bytes(&options));
    b.buffer = malloc(READ_BYTES);
    if (memory == NULL || b.buffer == NULL) {
        fail("malloc");
    }
    b.topology.complete = b.topology.leaders;
    b.topology.chained = node_set_of(NODE_TARGET);
    b.fill = fill_init(memory, &options);
    struct fill_plan plan = {.target = NODE_TARGET, .topology = &b.topology};
    uint64_t begun_us = now_us();
    fill_start(b.fill, &plan, begun_us);
    run(&b);
    int result = report(&b, begun_us);
    free(b.buffer);
    free(memory);
    return result;
}
