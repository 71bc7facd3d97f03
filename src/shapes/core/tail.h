/*
 * tail.h - the newest entries of a shape, in memory: what readers see ahead of the store's blocks. All of it under the shape's
 * lock, which these take themselves. INGEST publishes, the WRITER folds, the start restores, readers look.
 */
#ifndef BUSBAR_SHAPES_TAIL_H
#define BUSBAR_SHAPES_TAIL_H

#include "shapes/core/line.h"
#include "shapes/core/wait.h"

struct shape_tail {
	enum shape_state state;
	struct err *err;      /* SHAPE_FAILED: why, else NULL */
	uint32_t snap_chunk, snap_pieces; /* the open chunk, and how many of its pieces are committed */
	bool snap_complete;
	struct entry *entries; /* above `folded`, ascending */
	size_t first, n, cap;  /* entries[first .. first+n) */
	struct log_offset folded; /* everything up to here is in the store's blocks; {0, inf}: nothing */
	struct log_offset last;   /* the newest delivered; {0, inf}: none */
	struct log_offset last_chunk_end; /* {0, inf}: none */
	struct wait_list waiters;
};

struct shape;

/* The shape's state a moment ago. */
enum shape_state tail_state(struct shape *s);
/* What it has, for those who watch. */
struct tail_facts {
	enum shape_state state;
	uint32_t readers; /* clients parked on it */
};
void tail_look(struct shape *s, struct tail_facts *out);
/* Whether a client is parked on it; and its state. */
bool tail_is_awaited(struct shape *s, enum shape_state *state);
/* Appends published entries under the shape's lock and wakes. Takes the line references. `times`: zeroes if they are of several
 * transactions. */
void tail_publish(struct shape *s, struct entry *entries, size_t n, struct change_times times);
/* Restores entries at start; no waking. */
void tail_restore(struct shape *s, struct log_offset at, uint32_t flags, struct line *line);
/* At start: its snapshot is complete, of so many chunks; its log in the store ends there. */
void tail_restore_snapshot(struct shape *s, uint32_t chunks);
void tail_restore_log(struct shape *s, struct log_offset last, struct log_offset chunk_end);
/* Drops what is folded now. */
void tail_folded(struct shape *s, struct log_offset upto);
void tail_clear(struct shape *s);

#endif
