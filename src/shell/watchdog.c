/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A loop with nothing to do turns for nobody, so each is asked: a message to its mailbox, which it
 * answers by a number. One that did not answer in a quarter of the manager's patience is not given
 * up by us: we only stop to say that all is well, and the manager decides.
 */
#include "everwarm/shell/watchdog.h"

#include "clock.h"
#include "everwarm/shell/control_port.h"
#include "everwarm/shell/log.h"
#include "everwarm/shell/notify.h"

#include <stdio.h>
#include <string.h>

enum {
    TURNS_A_WATCHDOG = 4,
    /* Where only the status is wanted. */
    STATUS_US = 10 * CLOCK_US_PER_S,
};

void watchdog_init(struct watchdog *watchdog)
{
    const uint64_t watchdog_us = notify_watchdog_us();
    *watchdog = (struct watchdog){.is_fed = watchdog_us > 0};
    if (notify_is_wanted()) {
        watchdog->period_us = watchdog_us > 0 ? watchdog_us / TURNS_A_WATCHDOG : STATUS_US;
    }
}

static void feed(struct watchdog *watchdog, struct proxy *proxy)
{
    const bool is_turning = watchdog->serial == 0 || proxy_has_answered(proxy, watchdog->serial);
    if (is_turning) {
        notify_send("WATCHDOG=1");
    } else if (!watchdog->is_stuck) {
        log_line(LOG_LEVEL_ERROR, "loop-stuck",
                 LOG_TEXT("note", "a thread does not answer; the service manager may restart us"));
    }
    watchdog->is_stuck = !is_turning;
    watchdog->serial++;
    proxy_ping(proxy, watchdog->serial);
}

static void describe_pool(const struct proxy_pool *pool, char *out, size_t size)
{
    uint32_t complete = 0;
    const node_set members = pool->control.members;
    for (node_set left = members; left != 0; left &= left - 1) {
        complete += pool->control.nodes[node_set_first(left)].data == NODE_DATA_COMPLETE;
    }
    (void)snprintf(out, size, "; %s: %u of %u nodes complete%s", pool->name, (unsigned)complete,
                   (unsigned)node_set_count(members), pool->is_readable ? "" : ", not readable");
}

/* What "systemctl status" shows. */
static void tell_status(struct watchdog *watchdog, struct control_port *port)
{
    struct proxy_snapshot *snapshot = NULL;
    char status[sizeof(watchdog->status)];
    if (control_port_snapshot(port, &snapshot) != STATUS_OK) {
        return;
    }
    size_t used =
        (size_t)snprintf(status, sizeof(status), "STATUS=%s", proxy_state_word(snapshot->state));
    for (uint32_t i = 0; i < snapshot->pool_count && used < sizeof(status); i++) {
        describe_pool(&snapshot->pools[i], status + used, sizeof(status) - used);
        used += strlen(status + used);
    }
    proxy_snapshot_destroy(&snapshot);
    if (strcmp(status, watchdog->status) != 0) {
        memcpy(watchdog->status, status, sizeof(status));
        notify_send(status);
    }
}

uint32_t watchdog_turn(struct watchdog *watchdog, struct proxy *proxy)
{
    if (watchdog->period_us == 0) {
        return UINT32_MAX;
    }
    const uint64_t now_us = clock_mono_us();
    if (now_us >= watchdog->due_us) {
        if (watchdog->is_fed) {
            feed(watchdog, proxy);
        }
        tell_status(watchdog, proxy_port(proxy));
        watchdog->due_us = now_us + watchdog->period_us;
    }
    return (uint32_t)((watchdog->due_us - now_us) / CLOCK_US_PER_MS + 1);
}
