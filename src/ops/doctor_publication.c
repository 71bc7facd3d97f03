/* doctor_publication.c - checks of the publication, and of the tables that are or could be in it. */
#include <string.h>

#include "ops/doctor_checks.h"

#define NAMED_MAX 3 /* tables named in a line; the statements name more */

static const char owner_of_publication[] = "the publication's owner";

static const char *publication(struct doctor_look *l) { return doctor_ident(l, l->config->publication_name); }

static struct doctor_fix by_owner(const struct pg_facts *f, enum doctor_apply apply)
{
	return (struct doctor_fix){
		.services = DOCTOR_ANYWHERE, .sql = true, .apply = f->may_alter ? apply : DOCTOR_SHOW, .who = f->may_alter ? NULL : owner_of_publication,
	};
}

/* "a, b, c and 7 more" */
static const char *and_named(struct doctor_look *l, const char *before, int n, const char *table)
{
	if (n > NAMED_MAX)
		return before;
	return doctor_text(l, "%s%s%s", before, n > 1 ? ", " : "", table);
}

static const char *and_more(struct doctor_look *l, const char *named, int n)
{
	return n > NAMED_MAX ? doctor_text(l, "%s and %d more", named, n - NAMED_MAX) : named;
}

/* ---- the publication ---- */

void doctor_check_publication(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	if (f->published || f->may_create) {
		doctor_say(l, out, DOCTOR_OK, NULL, f->published ? "publication %s is there" : "publication %s isn't there yet; Busbar makes it",
		           publication(l));
		return;
	}
	doctor_say(l, out, DOCTOR_ERROR, "Busbar can't start without it.", "there is no publication %s, and role %s may not create it", publication(l),
	           doctor_user(l));
	struct doctor_fix sql = {.services = DOCTOR_ANYWHERE, .sql = true, .who = "the database's owner"};
	doctor_fix(l, out, sql, "GRANT CREATE ON DATABASE %s TO %s;", doctor_ident(l, f->database), doctor_user(l));
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE},
	           "or, in place of that: CREATE PUBLICATION %s; ALTER PUBLICATION %s OWNER TO %s; (that owner needs CREATE on the database too), or leave "
	           "it yours, add tables yourself and set ELECTRIC_MANUAL_TABLE_PUBLISHING=true", publication(l), publication(l), doctor_user(l));
}

void doctor_check_publication_operations(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	if (!f->published || (f->inserts && f->updates && f->deletes && f->truncates)) {
		doctor_say(l, out, DOCTOR_OK, NULL, f->published ? "it publishes all four operations" : "there is none yet");
		return;
	}
	doctor_say(l, out, DOCTOR_ERROR, "Shapes would silently miss them, so Busbar refuses to start.", "publication %s leaves out%s%s%s%s", publication(l),
	           f->inserts ? "" : " insert", f->updates ? "" : " update", f->deletes ? "" : " delete", f->truncates ? "" : " truncate");
	doctor_fix(l, out, by_owner(f, DOCTOR_RUN), "ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate');", publication(l));
}

void doctor_check_publication_rights(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	if (!f->published || f->may_alter || f->all_tables || l->config->manual_table_publishing) {
		doctor_say(l, out, DOCTOR_OK, NULL, !f->published ? "there is none yet" : f->may_alter ? "the role may add tables" :
		           f->all_tables ? "it is FOR ALL TABLES" : "manual mode: you add tables");
		return;
	}
	doctor_say(l, out, DOCTOR_WARNING, "Requests for tables that aren't in it get a 503.", "publication %s belongs to %s: role %s may not add tables",
	           publication(l), doctor_ident(l, f->publication_owner), doctor_user(l));
	struct doctor_fix sql = {.services = DOCTOR_ANYWHERE, .sql = true, .who = "a superuser, or its owner as a member of the other role"};
	if (!f->may_create)
		doctor_fix(l, out, sql, "GRANT CREATE ON DATABASE %s TO %s;", doctor_ident(l, f->database), doctor_user(l));
	doctor_fix(l, out, sql, "ALTER PUBLICATION %s OWNER TO %s;", publication(l), doctor_user(l));
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE},
	           "or add the tables yourself and set ELECTRIC_MANUAL_TABLE_PUBLISHING=true");
}

void doctor_check_publication_filters(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	if (f->nentries == 0) {
		doctor_say(l, out, DOCTOR_OK, NULL, "no row filters, no column lists");
		return;
	}
	bool manual = l->config->manual_table_publishing || !f->may_alter;
	const char *named = "";
	for (int i = 0; i < f->nentries; i++) {
		const char *table = doctor_table(l, f->entries[i].schema, f->entries[i].name);
		named = and_named(l, named, i + 1, table);
		doctor_fix(l, out, by_owner(f, DOCTOR_RUN), "BEGIN; ALTER PUBLICATION %s DROP TABLE ONLY %s; ALTER PUBLICATION %s ADD TABLE ONLY %s; COMMIT;",
		           publication(l), table, publication(l), table);
	}
	doctor_say(l, out, manual ? DOCTOR_ERROR : DOCTOR_WARNING,
	           manual ? "Their snapshots would show rows whose changes never come, so requests for them get a 503."
	                  : "Busbar takes them away when such a table gets its first shape.",
	           "the publication has row filters or column lists for %s", and_more(l, named, f->nentries));
}

