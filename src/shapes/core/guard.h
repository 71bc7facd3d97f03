/*
 * guard.h - the WAL guard: how much WAL Postgres keeps for our slot, by whose fault, and what is done about it.
 *
 * prep/guard.c looks and decides, on a PG thread. What it found last stands here, so that whoever answers, measures or shows it
 * asks nobody: any thread, a short leaf lock.
 */
#ifndef BUSBAR_SHAPES_GUARD_H
#define BUSBAR_SHAPES_GUARD_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/lsn.h"
#include "pg/slot.h"
#include "shapes/shapes.h"

/* What is done as the WAL that *we* hold nears its limit; each does what those before it do. The numbers are those that metrics show. */
enum guard_step {
	GUARD_NONE = 0,
	GUARD_WARN = 1,     /* it is said */
	GUARD_REFUSE = 2,   /* no new shapes */
	GUARD_DROP = 3,     /* shapes whose tables can't be looked at go, if that is what holds the stream */
	GUARD_GIVEN_UP = 4, /* the slot goes, and all shapes with it */
};

/* Why INGEST takes nothing from the stream. */
enum guard_hold { GUARD_HOLD_PARTITION, GUARD_HOLD_GROUND, GUARD_HOLD_LOOK, GUARD_HOLD_STORE, GUARD_HOLDS };

struct guard_state {
	bool known;        /* the figures are those of a look of late; else those of an older one, or nobody has looked */
	int64_t looked_ms; /* monotonic, also of a look whose figures aren't here any more; 0: never */
	enum pg_slot_status slot;
	bool active;
	int64_t retained_bytes; /* from where the slot's WAL begins to the end; the two parts of it: */
	int64_t ours_bytes;     /* … behind the position that we have acknowledged */
	int64_t others_bytes;   /* … before it: for transactions that were running there, and nothing that we do frees it */
	int64_t age_ms;         /* since when our position hasn't moved though there was WAL behind it: at most, as limits need it */
	int64_t behind_ms;      /* the same, at least: from the first look that saw WAL behind it to the last */
	int64_t limit_bytes, limit_age_ms; /* 0: no limit */
	enum guard_step step;
	bool others;            /* others hold so much that it is said */
	char text[WAL_TEXT_MAX]; /* "", or what is to be said of it: for everybody to see */
};

/* Of one look to the next. */
struct guard_turn {
	lsn_t confirmed;
	int64_t still_ms;   /* since when it is there; 0: not known */
	int64_t behind_ms;  /* the first look that saw WAL behind it there; 0: none is */
	uint32_t oldest;    /* an xid, and since when we see it as the oldest */
	int64_t oldest_ms;
	int64_t told_ms, gave_up_ms;
	int64_t asleep_look_ms; /* the last look while all other connections were closed */
	bool limits_said;
	char sync_said[sizeof ((struct pg_slot_look *)0)->sync_names];
};

struct guard {
	pthread_mutex_t lock;
	struct guard_state state;  /* under it */
	_Atomic int step;          /* the same as its step */
	_Atomic bool is_standby;   /* commits in Postgres may wait for us (synchronous_standby_names) */
	_Atomic bool gave_up;      /* the slot was given up, or is to be, and INGEST's start hasn't seen to the shapes yet: why they go */
	_Atomic int64_t held_ms[GUARD_HOLDS]; /* when INGEST was held last; 0: never */
	bool queued;               /* job_lock: somebody has the turn, who owns what follows */
	int64_t next_ms;           /* job_lock */
	struct guard_turn turn;
};

void guard_read(struct shapes *s, struct guard_state *out);
void guard_publish(struct shapes *s, const struct guard_state *state);
/* INGEST, which has the lock, is to give the slot up: stream_give_up_slot(). */
void guard_give_up(struct shapes *s, lsn_t confirmed, int64_t bytes);
/* INGEST: it takes nothing now. */
void guard_held(struct shapes *s, enum guard_hold why);
/* "warn", "refuse", "drop", "given_up"; NULL for GUARD_NONE. */
const char *guard_step_name(enum guard_step step);

#endif
