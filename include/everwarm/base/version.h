/* SPDX-License-Identifier: BSD-2-Clause */
/* Which release this is. */
#ifndef EVERWARM_BASE_VERSION_H
#define EVERWARM_BASE_VERSION_H

#define EVERWARM_VERSION "0.1.0"

/* What the data port's "version" answers: client libraries parse memcached's number at its front.
 */
#define EVERWARM_VERSION_MEMCACHED "1.6.38 everwarm/" EVERWARM_VERSION

#endif
