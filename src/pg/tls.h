/*
 * tls.h - why a server's certificate was refused. libpq says of most causes only that verifying failed. Private to
 * src/pg and src/wal.
 */
#ifndef BUSBAR_PG_TLS_H
#define BUSBAR_PG_TLS_H

#include <stddef.h>

#include "base/config.h"
#include "base/err.h"

/*
 * If `e` says that the certificate of the URL's server couldn't be verified, its text gets the cause behind it. Shakes
 * hands with the server once more for that, sending it nothing: with the one of pg_resolve()'s addresses that failed.
 * Blocks for at most TLS_LOOK_MAX_MS, and not at all where the same was looked into less than TLS_LOOK_AGAIN_MS ago. Any
 * thread.
 */
#define TLS_LOOK_MAX_MS 3000
#define TLS_LOOK_AGAIN_MS 60000
#define PG_TLS_VERIFY_FAILED "certificate verify failed: "
void pg_tls_explain(const struct config *c, const struct config_url *u, const char *address, struct err *e);

#endif
