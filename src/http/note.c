/* note.c - see note.h. */
#include "http/note.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/events.h"
#include "base/mem.h"
#include "base/metrics.h"

struct about {
	char shape[64], table[132];
};

static void about_shape(const struct shape *s, struct about *out)
{
	const struct pg_table *t = shape_definition(s)->table;
	snprintf(out->shape, sizeof out->shape, "%s", shape_handle(s));
	snprintf(out->table, sizeof out->table, "%s.%s", t->schema, t->name);
}

/* It is shown if it looks like one of ours: anything else is a text of the client's. */
static bool is_handle(const char *p, size_t len)
{
	return len > 0 && len < sizeof((struct about *)NULL)->shape && strspn(p, "0123456789-") >= len;
}

static void about_query(struct request *r, struct about *out)
{
	struct arena *a = &r->conn->loop->scratch;
	struct pval params;
	struct def_table_name name;
	struct def_error e;
	size_t len;
	const char *query = request_query(r, &len);
	if (params_decode_query(a, query, len, &params) != 0)
		return;
	const struct pval *handle = pval_get(&params, "handle"), *table = pval_get(&params, "table");
	if (handle != NULL && handle->type == PVAL_STRING && is_handle(handle->p, handle->len))
		snprintf(out->shape, sizeof out->shape, "%.*s", (int)handle->len, handle->p);
	if (table != NULL && table->type == PVAL_STRING && def_parse_table(a, table->p, table->len, &name, &e) == 0)
		snprintf(out->table, sizeof out->table, "%s.%s", name.schema, name.name);
}

void note_named(struct request *r, const char *handle, size_t len)
{
	free(r->named);
	r->named = is_handle(handle, len) ? mem_strndup(handle, len) : NULL;
}

static void put(struct request *r, enum event_kind kind, enum reason why, const char *cause)
{
	struct about about = {.shape = ""};
	if (r->shape != NULL)
		about_shape(r->shape, &about);
	else if (r->uri != NULL)
		about_query(r, &about);
	/* Its shape is the one that it is sent to. */
	if (kind == EVENT_REFETCH && r->shape != NULL)
		snprintf(about.shape, sizeof about.shape, "%s", r->named != NULL ? r->named : "");
	event_put(kind, why, about.shape, about.table, "%s", cause);
}

void note_refusal(struct request *r, enum reason why, const char *cause)
{
	metric_add_label(METRIC_REFUSALS, why, 1);
	put(r, EVENT_REFUSAL, why, cause);
}

void note_refetch(struct request *r, enum reason why, const char *cause)
{
	put(r, EVENT_REFETCH, why, cause != NULL ? cause : reason_text(why));
}
