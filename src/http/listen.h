/*
 * listen.h - opening a listening socket. Private to src/http.
 */
#ifndef BUSBAR_HTTP_LISTEN_H
#define BUSBAR_HTTP_LISTEN_H

#include <stdbool.h>

#include "base/config.h"
#include "base/err.h"

/* Non-blocking, on all addresses; or on `address`, an IP of either kind, which then says whether it is v6. `setting` names the port's in
 * an error. -1 with `e`. */
int listen_open(const char *address, int port, bool v6, int backlog, const char *setting, struct err *e) MUST_USE;

/* -1 with the setting's name: two of our ports are one. */
int listen_check_config(const struct config *config, struct err *e) MUST_USE;

/* Whether an IP is one that only this machine reaches. */
bool listen_is_loopback(const char *address);

#endif
