/*
 * listen.h - opening a listening socket. Private to src/http.
 */
#ifndef BUSBAR_HTTP_LISTEN_H
#define BUSBAR_HTTP_LISTEN_H

#include <stdbool.h>

#include "base/err.h"

/* Non-blocking, on all addresses. `setting` names the port's in an error. -1 with `e`. */
int listen_open(int port, bool v6, int backlog, const char *setting, struct err *e) MUST_USE;

#endif
