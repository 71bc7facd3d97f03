/* admin_json.c - the nouns of the admin port but the shapes: status, clients, memory, events, lag. docs/admin.md has the fields. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/events.h"
#include "base/mem.h"
#include "ops/admin_private.h"
#include "ops/fields.h"
#include "ops/query.h"

#define RATE_MS 10000  /* what rates are measured over */
#define LATE_MS 60000  /* what percentiles and "lately" are */
#define SLACK_MS 1500  /* samples are a second apart */
/* So long behind with nothing confirmed: longer than what a large transaction usually takes; and longer than any should. */
#define BEHIND_WATCH_MS 30000
#define BEHIND_DANGER_MS 300000
#define WAL_WATCH_BYTES (INT64_C(1) << 30) /* so much is worth a look even without a limit */

static int64_t level(const struct metric_values *v, enum metric m, unsigned label)
{
	return v->known[metric_first[m] + label] ? (int64_t)metric_values_of(v, m)[label] : -1;
}

/* Blocks are read one after the other: for a moment a part of a gauge may be missing. */
static int64_t gauge(const struct metric_values *v, enum metric m, unsigned label)
{
	int64_t n = (int64_t)metric_values_of(v, m)[label];
	return n > 0 ? n : 0;
}

/* A field for each value of its label, a number of what its unit says. */
static void put_labels(struct buf *out, const char *name, const struct metric_values *v, enum metric m)
{
	const struct metric_info *info = metric_info(m);
	field_open(out, name, '{');
	for (unsigned i = 0; i < info->nvalues; i++)
		if (info->values[i][0] != '\0')
			field_int(out, info->values[i], gauge(v, m, i));
	field_close(out, '}');
}

static void put_percentiles(struct buf *out, const char *name, const uint64_t *then, const uint64_t *now)
{
	field_open(out, name, '{');
	field_milli(out, "p50_ms", admin_percentile(then, now, 50));
	field_milli(out, "p99_ms", admin_percentile(then, now, 99));
	field_close(out, '}');
}

/* ---- /admin/status ---- */

static void put_lag(struct admin *a, const struct admin_sample *now, struct buf *out)
{
	struct admin_sample then;
	admin_before(a, LATE_MS - SLACK_MS, &then);
	field_open(out, "lag", '{');
	field_milli(out, "over_s", now->mono_ms - then.mono_ms);
	put_percentiles(out, "commit_to_log", then.to_log, now->to_log);
	put_percentiles(out, "commit_to_client", then.to_client, now->to_client);
	field_close(out, '}');
}

static void put_rates(struct admin *a, const struct admin_sample *now, struct buf *out)
{
	struct admin_sample then;
	admin_before(a, RATE_MS - SLACK_MS, &then);
	int64_t ms = now->mono_ms - then.mono_ms;
	field_open(out, "per_second", '{');
	field_milli(out, "over_s", ms);
	field_milli(out, "transactions", admin_rate(then.transactions, now->transactions, ms));
	field_milli(out, "changes", admin_rate(then.changes, now->changes, ms));
	field_milli(out, "log_entries", admin_rate(then.entries, now->entries, ms));
	field_milli(out, "requests", admin_rate(then.requests, now->requests, ms));
	field_close(out, '}');
	uint64_t changes = now->changes - then.changes;
	field_milli(out, "steps_per_change", changes == 0 ? -1 : (int64_t)((now->steps - then.steps) * 1000 / changes));
}

static const char *wal_state(const struct guard_state *w, bool asleep)
{
	if (!w->known)
		return "unknown";
	int64_t behind_ms = asleep ? 0 : w->behind_ms; /* who sleeps stands still because it should */
	if (w->step >= GUARD_DROP || w->slot == SLOT_LOST || w->slot == SLOT_UNRESERVED || behind_ms >= BEHIND_DANGER_MS)
		return "danger";
	bool watch = w->step > GUARD_NONE || w->others || w->ours_bytes >= WAL_WATCH_BYTES || w->slot == SLOT_MISSING;
	return watch || behind_ms >= BEHIND_WATCH_MS ? "watch" : "fine";
}

static void put_wal(const struct guard_state *w, bool asleep, struct buf *out)
{
	static const char *const slots[] = {
		[SLOT_MISSING] = "none", [SLOT_RESERVED] = "reserved", [SLOT_EXTENDED] = "extended", [SLOT_UNRESERVED] = "unreserved",
		[SLOT_LOST] = "lost",
	};
	static const char *const steps[] = {"none", "warn", "refuse", "drop", "given_up"};
	field_open(out, "postgres", '{');
	field_text(out, "state", wal_state(w, asleep));
	field_milli(out, "looked_s_ago", w->looked_ms > 0 ? clock_mono_ms() - w->looked_ms : -1);
	field_text(out, "slot", w->known ? slots[w->slot] : NULL);
	field_known(out, "wal_retained_bytes", w->known ? w->retained_bytes : -1);
	field_known(out, "wal_held_by_us_bytes", w->known ? w->ours_bytes : -1);
	field_known(out, "wal_held_by_others_bytes", w->known ? w->others_bytes : -1);
	field_milli(out, "standing_still_s", w->known ? w->age_ms : -1);
	field_milli(out, "behind_s", w->known ? w->behind_ms : -1);
	field_known(out, "wal_limit_bytes", w->limit_bytes > 0 ? w->limit_bytes : -1);
	field_milli(out, "wal_limit_age_s", w->limit_age_ms > 0 ? w->limit_age_ms : -1);
	field_text(out, "guard", steps[w->step]);
	field_text(out, "text", w->text[0] != '\0' ? w->text : NULL);
	field_close(out, '}');
}

