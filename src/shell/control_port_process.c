/* SPDX-License-Identifier: BSD-2-Clause */
/* The process as the kernel sees it. */
#include "clock.h"
#include "control_port_private.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        return 0;
    }
    uint64_t count = 0;
    /* A stream of our own: readdir is safe on it. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

static uint64_t time_us(struct timeval time)
{
    return (uint64_t)time.tv_sec * CLOCK_US_PER_S + (uint64_t)time.tv_usec;
}

void control_port_look_at_process(struct proxy_process *out)
{
    out->fds_open = count_fds();
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        out->fds_max = limit.rlim_cur;
    }
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        out->cpu_user_us = time_us(usage.ru_utime);
        out->cpu_system_us = time_us(usage.ru_stime);
    }
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL) {
        char line[128];
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        if (fgets(line, sizeof(line), statm) != NULL) {
            char *rest = line;
            out->virtual_bytes = strtoull(rest, &rest, 10) * page;
            out->resident_bytes = strtoull(rest, &rest, 10) * page;
        }
        (void)fclose(statm);
    }
    DIR *tasks = opendir("/proc/self/task");
    if (tasks != NULL) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe) */
        for (const struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
            out->threads += entry->d_name[0] != '.';
        }
        (void)closedir(tasks);
    }
}
