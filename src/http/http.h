/*
 * http.h - the wire contract: libmicrohttpd driven by our own epoll loops.
 *
 * http_start() opens the listening socket and starts the loop threads; http_stop() answers every
 * parked request as at its timeout, waits for what is being sent (bounded), and closes.
 */
#ifndef BUSBAR_HTTP_HTTP_H
#define BUSBAR_HTTP_HTTP_H

#include "base/config.h"
#include "base/err.h"
#include "shapes/shapes.h"

struct http;

/* What config_load() can't see of settings: -1 with a line that names the one that is wrong. */
int http_check_config(const struct config *config, struct err *e) MUST_USE;

int http_start(struct http **out, const struct config *config, struct shapes *shapes, struct err *e) MUST_USE;
void http_stop(struct http *h);

#endif