void doctor_check_publication_via_root(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	if (!f->published || !f->via_root) {
		doctor_say(l, out, DOCTOR_OK, NULL, "publish_via_partition_root is off");
		return;
	}
	doctor_say(l, out, DOCTOR_WARNING, "A TRUNCATE of a partition isn't told then: requests for partitioned tables get a 503.",
	           "publish_via_partition_root is on");
	doctor_fix(l, out, by_owner(f, DOCTOR_RUN), "ALTER PUBLICATION %s SET (publish_via_partition_root = false);", publication(l));
}

/* ---- tables in it ---- */

void doctor_check_publication_tables(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	if (f->tables_in_all > 0 || !l->config->manual_table_publishing) {
		doctor_say(l, out, DOCTOR_OK, NULL, "%d tables are published%s", f->tables_in_all,
		           l->config->manual_table_publishing ? "" : "; Busbar adds those that get shapes");
		return;
	}
	doctor_say(l, out, DOCTOR_WARNING, "In manual mode (ELECTRIC_MANUAL_TABLE_PUBLISHING) you add tables; requests for all others get a 503.",
	           "no table is published");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true, .who = owner_of_publication},
	           "ALTER PUBLICATION %s ADD TABLE public.your_table;", publication(l));
}

void doctor_check_generated_columns(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	int n = 0, virtuals = 0;
	const char *named = "";
	for (int i = 0; i < f->ntables; i++) {
		virtuals += f->tables[i].virtuals > 0;
		if (f->tables[i].generated > 0)
			named = and_named(l, named, ++n, doctor_table(l, f->tables[i].schema, f->tables[i].name));
	}
	if (n == 0 && virtuals == 0)
		doctor_say(l, out, DOCTOR_OK, NULL, "published tables have none");
	else if (n > 0 && f->generated == '\0')
		doctor_say(l, out, DOCTOR_ADVICE, "Before PostgreSQL 18 the stream has no generated columns: shapes of such tables must list their other columns "
		           "(the parameter `columns`).", "generated columns: %s", and_more(l, named, n));
	else if (n > 0 && f->generated != 's') {
		doctor_say(l, out, DOCTOR_WARNING, "Shapes that want them get a 503.", "the publication leaves out generated columns: %s",
		           and_more(l, named, n));
		doctor_fix(l, out, by_owner(f, DOCTOR_RUN), "ALTER PUBLICATION %s SET (publish_generated_columns = stored);", publication(l));
	} else if (virtuals > 0)
		doctor_say(l, out, DOCTOR_ADVICE, "Virtual columns are in no stream: shapes of such tables must list their other columns.",
		           "%d published tables have virtual generated columns", virtuals);
	else
		doctor_say(l, out, DOCTOR_OK, NULL, "generated columns are published");
}

/* Only ordinary tables have rows that need an identity. */
static bool lacks_identity(const struct pg_facts_table *t) { return t->relkind != 'p' && t->identity != 'f'; }

void doctor_check_replica_identity(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	int n = 0, ours = 0;
	const char *named = "";
	for (int i = 0; i < f->ntables; i++) {
		const struct pg_facts_table *t = &f->tables[i];
		if (!lacks_identity(t))
			continue;
		bool busbar_does = t->owned && !l->config->manual_table_publishing;
		ours += busbar_does;
		const char *table = doctor_table(l, t->schema, t->name);
		if (busbar_does)
			continue;
		named = and_named(l, named, ++n, table);
		doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true, .apply = t->owned ? DOCTOR_RUN : DOCTOR_SHOW,
		           .who = t->owned ? NULL : doctor_text(l, "the table's owner, %s", doctor_ident(l, t->owner))},
		           "ALTER TABLE %s REPLICA IDENTITY FULL;", table);
	}
	if (n > 0)
		doctor_say(l, out, DOCTOR_ERROR, "Their updates and deletes don't tell the old row: requests for them get a 503.",
		           "published without REPLICA IDENTITY FULL: %s", and_more(l, named, n));
	else if (ours > 0)
		doctor_say(l, out, DOCTOR_OK, NULL, "Busbar sets it for %d published tables when they get their first shape", ours);
	else
		doctor_say(l, out, DOCTOR_OK, NULL, "all published tables have REPLICA IDENTITY FULL");
}

/* ---- rights ---- */

