/* resolve.c - see resolve.h: tables by their names, the definition by the tables. */
#include "http/resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "http/condition.h"
#include "http/hold.h"
#include "http/permit.h"
#include "http/reply.h"
#include "http/work.h"

#define LOOK_UP_AGAIN_MS 250 /* the engine asks Postgres for no session sooner */
#define LOOK_UP_HOLD_MS 1000 /* if it is an outage, the stream has noticed by then */
#define NO_DATABASE "Cannot connect to the database to verify the shape. Please try again later."

static int64_t now(const struct request *r) { return r->conn->loop->now_ms; }
static bool stopping(const struct request *r) { return r->conn->loop->stopping; }

/* Tables that the condition names in subqueries, as far as they have been looked up. */
struct inner_tables {
	struct pg_table *list[WHERE_SUBQUERIES_MAX]; /* references */
	size_t n;
	struct table_lookup *lookup; /* of the next one */
	char schema[WHERE_NAME_BYTES], name[WHERE_NAME_BYTES];
};

static bool is_named(const struct pg_table *t, const struct def_table_name *name)
{
	return strcmp(t->name, name->name) == 0 && strcmp(t->schema, name->schema) == 0;
}

static void drop(struct request *r, struct table_lookup **lookup)
{
	request_cancel(r);
	if (*lookup != NULL)
		table_lookup_unref(*lookup);
	*lookup = NULL;
}

static enum step no_such_table(struct request *r, const struct def_table_name *name)
{
	struct def_error complaint;
	def_no_such_table(&r->conn->loop->scratch, name, &complaint);
	return reply_error(r, complaint.field, complaint.text);
}

/* `cause`: for the operator. */
static enum step no_database(struct request *r, enum reason why, const char *cause)
{
	return reply_refused_by(r, stopping(r) ? REASON_STOPPING : why, NO_DATABASE, cause, 1, false);
}

static enum step look_up_later(struct request *r, const struct err *e)
{
	if (now(r) < r->began_ms + LOOK_UP_HOLD_MS && !stopping(r))
		return request_park(r, now(r) + LOOK_UP_AGAIN_MS);
	return no_database(r, REASON_POSTGRES_AWAY, e->text);
}

/* The table by look-up, which the request holds. An outage while the service isn't active is waited out with it. */
static enum step look_up(struct request *r, struct table_lookup **lookup, const struct def_table_name *name, struct pg_table **table)
{
	struct shapes *s = r->http->shapes;
	struct err e;
	for (int tries = 0; tries < 2; tries++) {
		if (*lookup == NULL)
			*lookup = shapes_table_lookup(s, name->schema, name->name);
		err_clear(&e);
		request_cancel(r);
		int result = table_lookup_result(*lookup, &r->waiter, table, &e);
		if (result == 0)
			return STEP_NEXT;
		bool active = shapes_status(s) == SHAPES_ACTIVE;
		if (result == 1)
			return no_such_table(r, name);
		if (result == 2) {
			int64_t until = r->began_ms + (active ? TABLE_LOOKUP_MAX_MS : READY_HOLD_MS);
			if (now(r) < until && !stopping(r))
				return request_park(r, until);
			if (!active) {
				drop(r, lookup);
				return hold_ready(r);
			}
			return no_database(r, REASON_POSTGRES_SLOW, "Postgres doesn't say in time what the table is");
		}
		if (active && e.kind == ERR_PG)
			return reply_error(r, "table", e.text);
		if (active && e.kind == ERR_TIMEOUT)
			return reply_refused(r, err_reason(&e), e.text, 5, false);
		drop(r, lookup);
		if (active) /* the stream will notice too, or only sessions are short */
			return look_up_later(r, &e);
		enum step step = hold_ready(r);
		if (step != STEP_NEXT)
			return step;
	}
	return no_database(r, REASON_POSTGRES_AWAY, e.text);
}

/* ---- tables of subqueries ------------------------------------------------------------------------------- */

static void inner_free(struct request *r)
{
	struct inner_tables *in = r->inner;
	r->release[HELD_TABLES] = NULL;
	r->inner = NULL;
	if (in == NULL)
		return;
	drop(r, &in->lookup);
	for (size_t i = 0; i < in->n; i++)
		pg_table_unref(in->list[i]);
	free(in);
}

