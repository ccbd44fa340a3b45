/* SPDX-License-Identifier: BSD-2-Clause */
/* Tell systemd how we are: one datagram to $NOTIFY_SOCKET, nothing where it is not set. */
#ifndef EVERWARM_SHELL_NOTIFY_H
#define EVERWARM_SHELL_NOTIFY_H

/* STATE: "READY=1", "STOPPING=1". Thread: main. */
void notify_send(const char *state);

#endif
