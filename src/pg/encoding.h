/*
 * encoding.h - texts of clients, which are UTF-8, against the encoding of the database, which may lack some characters. One
 * thread per connection.
 */
#ifndef BUSBAR_PG_ENCODING_H
#define BUSBAR_PG_ENCODING_H

#include <libpq-fe.h>

#include "base/err.h"

/* -1 with ERR_REQUEST if the database's encoding lacks a character of this UTF-8 text, which comes from a client; -1 with
 * another kind if that can't be asked. Asks only where there may be such a character. */
int pg_check_encoding(PGconn *conn, const char *text, struct err *e) MUST_USE;
/* Turns the error of a statement that holds such a character into ERR_REQUEST, and leaves others alone. */
void pg_blame_encoding(struct err *e);

#endif