/* What the shape that the request names has of it. */
static struct pg_table *known_table(const struct shape *known, const struct def_table_name *name)
{
	const struct shape_def *d = known == NULL ? NULL : shape_definition(known);
	if (d == NULL)
		return NULL;
	if (is_named(d->table, name))
		return d->table;
	for (uint16_t i = 0; i < d->ninner; i++)
		if (is_named(d->inner[i], name))
			return d->inner[i];
	return NULL;
}

static enum step look_up_inner(struct request *r, const struct def_table_name *name, struct pg_table **table)
{
	struct inner_tables *in = r->inner;
	if (in == NULL) {
		in = r->inner = mem_zalloc(sizeof *in);
		r->release[HELD_TABLES] = inner_free;
	}
	for (size_t i = 0; i < in->n; i++)
		if (is_named(in->list[i], name)) {
			*table = in->list[i];
			return STEP_NEXT;
		}
	/* Another one is missing than before it was parked, if what is remembered of the text has changed. */
	if (strcmp(in->name, name->name) != 0 || strcmp(in->schema, name->schema) != 0)
		drop(r, &in->lookup);
	snprintf(in->schema, sizeof in->schema, "%s", name->schema);
	snprintf(in->name, sizeof in->name, "%s", name->name);
	enum step step = look_up(r, &in->lookup, name, table);
	if (step != STEP_NEXT)
		return step;
	if (def_is_system_table(*table))
		return no_such_table(r, name);
	REQUIRE(in->n < ARRAY_LEN(in->list)); /* a text names no more */
	in->list[in->n++] = pg_table_ref(*table);
	drop(r, &in->lookup);
	return STEP_NEXT;
}

/* Adds the one that is missing. What may not be named isn't there, whether it exists or not. */
static enum step find_inner(struct request *r, const struct shape *known, struct condition_input *in)
{
	const struct def_table_name name = in->missing;
	if (!permit_allows(r->http->permit, name.schema, name.name))
		return no_such_table(r, &name);
	struct pg_table *table = known_table(known, &name);
	enum step step = table != NULL ? STEP_NEXT : look_up_inner(r, &name, &table);
	if (step == STEP_NEXT) {
		REQUIRE(in->ntables < ARRAY_LEN(in->tables));
		in->tables[in->ntables++] = table;
	}
	return step;
}

/* The request's condition becomes the definition's. */
static enum step resolve_where(struct request *r, const struct shape_params *p, const struct shape *known, struct shape_def *def)
{
	struct arena *a = &r->conn->loop->scratch;
	struct condition_input in = {.ntables = 0};
	struct params_errors errors = {.count = 0};
	enum step step = STEP_NEXT;
	if (permit_allows(r->http->permit, def->table->schema, def->table->name))
		in.tables[in.ntables++] = def->table;
	while (step == STEP_NEXT) {
		enum condition_result result = condition_apply(r->conn->loop->work->conditions, a, p, def, &in, &errors);
		if (result == CONDITION_SET)
			break;
		step = result == CONDITION_LACKS ? find_inner(r, known, &in) : reply_errors(r, &errors);
	}
	return step;
}

/* ---- the definition ------------------------------------------------------------------------------------- */

enum step resolve_def(struct request *r, const struct shape_params *p, const struct shape *known,
                      struct shape_def *def)
{
	struct arena *a = &r->conn->loop->scratch;
	struct def_table_name name;
	struct def_error complaint;
	struct pg_table *table = NULL;
	enum step step;
	if (def_parse_table(a, p->table, p->table_len, &name, &complaint) < 0)
		return reply_error(r, complaint.field, complaint.text);
	if (known != NULL) {
		struct pg_table *t = shape_definition(known)->table;
		if (is_named(t, &name))
			table = t;
	}
	if (table == NULL) {
		step = look_up(r, &r->lookup, &name, &table);
		if (step != STEP_NEXT)
			return step;
	}
	if (def_build(a, table, &p->def, shapes_server_version(r->http->shapes), def, &complaint) < 0)
		return reply_error(r, complaint.field, complaint.text);
	step = resolve_where(r, p, known, def);
	if (step == STEP_NEXT && def_check_rights(a, def, r->http->config->pooled_database.user, &complaint) != 0)
		step = complaint.field == NULL ? reply_refused(r, REASON_POSTGRES_REFUSES, complaint.text, 10, true)
		                               : reply_error(r, complaint.field, complaint.text);
	if (step == STEP_NEXT)
		inner_free(r);
	else
		shape_def_clear(def);
	return step;
}
