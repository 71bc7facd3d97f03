/*
 * path.h - which of our paths a request's target is. No state, any thread.
 */
#ifndef BUSBAR_HTTP_PATH_H
#define BUSBAR_HTTP_PATH_H

#include <stddef.h>

enum route_path { PATH_NONE, PATH_ROOT, PATH_SHAPE, PATH_HEALTH, PATH_READY };
/* Of a raw path, up to but without the `?`: decoded, empty segments dropped. */
enum route_path route_path(const char *p, size_t len);

#endif
