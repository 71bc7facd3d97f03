/*
 * publication.c - publishing tables; see publication.h.
 *
 * A join reads the state of the table and all below it in one query, alters what is missing, reads
 * again (so that a rename in between is seen) and then waits.
 */
#include "pg/publication.h"

#include <pthread.h>

#include "base/clock.h"
#include "pg/conn.h"
#include "pg/join_private.h"

#define GENERATED_COLUMNS_SINCE 180000
#define REFUSED_MAX 256          /* tables remembered by refused_before() */

/* ---- docs/invariants.md 6.2: walsenders with a stale cache ----
 *
 * On these minors a walsender that decodes a transaction which wrote before ADD TABLE and committed
 * after it keeps believing that the table isn't published. Once those writers have ended, DROP and
 * ADD in one transaction makes it look again: that commit is decoded after all of theirs.
 *
 * Where we may not do it ourselves the operator must, and there is nothing in the catalog that tells
 * when an entry was made relative to the writers of its time. So this process remembers the entry it
 * refused, after it had waited for all writers older than it. An entry with another oid came later:
 * whoever wrote meanwhile did so under the refused entry, which published the table, and the older
 * ones are decoded before the new entry. That entry is accepted, and `known` of later calls keeps it
 * accepted. (An age check, "its xmin precedes all running transactions", would also accept an entry
 * whose old writers have spoilt the cache and ended.) After a restart of the process an entry that was
 * never accepted is refused once more.
 */
static pthread_mutex_t refused_lock = PTHREAD_MUTEX_INITIALIZER;
static struct refused {
	uint32_t table_oid, rel_oid;
} refused[REFUSED_MAX];
static size_t refused_next; /* the oldest, overwritten next */

/* True if another entry of this table was refused before; else remembers this one as refused. */
static bool refused_before(uint32_t table_oid, uint32_t rel_oid)
{
	bool other = false;
	size_t i = 0;
	pthread_mutex_lock(&refused_lock);
	while (i < REFUSED_MAX && refused[i].table_oid != table_oid)
		i++;
	if (i < REFUSED_MAX) {
		other = refused[i].rel_oid != rel_oid;
	} else {
		refused[refused_next] = (struct refused){table_oid, rel_oid};
		refused_next = (refused_next + 1) % REFUSED_MAX;
	}
	pthread_mutex_unlock(&refused_lock);
	return other;
}

static bool keeps_stale_cache(int server_version)
{
	static const int fixed_in[] = {140018, 150013, 160009, 170005};
	for (size_t i = 0; i < ARRAY_LEN(fixed_in); i++)
		if (server_version / 10000 == fixed_in[i] / 10000)
			return server_version < fixed_in[i];
	return server_version < 140000;
}

static int refuse_entry(const struct join *j, struct err *e)
{
	if (refused_before(j->table->oid, pg_join_rel_oid(j)))
		return 0;
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	buf_puts(&sql, "BEGIN; ");
	if (pg_value_oid(j->state, 0, STATE_REL_OID) != 0) {
		pg_join_put_alter(j, 0, "DROP", &sql);
		buf_puts(&sql, "; ");
	}
	pg_join_put_alter(j, 0, "ADD", &sql);
	buf_puts(&sql, "; COMMIT;");
	int v = j->server_version;
	(void)err_set(e, ERR_CONFIG, "PostgreSQL %d.%d may miss changes of a table that was published while it was written to. "
	              "Upgrade to 14.18, 15.13, 16.9, 17.5 or later, or run this now: %s", v / 10000, v % 10000, sql.data);
	buf_clear(&sql);
	return -1;
}

/* DROP and ADD of the table and of children with entries of their own; j->state is read anew. An
 * operator's entry, renewed by us, stays the operator's (added_by_us). */
static int refresh_entries(struct join *j, struct err *e)
{
	j->deadline_ms = clock_mono_ms() + PUB_JOIN_MAX_MS;
	if (state_bool(j, 0, STATE_ALL_TABLES))
		return 0; /* published since the publication exists; decoding older writes ends in an error, not in silence */
	if (j->config->manual_table_publishing || !state_bool(j, 0, STATE_MAY_ALTER))
		return refuse_entry(j, e);
	for (int i = 0; i < PQntuples(j->state); i++) {
		if (i > 0 && pg_value_oid(j->state, i, STATE_REL_OID) == 0)
			continue;
		if (pg_join_add(j, i, e) != 0) {
			if (e->kind == ERR_PG && pg_sqlstate_is(e, PG_SQLSTATE_PRIVILEGE))
				return refuse_entry(j, e);
			return e->kind == ERR_PG ? err_wrap(e, "Unable to create initial snapshot") : -1;
		}
	}
	if (pg_join_read(j, e) != 0 || pg_join_check(j, e) != 0)
		return -1;
	if (!pg_join_is_complete(j))
		return err_set(e, ERR_TIMEOUT, "Table \"%s.%s\" left publication \"%s\" while it was joining", j->table->schema,
		               j->table->name, j->config->publication_name);
	return 0;
}

