/*
 * policy.h - which shapes go first, for each reason why shapes go. Pure: what is known of them in, an order out.
 *
 * Each moves those that are to go to the front of the list, in the order in which they go, and returns how many they are.
 */
#ifndef BUSBAR_SHAPES_POLICY_H
#define BUSBAR_SHAPES_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shape;

struct candidate {
	struct shape *shape;
	uint64_t id;
	uint64_t snapshot_bytes, log_bytes;
	int64_t read_ms;
	bool born;      /* its first rows are complete */
	bool in_use;    /* a client is parked on it, or has read it a moment ago */
	bool only_log;  /* log=changes_only: there are no rows that its log could be compared with */
};

/* Of those that nobody uses, the least recently read (the oldest of equals), until they make up `bytes`. */
size_t policy_idle(struct candidate *all, size_t n, uint64_t bytes);
/*
 * All being in use, and `over` bytes too many: the one with the largest log. It is what changes have added: the rows come back with
 * its clients. So none, unless logs can be what is too much (each takes a page at least, and is in the journal too); beyond
 * POLICY_OVER_MAX one goes in any case: births can't have gone so far past a limit, it must have been lowered.
 */
#define POLICY_OVER_MAX ((uint64_t)48 << 20)
size_t policy_in_use(struct candidate *all, size_t n, uint64_t over);
/* Those read last before `before_ms`, the longest ago first. */
size_t policy_expired(struct candidate *all, size_t n, int64_t before_ms);
/* Of those whose log has more than `times` the bytes of their first rows, and more than `least`, the one that has the most times
 * as many. */
size_t policy_grown(struct candidate *all, size_t n, uint64_t times, uint64_t least);

#endif