static void put_store(const struct shapes_stats *st, struct buf *out)
{
	field_open(out, "store", '{');
	field_bool(out, "failing", st->store_failing);
	field_known(out, "file_bytes", st->store_file);
	field_known(out, "free_bytes", st->store_free);
	field_known(out, "used_bytes", st->store_used > 0 ? (int64_t)st->store_used : -1);
	field_known(out, "limit_bytes", st->store_limit > 0 ? (int64_t)st->store_limit : -1);
	field_close(out, '}');
}

unsigned admin_status(void *ctx, const char *query, struct buf *out)
{
	static const char *const states[] = {[SHAPES_STARTING] = "starting", [SHAPES_WAITING] = "waiting", [SHAPES_ACTIVE] = "active"};
	struct admin *a = ctx;
	struct metric_values v;
	struct shapes_stats st;
	struct shapes_ready ready;
	struct admin_sample now;
	(void)query;
	metrics_read(&v);
	shapes_stats(a->ops->shapes, &st);
	shapes_ready(a->ops->shapes, &ready);
	admin_look(a, &now);
	field_open(out, NULL, '{');
	field_text(out, "version", a->ops->version);
	field_text(out, "commit", a->ops->commit);
	field_time(out, "now", now.wall_us);
	field_time(out, "started", level(&v, METRIC_STARTED, 0));
	field_text(out, "status", states[st.status]);
	field_bool(out, "ready", ready.ready);
	field_bool(out, "postgres_away", ready.away);
	field_bool(out, "postgres_asleep", ready.asleep);
	field_text(out, "reason", ready.why != REASON_NONE ? reason_code(ready.why) : NULL);
	field_text(out, "reason_text", ready.reason);
	put_lag(a, &now, out);
	put_wal(&st.wal, ready.asleep, out);
	put_store(&st, out);
	put_rates(a, &now, out);
	put_labels(out, "shapes", &v, METRIC_SHAPES);
	put_labels(out, "routing", &v, METRIC_SHAPES_BY_INDEX);
	put_labels(out, "waiting", &v, METRIC_WAITERS);
	field_int(out, "connections", gauge(&v, METRIC_CONNECTIONS, 0));
	field_close(out, '}');
	return 200;
}

/* ---- /admin/clients ---- */

static void put_reasons(struct buf *out, const char *name, const uint32_t *then, const uint32_t *now)
{
	field_open(out, name, '[');
	for (unsigned i = 1; i < REASONS; i++) {
		if (now[i] == 0)
			continue;
		field_open(out, NULL, '{');
		field_text(out, "reason", reason_code((enum reason)i));
		field_text(out, "meaning", reason_text((enum reason)i));
		field_int(out, "total", now[i]);
		field_int(out, "lately", (int64_t)now[i] - then[i]);
		field_close(out, '}');
	}
	field_close(out, ']');
}

static void put_place(struct buf *out, const char *name, const struct metric_values *v, enum metric_admission kind, int64_t limit)
{
	field_open(out, name, '{');
	field_int(out, "used", gauge(v, METRIC_E_ADMITTED, kind));
	field_int(out, "limit", limit);
	field_int(out, "refused", gauge(v, METRIC_E_REJECTED, kind));
	field_close(out, '}');
}

unsigned admin_clients(void *ctx, const char *query, struct buf *out)
{
	struct admin *a = ctx;
	struct metric_values v;
	struct admin_sample now, then;
	(void)query;
	metrics_read(&v);
	admin_look(a, &now);
	admin_before(a, LATE_MS - SLACK_MS, &then);
	field_open(out, NULL, '{');
	field_int(out, "connections", gauge(&v, METRIC_CONNECTIONS, 0));
	put_labels(out, "waiting", &v, METRIC_WAITERS);
	field_open(out, "places", '{');
	put_place(out, "initial", &v, ADMISSION_INITIAL, atomic_load(&a->ops->config->live.max_concurrent_initial));
	put_place(out, "existing", &v, ADMISSION_EXISTING, atomic_load(&a->ops->config->live.max_concurrent_existing));
	field_close(out, '}');
	put_labels(out, "answers", &v, METRIC_E_REQUESTS);
	field_milli(out, "lately_s", now.mono_ms - then.mono_ms);
	put_reasons(out, "refused", then.refusals, now.refusals);
	put_reasons(out, "sent_back", then.rotations, now.rotations);
	field_close(out, '}');
	return 200;
}

/* ---- /admin/memory ---- */

