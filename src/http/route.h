/*
 * route.h - the callbacks that libmicrohttpd calls. Private to src/http.
 */
#ifndef BUSBAR_HTTP_ROUTE_H
#define BUSBAR_HTTP_ROUTE_H

#include "http/loop.h"

/* The request line is there; returns the request's context. */
void *route_uri(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result route_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                             const char *version, const char *upload, size_t *upload_len, void **context);
void route_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why);
/* The connection is gone; its request, if there still is one, goes with it. */
void route_closed(struct conn *c);

#endif
