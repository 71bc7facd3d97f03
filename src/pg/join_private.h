/*
 * join_private.h - private to the files of src/pg that join a table to the publication: publication.c runs it, join_state.c reads
 * where the table stands, join_alter.c alters what is missing, join_writers.c waits. One thread per connection.
 */
#ifndef BUSBAR_PG_JOIN_PRIVATE_H
#define BUSBAR_PG_JOIN_PRIVATE_H

#include "base/buf.h"
#include "pg/publication.h"
#include "pg/query.h"

struct join {
	PGconn *conn;
	const struct config *config;
	int server_version;
	const struct pg_table *table;
	bool (*cancelled)(void *);
	void *cancel_ctx;
	int64_t deadline_ms; /* for altering */
	bool keeps;          /* it waits for no writers */
	PGresult *state;     /* rows of STATE_*; row 0 is the table itself */
};

/*
 * Row 0 is the table, the others are those below it that may need something: without FULL, not
 * published through a partitioned parent, filtered, or not publishable at all.
 */
enum {
	STATE_OID, STATE_SCHEMA, STATE_NAME, STATE_IS_PARTITION, STATE_FULL, STATE_PUBLISHABLE, STATE_REL_OID, STATE_FILTERED,
	STATE_BY_SCHEMA, STATE_ANCESTOR_REL_OID, STATE_PUB_OID, STATE_ALL_TABLES, STATE_ALL_OPERATIONS, STATE_VIA_ROOT,
	STATE_MAY_ALTER, STATE_GENERATED, STATE_RELKIND, STATE_PUB_XMIN, STATE_PERSISTENCE,
};

static inline bool state_bool(const struct join *j, int row, int col)
{
	return pg_value_bool(j->state, row, col);
}

static inline const char *state_text(const struct join *j, int row, int col)
{
	return pg_value(j->state, row, col);
}

/* join_state.c */
bool pg_join_cancelled(const struct join *j);
int pg_join_err_cancelled(struct err *e);
void pg_join_pause_ms(int64_t ms);
int pg_join_read(struct join *j, struct err *e) MUST_USE; /* j->state, anew */
/* What no ALTER of ours can put right, or none that we would run without being asked. */
int pg_join_check(const struct join *j, struct err *e) MUST_USE;
/* Is the table of this row published, all columns and rows? Partitions below the table are through it. */
bool pg_join_row_published(const struct join *j, int row, bool count_ancestors);
/* Only ordinary tables have rows that need an identity; where we may, partitioned ones get it too, so
 * that their partitions of tomorrow are less of a surprise to whoever looks. */
bool pg_join_row_full(const struct join *j, int row, bool partitioned_too);
bool pg_join_is_complete(const struct join *j); /* automatic mode: nothing to alter */
uint32_t pg_join_rel_oid(const struct join *j);

/* join_alter.c */
/* Reads where the table stands, and refuses what couldn't be made complete, as far as that can be told. Alters nothing. */
int pg_join_look(struct join *j, bool *complete, struct err *e) MUST_USE;
/* Alters until nothing is missing. *changed: something was altered; *added: the table was added. */
int pg_join_make_complete(struct join *j, bool *changed, bool *added, struct err *e) MUST_USE;
/* Adds the table of this row; one that is in already is dropped in the same transaction, which takes a
 * filter away and makes walsenders read anew. */
int pg_join_add(const struct join *j, int row, struct err *e) MUST_USE;
/* Runs `statements` in one transaction, again and again while locks can't be had. */
int pg_join_alter(const struct join *j, int row, const char *statements, struct err *e) MUST_USE;
/* "ALTER PUBLICATION p <verb> TABLE ONLY s.t"; each child of an inheritance parent has its own turn. */
void pg_join_put_alter(const struct join *j, int row, const char *verb, struct buf *sql);

/* join_writers.c: waits until all who could have written before the table was published have ended. */
int pg_join_wait_for_writers(const struct join *j, struct err *e) MUST_USE;

#endif