unsigned admin_memory(void *ctx, const char *query, struct buf *out)
{
	struct admin *a = ctx;
	struct metric_values v;
	struct shapes_stats st;
	(void)query;
	ops_collect(a->ops, &v);
	shapes_stats(a->ops->shapes, &st);
	int64_t resident = level(&v, METRIC_RESIDENT, 0), cache = gauge(&v, METRIC_MEMORY, MEMORY_STORE_CACHE), counted = 0;
	for (unsigned i = 0; i < METRIC_NLABELS_MEMORY; i++)
		counted += gauge(&v, METRIC_MEMORY, i);
	field_open(out, NULL, '{');
	field_known(out, "resident_bytes", resident);
	field_known(out, "own_bytes", resident < 0 ? -1 : resident > cache ? resident - cache : 0);
	put_labels(out, "parts", &v, METRIC_MEMORY);
	field_known(out, "uncounted_bytes", resident < 0 ? -1 : resident > counted ? resident - counted : 0);
	field_known(out, "open_files", level(&v, METRIC_OPEN_FILES, 0));
	put_store(&st, out);
	field_close(out, '}');
	return 200;
}

/* ---- /admin/events ---- */

static void put_event(const struct event *e, struct buf *out)
{
	field_open(out, NULL, '{');
	field_int(out, "number", (int64_t)e->number);
	field_time(out, "at", e->at_us);
	field_time(out, "last", e->last_us);
	field_int(out, "count", (int64_t)e->count);
	field_text(out, "kind", event_kind_text(e->kind));
	field_text(out, "reason", e->reason != REASON_NONE ? reason_code(e->reason) : NULL);
	field_text(out, "meaning", e->reason != REASON_NONE ? reason_text(e->reason) : NULL);
	field_text(out, "shape", e->shape[0] != '\0' ? e->shape : NULL);
	field_text(out, "table", e->table[0] != '\0' ? e->table : NULL);
	field_text(out, "text", e->text);
	field_close(out, '}');
}

/* Or "", which all are. */
static bool is_kind(const char *name)
{
	bool is = name[0] == '\0';
	for (int i = 0; i < EVENT_KINDS && !is; i++)
		is = strcmp(name, event_kind_text((enum event_kind)i)) == 0;
	return is;
}

unsigned admin_events(void *ctx, const char *query, struct buf *out)
{
	char kind[20], number[24];
	(void)ctx;
	if (query_param(query, "kind", kind, sizeof kind) < 0 || !is_kind(kind))
		return field_refusal(out, "kind", "no kind of event has such a name");
	int given = query_param(query, "after", number, sizeof number);
	uint64_t after = given > 0 ? strtoull(number, NULL, 10) : 0;
	if (given < 0 || number[strspn(number, "0123456789")] != '\0')
		return field_refusal(out, "after", "must be the number of an event");
	struct event *all = mem_alloc(EVENTS_MAX * sizeof *all);
	size_t n = events_copy(all, EVENTS_MAX, after);
	field_open(out, NULL, '{');
	field_open(out, "events", '[');
	for (size_t i = 0; i < n; i++)
		if (kind[0] == '\0' || strcmp(kind, event_kind_text(all[i].kind)) == 0)
			put_event(&all[i], out);
	field_close(out, ']');
	field_close(out, '}');
	free(all);
	return 200;
}

/* ---- /admin/lag ---- */

static void put_moment(const struct admin_sample *then, const struct admin_sample *now, struct buf *out)
{
	int64_t ms = now->mono_ms - then->mono_ms;
	field_open(out, NULL, '{');
	field_int(out, "at_ms", now->wall_us / 1000);
	field_milli(out, "changes_s", admin_rate(then->changes, now->changes, ms));
	field_milli(out, "log_p50_ms", admin_percentile(then->to_log, now->to_log, 50));
	field_milli(out, "log_p99_ms", admin_percentile(then->to_log, now->to_log, 99));
	field_milli(out, "client_p50_ms", admin_percentile(then->to_client, now->to_client, 50));
	field_milli(out, "client_p99_ms", admin_percentile(then->to_client, now->to_client, 99));
	field_known(out, "wal_held_by_us_bytes", now->wal_ours);
	field_known(out, "wal_held_by_others_bytes", now->wal_others);
	field_int(out, "waiting", now->waiting);
	field_close(out, '}');
}

unsigned admin_lag(void *ctx, const char *query, struct buf *out)
{
	struct admin *a = ctx;
	char text[24], *end = text;
	int given = query_param(query, "after", text, sizeof text);
	long long after_ms = given > 0 ? strtoll(text, &end, 10) : 0;
	if (given < 0 || *end != '\0' || after_ms < 0 || after_ms > INT64_MAX / 1000)
		return field_refusal(out, "after", "must be the at_ms of a sample");
	struct admin_sample *all = mem_alloc(ADMIN_SAMPLES * sizeof *all);
	/* at_ms is cut to milliseconds: what is in the same one was sent already. */
	size_t n = admin_samples(a, after_ms * 1000 + 999, all);
	field_open(out, NULL, '{');
	field_open(out, "samples", '[');
	for (size_t i = 1; i < n; i++)
		put_moment(&all[i - 1], &all[i], out);
	field_close(out, ']');
	field_close(out, '}');
	free(all);
	return 200;
}
