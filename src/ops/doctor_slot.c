/* doctor_slot.c - checks of our slot, of others', and of what holds them back. */
#include <string.h>

#include "ops/doctor_checks.h"

#define OLD_S 60 /* a transaction that is older isn't a passing one */

static const struct doctor_fix sentence = {.services = DOCTOR_ANYWHERE};

static bool is_busbar(const char *application) { return strcmp(application, "busbar") == 0 || strncmp(application, "busbar ", 7) == 0; }

void doctor_check_advisory_lock(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	if (f->lock_pid == 0)
		doctor_say(l, out, DOCTOR_OK, NULL, "no Busbar holds the stream's lock");
	else if (is_busbar(f->lock_application))
		doctor_say(l, out, DOCTOR_OK, NULL, "a Busbar runs, as process %d of the server; another one would wait until it ends", f->lock_pid);
	else {
		doctor_say(l, out, DOCTOR_WARNING, "Until it lets go, Busbar waits and serves nothing.", "process %d of the server (application %s, user %s) holds "
		           "the lock %s", f->lock_pid, doctor_ident(l, f->lock_application), doctor_ident(l, f->lock_user), l->config->slot_name);
		doctor_fix(l, out, sentence, "stop that program (an Electric?), or give Busbar an ELECTRIC_REPLICATION_STREAM_ID of its own");
	}
}

/* ---- our slot ---- */

static void say_lost(struct doctor_look *l, struct doctor_finding *out, const struct pg_facts_slot *s)
{
	doctor_say(l, out, DOCTOR_WARNING, "What was written meanwhile is missing from the stream: Busbar makes a new slot, and all shapes start over.",
	           "Postgres has given up the slot %s (%s)", s->name, s->reason[0] != '\0' ? s->reason : s->wal_status);
	doctor_fix(l, out, sentence, "so that it doesn't happen again: keep Busbar running, and let slots retain more (max_slot_wal_keep_size, "
	           "idle_replication_slot_timeout)");
}

void doctor_check_slot(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	const struct pg_facts_slot *s = l->config->temporary_slot ? NULL : pg_facts_slot(f, l->config->slot_name);
	if (s == NULL)
		doctor_say(l, out, DOCTOR_OK, NULL, l->config->temporary_slot ? "each start makes a temporary slot, and all shapes start over"
		                                                              : "there is none yet; Busbar makes it");
	else if (strcmp(s->plugin, "pgoutput") != 0 || strcmp(s->database, f->database) != 0) {
		doctor_say(l, out, DOCTOR_ERROR, "Names of slots are shared by all databases of a server: Busbar leaves this one alone, and ends.",
		           "the slot %s belongs to something else (plugin %s, database %s)", s->name, doctor_ident(l, s->plugin), doctor_ident(l, s->database));
		doctor_fix(l, out, sentence, "set ELECTRIC_REPLICATION_STREAM_ID to a value of its own for each database");
	} else if (s->lost)
		say_lost(l, out, s);
	else if (strcmp(s->wal_status, "unreserved") == 0) {
		doctor_say(l, out, DOCTOR_WARNING, "At the next checkpoint it is lost, unless Busbar catches up before: then all shapes start over.",
		           "the slot %s is beyond what slots may retain", s->name);
		doctor_fix_setting(l, out, "max_slot_wal_keep_size", "50GB", false);
	} else if (s->active)
		doctor_say(l, out, DOCTOR_OK, NULL, "in use by process %d of the server", s->active_pid);
	else
		doctor_say(l, out, DOCTOR_OK, NULL, "there, and nobody reads it now");
}

static const struct pg_facts_slot *our_living_slot(const struct doctor_look *l)
{
	const struct pg_facts_slot *s = l->config->temporary_slot ? NULL : pg_facts_slot(l->facts, l->config->slot_name);
	return s == NULL || s->lost || s->behind_bytes < 0 || s->retained_bytes < 0 ? NULL : s;
}

void doctor_check_slot_held_by_us(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts_slot *s = our_living_slot(l);
	if (s == NULL || s->behind_bytes < doctor_wal_danger(l->facts)) {
		doctor_say(l, out, DOCTOR_OK, NULL, s == NULL ? "there is no slot that retains anything" : "%s of WAL wait for Busbar",
		           s == NULL ? "" : doctor_bytes(l, s->behind_bytes));
		return;
	}
	doctor_say(l, out, DOCTOR_WARNING, "The slot retains them until Busbar has read them; without a limit, until the disk is full.",
	           s->active ? "%s of WAL wait for Busbar, which runs" : "%s of WAL wait for Busbar, which doesn't run", doctor_bytes(l, s->behind_bytes));
	if (s->active) {
		doctor_fix(l, out, sentence, "does this become less? If it doesn't: Busbar's log and /v1/ready say what it waits for");
		return;
	}
	doctor_fix(l, out, sentence, "start Busbar; or, if it is gone for good:");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true}, "SELECT pg_drop_replication_slot(%s);",
	           doctor_literal(l, s->name));
}

/* ---- transactions ---- */

