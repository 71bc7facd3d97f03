/* commits.c - see commits.h. */
#include "shapes/logs/commits.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define DROP_AT_ONCE (COMMITS_MAX / 8) /* beyond COMMITS_MAX: moving the rest down is then worth it */

void commits_clear(struct commits *c)
{
	free(c->list);
	*c = (struct commits){0};
}

void commits_reset(struct commits *c, lsn_t from)
{
	c->n = 0;
	c->comparing = false;
	commits_add(c, (struct commit){.lsn = from});
}

void commits_add(struct commits *c, struct commit commit)
{
	if (c->n == COMMITS_MAX + DROP_AT_ONCE) {
		c->n -= DROP_AT_ONCE;
		memmove(c->list, c->list + DROP_AT_ONCE, c->n * sizeof *c->list);
	}
	if (c->n == c->cap) {
		c->cap = c->cap > 0 ? c->cap * 2 : 64;
		c->list = mem_realloc(c->list, c->cap * sizeof *c->list);
	}
	c->list[c->n++] = commit;
}

/* ---- comparing ---- */

size_t commits_compare(struct commits *c, lsn_t from, lsn_t upto)
{
	size_t lo = 0, hi = c->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (c->list[mid].lsn < from)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < c->n && c->list[lo].xid == 0)
		lo++;
	c->next = lo;
	c->comparing = from < upto;
	return c->comparing ? c->n - lo : 0;
}

static int missing(const struct commit *want, struct err *e)
{
	char at[LSN_TEXT_MAX];
	return err_set(e, ERR_PG_CONN, "the server no longer has transaction %u, committed at %s, that it sent before: it was restored from "
	               "a copy and has written another history since", want->xid, lsn_text(want->lsn, at));
}

static int unknown(const struct commit *sent, struct err *e)
{
	char at[LSN_TEXT_MAX];
	return err_set(e, ERR_PG_CONN, "the server sends transaction %u, committed at %s, that it didn't send when we were there: it was "
	               "restored from a copy and has written another history since", sent->xid, lsn_text(sent->lsn, at));
}

int commits_sent(struct commits *c, const struct commit *sent, bool again, struct err *e)
{
	if (!c->comparing)
		return 0;
	/* It sends them in the order of their positions. */
	const struct commit *want = c->next < c->n ? &c->list[c->next] : NULL;
	if (want != NULL && want->lsn < sent->lsn)
		return missing(want, e);
	if (!again) {
		c->comparing = false;
		return 0;
	}
	if (want != NULL && want->lsn == sent->lsn) {
		if (want->xid != sent->xid || want->time_us != sent->time_us)
			return unknown(sent, e);
		c->next++;
		return 0;
	}
	/* Older than what is remembered: nothing is known of it. */
	return c->n == 0 || sent->lsn < c->list[0].lsn ? 0 : unknown(sent, e);
}

int commits_passed(struct commits *c, lsn_t wal_end, lsn_t upto, struct err *e)
{
	if (!c->comparing)
		return 0;
	if (c->next < c->n && c->list[c->next].lsn < wal_end)
		return missing(&c->list[c->next], e);
	if (wal_end >= upto)
		c->comparing = false;
	return 0;
}

/* ---- in the store ---- */

void commits_encode(const struct commit *commit, struct buf *out)
{
	buf_put(out, &commit->lsn, 8);
	buf_put(out, &commit->time_us, 8);
	buf_put(out, &commit->xid, 4);
}

int commits_decode(struct commits *c, const void *p, size_t len, struct err *e)
{
	const char *at = p;
	if (len % COMMIT_BYTES != 0)
		return err_set(e, ERR_IO, "store: the list of commits is damaged");
	for (const char *end = at + len; at < end; at += COMMIT_BYTES) {
		struct commit commit;
		memcpy(&commit.lsn, at, 8);
		memcpy(&commit.time_us, at + 8, 8);
		memcpy(&commit.xid, at + 16, 4);
		/* Only a position without a commit may stand where the next one does. */
		const struct commit *last = c->n > 0 ? &c->list[c->n - 1] : NULL;
		if (last != NULL && (commit.lsn < last->lsn || (commit.lsn == last->lsn && last->xid != 0) || commit.xid == 0))
			return err_set(e, ERR_IO, "store: the list of commits is damaged");
		commits_add(c, commit);
	}
	return 0;
}
