/*
 * publication.h - a table joins the publication and becomes REPLICA IDENTITY FULL; and leaves it.
 *
 * By docs/invariants.md 6: after ADD TABLE and the identity have committed, pg_publication_join() waits for
 * every writer that was there before (6.1), and on minors with a stale cache drops and adds the
 * table again (6.2). Only then may a snapshot be taken. Locks are waited for at most
 * PUB_LOCK_TIMEOUT_MS at a time, so that a queue behind us is short. One thread per connection;
 * several threads may join and leave at the same time, each with its own.
 */
#ifndef BUSBAR_PG_PUBLICATION_H
#define BUSBAR_PG_PUBLICATION_H

#include <libpq-fe.h>

#include "base/config.h"
#include "pg/catalog.h"

#define PUB_LOCK_TIMEOUT_MS 2000 /* others queue behind a lock that we wait for */
#define PUB_JOIN_MAX_MS 5000     /* altering the publication and the table, all tries together… */
#define PUB_JOIN_LEAF_MS 5       /* …and this much more for each partition or child */
#define PUB_WRITERS_MAX_MS 20000 /* waiting for writers that were in flight */

struct pg_join {
	uint32_t publication_rel_oid; /* pg_publication_rel.oid: another number means it left and came back;
	                                 the publication's own oid if it is FOR ALL TABLES or has the schema,
	                                 an ancestor's entry if a partition is published through that one */
	uint32_t publication_xmin;    /* pg_publication.xmin: another number means that it was altered (ground.h); 0: not known */
	bool added_by_us;             /* in this call or, as `known` says, in an earlier one */
	bool generated_published;     /* PostgreSQL 18: the publication publishes stored generated columns */
};

/*
 * Makes `t` (with all its leaves) published and FULL, and waits for the writers. In manual mode, or
 * where the role may not alter, only verifies. `known` is what the store remembers of this table, or
 * NULL; if it is still true nothing is waited for, and it costs one query. One join per table at a
 * time. Errors carry the client's text (docs/protocol.md 8.3): ERR_CONFIG/ERR_PG/ERR_TIMEOUT -> 503;
 * ERR_NOT_FOUND: the table is gone or renamed -> 409.
 * `cancelled` is looked at between waits.
 */
int pg_publication_join(PGconn *admin, const struct config *c, int server_version, const struct pg_table *t,
                        const struct pg_join *known, bool (*cancelled)(void *), void *cancel_ctx,
                        struct pg_join *out, struct err *e) MUST_USE;

/* What pg_publication_join() would refuse before it alters anything, with the same error; nothing is altered, or waited for. */
int pg_publication_look(PGconn *admin, const struct config *c, int server_version, const struct pg_table *t, struct err *e) MUST_USE;

/*
 * pg_publication_join() for a table that has joined: makes it whole again, and waits for no writer. Where pg_publication_join() would
 * have waited, *out is what was `known`, but for publication_xmin, which is 0: so the next join waits.
 */
int pg_publication_keep(PGconn *admin, const struct config *c, int server_version, const struct pg_table *t,
                        const struct pg_join *known, bool (*cancelled)(void *), void *cancel_ctx,
                        struct pg_join *out, struct err *e) MUST_USE;

/* Takes a table that we added out of the publication; nothing in manual mode. Children of an inheritance
 * parent stay, they may have shapes of their own. A table that is gone or out already is no error. */
int pg_publication_leave(PGconn *admin, const struct config *c, const struct pg_table *t, struct err *e) MUST_USE;

/* Whether a table is published: *rel_oid is as pg_join's publication_rel_oid (0: it isn't). */
int pg_publication_check(PGconn *admin, const struct config *c, uint32_t table_oid, uint32_t *rel_oid, struct err *e) MUST_USE;

/* PostgreSQL 18: whether it publishes stored generated columns. False where that can't be asked, too. */
bool pg_publication_generates(PGconn *admin, const char *publication);

/*
 * ERR_CONFIG, each with the SQL that mends it. There is no such publication; `barred`: and the URL's user may not create
 * it. It leaves out some operations.
 */
int pg_publication_missing(const struct config *c, bool barred, struct err *e);
int pg_publication_incomplete(const char *publication, struct err *e);

#endif