void doctor_check_table_select(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	int n = 0;
	const char *named = "", *schema = "";
	for (int i = 0; i < f->ntables; i++) {
		const struct pg_facts_table *t = &f->tables[i];
		if (t->may_use_schema && t->may_select)
			continue;
		named = and_named(l, named, ++n, doctor_table(l, t->schema, t->name));
		struct doctor_fix sql = {.services = DOCTOR_ANYWHERE, .sql = true};
		if (!t->may_use_schema && strcmp(schema, t->schema) != 0) { /* in order of schemas: once each */
			sql.who = "the schema's owner";
			sql.apply = f->superuser ? DOCTOR_ASK : DOCTOR_SHOW;
			doctor_fix(l, out, sql, "GRANT USAGE ON SCHEMA %s TO %s;", doctor_ident(l, t->schema), doctor_reader(l));
			schema = t->schema;
		}
		if (t->may_select)
			continue;
		sql.who = t->owned ? NULL : doctor_text(l, "the table's owner, %s", doctor_ident(l, t->owner));
		sql.apply = t->owned ? DOCTOR_ASK : DOCTOR_SHOW;
		doctor_fix(l, out, sql, "GRANT SELECT ON %s TO %s;", doctor_table(l, t->schema, t->name), doctor_reader(l));
	}
	if (n > 0)
		doctor_say(l, out, DOCTOR_ERROR, "No snapshot of them can be read: requests for them get a 503.", "role %s may not read %s", doctor_reader(l),
		           and_more(l, named, n));
	else
		doctor_say(l, out, DOCTOR_OK, NULL, "role %s may read all published tables", doctor_reader(l));
}

void doctor_check_row_security(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	int n = 0;
	const char *named = "";
	for (int i = 0; i < f->ntables; i++)
		if (f->tables[i].row_security)
			named = and_named(l, named, ++n, doctor_table(l, f->tables[i].schema, f->tables[i].name));
	struct doctor_fix sql = {.services = DOCTOR_ANYWHERE, .sql = true, .who = "a superuser, or the service's admin role"};
	if (n > 0) {
		doctor_say(l, out, DOCTOR_ERROR, "A snapshot would lack the rows that a policy hides, and the stream has them: requests for them get a 503.",
		           "row security applies to role %s on %s", doctor_reader(l), and_more(l, named, n));
		doctor_fix(l, out, sql, "ALTER ROLE %s BYPASSRLS;", doctor_reader(l));
		doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE},
		           "or take row security off the tables (ALTER TABLE ... DISABLE ROW LEVEL SECURITY): who may see which rows is then your proxy's to say");
	} else if (f->secured > 0 && !f->pooled_differs) {
		doctor_say(l, out, DOCTOR_ADVICE, "Requests for such a table get a 503.", "row security applies to role %s on %d tables that aren't published yet",
		           doctor_reader(l), f->secured);
		doctor_fix(l, out, sql, "ALTER ROLE %s BYPASSRLS;", doctor_reader(l));
	} else
		doctor_say(l, out, DOCTOR_OK, NULL, "no policy hides published rows from role %s", doctor_reader(l));
}

static void fix_ownership(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	struct doctor_fix sql = {.services = DOCTOR_ANYWHERE, .sql = true, .who = "that owner, or a superuser"};
	for (int i = 0; i < f->nstrangers; i++) {
		const struct pg_facts_table *t = &f->strangers[i];
		bool said = false;
		for (int k = 0; k < i && !said; k++)
			said = strcmp(f->strangers[k].owner, t->owner) == 0;
		if (t->superusers) /* whose rights nobody should get for this */
			doctor_fix(l, out, sql, "ALTER TABLE %s OWNER TO %s;", doctor_table(l, t->schema, t->name), doctor_user(l));
		else if (!said)
			doctor_fix(l, out, sql, "GRANT %s TO %s;", doctor_ident(l, t->owner), doctor_user(l));
	}
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE},
	           "or make %s the owner of those that need shapes only, or publish tables yourself, with REPLICA IDENTITY FULL, and set "
	           "ELECTRIC_MANUAL_TABLE_PUBLISHING=true", doctor_user(l));
}

void doctor_check_table_ownership(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	if (f->user_tables > 0 && f->readable == 0) {
		doctor_say(l, out, DOCTOR_WARNING, "Requests for them get an answer that they don't exist, or a 503.", "role %s may read none of %d tables",
		           doctor_user(l), f->user_tables);
		doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true, .who = "their owner"},
		           "GRANT SELECT ON ALL TABLES IN SCHEMA public TO %s;", doctor_user(l));
		return;
	}
	if (f->unowned == 0 || l->config->manual_table_publishing || f->all_tables) {
		doctor_say(l, out, DOCTOR_OK, NULL, "of %d tables role %s may read %d", f->user_tables, doctor_user(l), f->readable);
		return;
	}
	const char *named = "";
	for (int i = 0; i < f->nstrangers && i < NAMED_MAX; i++)
		named = and_named(l, named, i + 1, doctor_table(l, f->strangers[i].schema, f->strangers[i].name));
	doctor_say(l, out, f->unowned == f->readable ? DOCTOR_WARNING : DOCTOR_ADVICE,
	           "Only its owner may publish a table and set its replica identity: requests for them get a 503.",
	           "role %s may read tables that it doesn't own: %s", doctor_user(l), and_more(l, named, f->unowned));
	fix_ownership(l, out);
}
