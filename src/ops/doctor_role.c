/* doctor_role.c - checks of the role that DATABASE_URL names, and of what is set for it. */
#include <stdlib.h>
#include <string.h>

#include "ops/doctor_checks.h"

static const char admin[] = "a superuser, or the service's admin role";

void doctor_check_role_replication(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	/* Services have ways of their own: what the server does counts more than what the catalog says. */
	if (f->may_replicate || f->replication.connected) {
		doctor_say(l, out, DOCTOR_OK, NULL, "role %s may replicate", doctor_user(l));
		return;
	}
	doctor_say(l, out, DOCTOR_ERROR, "Only such a role may make a slot and read it: Busbar can't start.", "role %s lacks the REPLICATION attribute",
	           doctor_user(l));
	struct doctor_fix sql = {.sql = true, .who = admin};
	sql.services = ~DOCTOR_ON(PG_SERVICE_RDS) & ~DOCTOR_ON(PG_SERVICE_NEON);
	doctor_fix(l, out, sql, "ALTER ROLE %s REPLICATION;", doctor_user(l));
	sql.services = DOCTOR_ON(PG_SERVICE_RDS);
	doctor_fix(l, out, sql, "GRANT rds_replication TO %s;", doctor_user(l));
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_NEON)},
	           "roles made in Neon's console, its CLI or API may replicate, those made by SQL may not: make the role there");
}

/* ---- timeouts ---- */

/* What Busbar sets itself, in each session or transaction, isn't here. */
static const struct timeout {
	const char *name;
	int64_t hurts_below_ms; /* and above 0, which is none */
	const char *why;
} timeouts[] = {
	{"statement_timeout", 1000, "It ends the first statements of a session, before Busbar sets its own."},
	{"idle_in_transaction_session_timeout", 1000, "It ends Busbar's transactions between two statements, where the network is slow."},
	{"transaction_timeout", 10000, "It ends the transactions in which a table is added to the publication."},
	{"idle_session_timeout", INT64_MAX, "It closes Busbar's connections whenever no shape was made for a while; each is then made anew."},
};

static const struct timeout *hurting(const struct pg_facts_setting *s)
{
	int64_t ms = strtoll(s->value, NULL, 10);
	for (size_t i = 0; i < ARRAY_LEN(timeouts); i++)
		if (strcmp(timeouts[i].name, s->name) == 0 && ms > 0 && ms < timeouts[i].hurts_below_ms)
			return &timeouts[i];
	return NULL;
}

static void add_timeout(struct doctor_look *l, struct doctor_finding *out, const struct pg_facts_setting *s, const char *role, bool ours)
{
	const struct timeout *t = hurting(s);
	if (t == NULL)
		return;
	const char *before = out->level == DOCTOR_OK ? "" : doctor_text(l, "%s; ", out->what);
	doctor_say(l, out, DOCTOR_WARNING, t->why, "%s%s is %s ms for role %s", before, s->name, s->value, role);
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .apply = ours ? DOCTOR_RUN : DOCTOR_SHOW, .sql = true, .who = ours ? NULL : role},
	           "ALTER ROLE %s%s%s SET %s = 0;", role, s->in_database ? " IN DATABASE " : "",
	           s->in_database ? doctor_ident(l, l->facts->database) : "", s->name);
}

void doctor_check_role_timeouts(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	doctor_say(l, out, DOCTOR_OK, NULL, "no timeout of the role is in the way");
	for (int i = 0; i < f->nsettings; i++)
		add_timeout(l, out, &f->settings[i], doctor_user(l), true);
	if (f->pooled_differs && strcmp(l->config->database.user, l->config->pooled_database.user) != 0)
		for (int i = 0; i < f->npooled_settings; i++)
			add_timeout(l, out, &f->pooled_settings[i], doctor_reader(l), false);
}

/* ---- what would help ---- */

void doctor_check_standby_snapshot(struct doctor_look *l, struct doctor_finding *out)
{
	if (l->facts->standby_snapshot != 0) {
		doctor_say(l, out, DOCTOR_OK, NULL, l->facts->standby_snapshot > 0 ? "the role may call pg_log_standby_snapshot()"
		                                                                  : "this version has no pg_log_standby_snapshot()");
		return;
	}
	doctor_say(l, out, DOCTOR_ADVICE, "On an idle server a new slot is ready sooner with it.", "the role may not call pg_log_standby_snapshot()");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true, .who = admin},
	           "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO %s;", doctor_user(l));
}

void doctor_check_monitoring(struct doctor_look *l, struct doctor_finding *out)
{
	if (l->facts->monitors) {
		doctor_say(l, out, DOCTOR_OK, NULL, "the role sees what other sessions do");
		return;
	}
	doctor_say(l, out, DOCTOR_ADVICE, "For who holds WAL back it sees the process, but not since when or what it does.",
	           "the role doesn't see what other sessions do");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true, .who = admin}, "GRANT pg_read_all_stats TO %s;", doctor_user(l));
}
