/*
 * commits.h - the last transactions the server has sent: proof that what it sends again is the same history.
 *
 * A server that was restored from a copy, and has written on since, can look like the one we knew: same system, same
 * timeline, WAL that reaches beyond our position. But the commits are others. So position, xid and time of every commit
 * received are remembered, durably, in the store's commit that covers it (FORMAT.md), as many as COMMITS_MAX; the
 * stream begins at the slot's own position, and what is sent again below ours is compared.
 *
 * INGEST owns the list and the comparison. The WRITER only carries bytes.
 */
#ifndef BUSBAR_SHAPES_COMMITS_H
#define BUSBAR_SHAPES_COMMITS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/lsn.h"

/* Commits remembered; 6 MB here and in the store. Older ones aren't judged when they are sent again. */
#define COMMITS_MAX 262144u
#define COMMIT_BYTES 20u /* of one in the store */

struct commit {
	lsn_t lsn; /* where its record stands */
	int64_t time_us;
	uint32_t xid; /* 0: no commit, but the position from which on all are remembered; the first, if there is one */
};

struct commits {
	struct commit *list; /* ascending */
	size_t n, cap;
	/* the comparison */
	bool comparing;
	size_t next;         /* the first that is still to be sent again */
};

void commits_clear(struct commits *c);
/* Forgets all; from now on, from `from`, every commit is remembered. */
void commits_reset(struct commits *c, lsn_t from);
void commits_add(struct commits *c, struct commit commit);

/* The stream begins at `from`; all below `upto` was received before. Returns how many commits are to come again. */
size_t commits_compare(struct commits *c, lsn_t from, lsn_t upto);
/* The server sends this one. -1: it isn't what we received, `e` says how. `again`: it is below our position. */
int commits_sent(struct commits *c, const struct commit *commit, bool again, struct err *e) MUST_USE;
/* Nothing below `wal_end` is still to come; `upto` is our position. */
int commits_passed(struct commits *c, lsn_t wal_end, lsn_t upto, struct err *e) MUST_USE;

/* The form in the store, appended. */
void commits_encode(const struct commit *commit, struct buf *out);
/* Adds what commits_encode() made; -1: damaged. */
int commits_decode(struct commits *c, const void *p, size_t len, struct err *e) MUST_USE;

#endif
