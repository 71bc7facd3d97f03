/*
 * doctor_checks.h - what checks are made of: facts in, a finding out. Private to src/ops. No check asks a server; so each is tested
 * over facts that a test wrote (tests/unit/test_doctor.c).
 *
 * All strings live in the look's arena. One thread.
 */
#ifndef BUSBAR_OPS_DOCTOR_CHECKS_H
#define BUSBAR_OPS_DOCTOR_CHECKS_H

#include "base/arena.h"
#include "base/config.h"
#include "pg/facts.h"

enum doctor_level { DOCTOR_OK, DOCTOR_ADVICE, DOCTOR_WARNING, DOCTOR_ERROR, DOCTOR_LEVELS };

/* Whether --fix may run it. */
enum doctor_apply {
	DOCTOR_SHOW, /* never: it isn't this role's to do, or nothing that should be done without thinking */
	DOCTOR_ASK,  /* after a "yes" to this very statement; not by --yes */
	DOCTOR_RUN,  /* after a "yes", or by --yes */
};

#define DOCTOR_ON(service) (1u << (service))
#define DOCTOR_PLAIN DOCTOR_ON(PG_SERVICE_NONE) /* a Postgres of one's own, where somebody is superuser */
#define DOCTOR_ANYWHERE (~0u)
#define DOCTOR_FIXES_MAX 60 /* of one finding; the look after the first ones shows the rest */

struct doctor_fix {
	unsigned services; /* where it is done like this */
	enum doctor_apply apply;
	bool sql;          /* else it is a sentence */
	bool restart;      /* it takes effect with the next restart of Postgres */
	const char *who;   /* "a superuser"; NULL: this role */
	const char *text;
};

struct doctor_finding {
	const char *code;
	enum doctor_level level;
	const char *what, *why; /* a line each; what: NULL if it wasn't run; why: NULL if nothing is wrong */
	struct doctor_fix *fixes;
	int nfixes;
};

struct doctor_look {
	const struct config *config;
	const struct pg_facts *facts;
	struct arena *arena;
	const char *configuration_error;    /* NULL: the settings could be read */
	const char *configuration_warnings; /* lines; "" */
};

/* Its outcome; `what` is formatted. */
void doctor_say(struct doctor_look *l, struct doctor_finding *out, enum doctor_level level, const char *why, const char *fmt, ...)
	PRINTF_LIKE(5, 6);
/* One thing that mends it; the text is formatted. Beyond DOCTOR_FIXES_MAX nothing is added. */
void doctor_fix(struct doctor_look *l, struct doctor_finding *out, struct doctor_fix how, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The statements, or the places of a hosted service, that change a setting of the server. */
void doctor_fix_setting(struct doctor_look *l, struct doctor_finding *out, const char *name, const char *value, bool restart);

const char *doctor_text(struct doctor_look *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *doctor_ident(struct doctor_look *l, const char *name);                     /* "name" */
const char *doctor_literal(struct doctor_look *l, const char *text);                   /* 'text' */
const char *doctor_table(struct doctor_look *l, const char *schema, const char *name); /* "schema"."name" */
const char *doctor_bytes(struct doctor_look *l, int64_t bytes);                        /* 1.5 GB */
const char *doctor_seconds(struct doctor_look *l, int64_t seconds);                    /* 3 min */
/* The user of DATABASE_URL, quoted; and the one that reads snapshots. */
const char *doctor_user(struct doctor_look *l);
const char *doctor_reader(struct doctor_look *l);

#define DOCTOR_WAL_USUAL_BYTES (INT64_C(32) << 20) /* any slot retains that much; also where Postgres is to keep nothing for them */
#define DOCTOR_WAL_DANGER_BYTES (INT64_C(1) << 30) /* what is retained deserves a line from here on... */
int64_t doctor_wal_danger(const struct pg_facts *f); /* ...or from half of max_slot_wal_keep_size on */

#define X(name, code, part, text) void doctor_check_##name(struct doctor_look *l, struct doctor_finding *out);
#include "ops/doctor_table.h"

/* All checks, in the table's order; those whose part couldn't be gathered say so, and without a connection aren't run. Gives their number, DOCTOR_CHECKS. */
int doctor_examine(struct doctor_look *l, struct doctor_finding *findings);
enum {
#define X(name, code, part, text) DOCTOR_CHECK_##name,
#include "ops/doctor_table.h"
	DOCTOR_CHECKS,
};

#endif
