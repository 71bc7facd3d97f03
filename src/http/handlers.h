/*
 * handlers.h - what route.c's table leads to: one file a handler. Private to src/http.
 *
 * start(): all of the request is there. step(): again, after a wake, of those that park.
 */
#ifndef BUSBAR_HTTP_HANDLERS_H
#define BUSBAR_HTTP_HANDLERS_H

#include "http/request.h"

enum step shape_step(struct request *r);  /* GET, HEAD, POST; get_shape.c. It starts so, too */
enum step delete_step(struct request *r); /* delete_shape.c; likewise */
enum step options_start(struct request *r);
enum step root_start(struct request *r);
enum step health_start(struct request *r);
enum step ready_start(struct request *r);

#endif