/* ---- public ---- */

static int join_run(struct join *j, const struct pg_join *known, struct pg_join *out, struct err *e)
{
	bool changed, added;
	if (pg_join_make_complete(j, &changed, &added, e) != 0)
		return -1;
	bool as_known = known != NULL && known->publication_rel_oid == pg_join_rel_oid(j);
	/* A publication that was altered may have left out what those who wrote before it changed had to tell. */
	bool altered = as_known && known->publication_xmin != pg_value_oid(j->state, 0, STATE_PUB_XMIN);
	if (changed || !as_known || altered) {
		if (j->keeps) {
			*out = *known;
			out->publication_xmin = 0;
			return 0;
		}
		if (pg_join_wait_for_writers(j, e) != 0)
			return -1;
		/* Not for a known table below which something was new: its FULL, under an exclusive lock, did the
		 * same for that partition, and another entry would look as if the table had been away. */
		if (!as_known && keeps_stale_cache(j->server_version) && refresh_entries(j, e) != 0)
			return -1;
	}
	out->publication_rel_oid = pg_join_rel_oid(j);
	out->publication_xmin = pg_value_oid(j->state, 0, STATE_PUB_XMIN);
	out->added_by_us = added || (as_known && known->added_by_us);
	out->generated_published = state_bool(j, 0, STATE_GENERATED);
	return 0;
}

static struct join begin_join(PGconn *admin, const struct config *c, int server_version, const struct pg_table *t,
                              bool (*cancelled)(void *), void *cancel_ctx)
{
	return (struct join){
		.conn = admin, .config = c, .server_version = server_version, .table = t,
		.cancelled = cancelled, .cancel_ctx = cancel_ctx,
		.deadline_ms = clock_mono_ms() + PUB_JOIN_MAX_MS + (int64_t)t->nleaves * PUB_JOIN_LEAF_MS,
	};
}

int pg_publication_look(PGconn *admin, const struct config *c, int server_version, const struct pg_table *t, struct err *e)
{
	struct join j = begin_join(admin, c, server_version, t, NULL, NULL);
	bool complete;
	int rc = pg_join_look(&j, &complete, e);
	PQclear(j.state);
	return rc;
}

int pg_publication_join(PGconn *admin, const struct config *c, int server_version, const struct pg_table *t,
                        const struct pg_join *known, bool (*cancelled)(void *), void *cancel_ctx,
                        struct pg_join *out, struct err *e)
{
	struct join j = begin_join(admin, c, server_version, t, cancelled, cancel_ctx);
	int rc = join_run(&j, known, out, e);
	PQclear(j.state);
	return rc;
}

int pg_publication_keep(PGconn *admin, const struct config *c, int server_version, const struct pg_table *t,
                        const struct pg_join *known, bool (*cancelled)(void *), void *cancel_ctx,
                        struct pg_join *out, struct err *e)
{
	struct join j = begin_join(admin, c, server_version, t, cancelled, cancel_ctx);
	j.keeps = true;
	int rc = join_run(&j, known, out, e);
	PQclear(j.state);
	return rc;
}

int pg_publication_leave(PGconn *admin, const struct config *c, const struct pg_table *t, struct err *e)
{
	if (c->manual_table_publishing)
		return 0;
	struct join j = {.conn = admin, .config = c, .server_version = PQserverVersion(admin), .table = t};
	j.deadline_ms = clock_mono_ms() + PUB_JOIN_MAX_MS;
	int rc = pg_join_read(&j, e);
	if (rc != 0 && e->kind == ERR_NOT_FOUND && j.state != NULL && PQntuples(j.state) > 0)
		rc = 0; /* renamed: the row has its name of today */
	if (rc == 0 && pg_value_oid(j.state, 0, STATE_REL_OID) != 0) {
		struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
		pg_join_put_alter(&j, 0, "DROP", &sql);
		rc = pg_join_alter(&j, 0, sql.data, e);
		buf_clear(&sql);
	}
	PQclear(j.state);
	if (rc != 0 && (e->kind == ERR_NOT_FOUND ||
	                (e->kind == ERR_PG && (pg_is_undefined(e) || pg_sqlstate_is(e, PG_SQLSTATE_UNDEFINED_OBJECT)))))
		rc = 0;
	if (rc == 0)
		err_clear(e);
	return rc;
}

bool pg_publication_generates(PGconn *admin, const char *publication)
{
	if (PQserverVersion(admin) < GENERATED_COLUMNS_SINCE)
		return false;
	struct err ignored;
	PGresult *res = pg_query(admin, "SELECT FROM pg_catalog.pg_publication WHERE pubname = $1::pg_catalog.text AND pubgencols = 's'", 1,
	                         (const char *const[]){publication}, &ignored);
	bool generates = res != NULL && PQntuples(res) > 0;
	PQclear(res);
	return generates;
}