static const char *describe(struct doctor_look *l, const struct pg_facts_transaction *t)
{
	const char *since = t->age_s >= 0 ? doctor_text(l, ", for %s", doctor_seconds(l, t->age_s)) : "";
	if (t->pid == 0)
		return doctor_text(l, "the prepared transaction %s of user %s, database %s%s", doctor_literal(l, t->gid), doctor_ident(l, t->user),
		                   doctor_ident(l, t->database), since);
	return doctor_text(l, "process %d (user %s, application %s, database %s%s%s)%s", t->pid, doctor_ident(l, t->user),
	                   doctor_ident(l, t->application), doctor_ident(l, t->database), t->state[0] != '\0' ? ", " : "", t->state, since);
}

static void fix_transaction(struct doctor_look *l, struct doctor_finding *out, const struct pg_facts_transaction *t)
{
	struct doctor_fix sql = {.services = DOCTOR_ANYWHERE, .sql = true};
	sql.who = t->pid == 0 ? "its owner, in its database; or COMMIT PREPARED" : "its user, or a superuser; better, end it where it was begun";
	if (t->pid == 0)
		doctor_fix(l, out, sql, "ROLLBACK PREPARED %s;", doctor_literal(l, t->gid));
	else
		doctor_fix(l, out, sql, "SELECT pg_terminate_backend(%d);", t->pid);
}

/* What the slot retains below its confirmed position is there for transactions that still run: nothing that Busbar does frees it. */
void doctor_check_slot_held_by_others(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	const struct pg_facts_slot *s = our_living_slot(l);
	int64_t held = s != NULL ? s->retained_bytes - s->behind_bytes : 0;
	if (held < doctor_wal_danger(f)) {
		doctor_say(l, out, DOCTOR_OK, NULL, "running transactions hold %s of WAL", doctor_bytes(l, held > 0 ? held : 0));
		return;
	}
	if (f->ntransactions == 0) {
		doctor_say(l, out, DOCTOR_WARNING, "Postgres frees it some time after the transaction that needed it has ended.",
		           "the slot retains %s of WAL that Busbar has read, and no transaction that still runs needs it", doctor_bytes(l, held));
		doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true, .who = "a superuser"}, "CHECKPOINT;");
		return;
	}
	doctor_say(l, out, DOCTOR_WARNING, "The slot must keep all WAL from that transaction's begin on; nothing that Busbar does frees it.",
	           "a transaction holds back %s of WAL: %s", doctor_bytes(l, held), describe(l, &f->transactions[0]));
	fix_transaction(l, out, &f->transactions[0]);
}

static void say_transactions(struct doctor_look *l, struct doctor_finding *out, bool prepared)
{
	const struct pg_facts *f = l->facts;
	const struct pg_facts_transaction *first = NULL;
	int n = 0;
	for (int i = 0; i < f->ntransactions; i++) {
		const struct pg_facts_transaction *t = &f->transactions[i];
		if ((t->pid == 0) != prepared || (t->age_s >= 0 && t->age_s < OLD_S))
			continue;
		/* Of unknown age: it is only told if a slot has to wait for it. */
		if (t->age_s < 0 && our_living_slot(l) != NULL)
			continue;
		first = first != NULL ? first : t;
		n++;
		fix_transaction(l, out, t);
	}
	if (n == 0) {
		out->nfixes = 0;
		doctor_say(l, out, DOCTOR_OK, NULL, prepared ? "no prepared transaction is older than %s" : "no transaction has written and runs for longer than %s",
		           doctor_seconds(l, OLD_S));
		return;
	}
	bool waits = our_living_slot(l) == NULL;
	const char *more = n > 1 ? doctor_text(l, ", and %d more", n - 1) : "";
	doctor_say(l, out, waits ? DOCTOR_WARNING : DOCTOR_ADVICE,
	           waits ? "A new slot is ready only when all transactions that were open have ended: Busbar's start waits for it."
	                 : "Slots keep all WAL from its begin on, and a new one would have to wait for it.",
	           "%s is still open: %s%s", prepared ? "a prepared transaction" : "a transaction that has written", describe(l, first), more);
}

void doctor_check_long_transactions(struct doctor_look *l, struct doctor_finding *out) { say_transactions(l, out, false); }
void doctor_check_prepared_transactions(struct doctor_look *l, struct doctor_finding *out) { say_transactions(l, out, true); }

/* ---- other slots ---- */

void doctor_check_other_slots(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	const struct pg_facts_slot *worst = NULL;
	int n = 0;
	for (int i = 0; i < f->nslots; i++) {
		const struct pg_facts_slot *s = &f->slots[i];
		if (s->retained_bytes < doctor_wal_danger(f) || strcmp(s->name, l->config->slot_name) == 0)
			continue;
		n++;
		if (worst == NULL || s->retained_bytes > worst->retained_bytes)
			worst = s;
		if (!s->active)
			doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true, .who = "whoever knows that nobody needs that slot"},
			           "SELECT pg_drop_replication_slot(%s);", doctor_literal(l, s->name));
	}
	if (n == 0) {
		doctor_say(l, out, DOCTOR_OK, NULL, "no other slot retains much");
		return;
	}
	const char *more = n > 1 ? doctor_text(l, ", and %d more do so", n - 1) : "";
	doctor_say(l, out, DOCTOR_WARNING, "They fill the disk that Postgres needs, whatever Busbar does.", "the slot %s (%s) retains %s of WAL%s",
	           doctor_ident(l, worst->name), worst->active ? "in use" : "nobody reads it", doctor_bytes(l, worst->retained_bytes), more);
}
