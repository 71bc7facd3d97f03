/*
 * lsn.h - WAL positions and log offsets: text forms and order.
 *
 * An LSN is a 64-bit byte position in Postgres's WAL; Postgres prints it as "16/B374D848", the shape
 * protocol as a decimal. A log offset is `<tx>_<op>`: tx is the commit LSN of a transaction (0 for
 * the snapshot, whose chunk i is `0_i`), op a position inside it, LOG_OP_INF ("inf") after all of
 * them. `-1` is before everything. See docs/protocol.md 2.5 and 6.1.
 */
#ifndef BUSBAR_BASE_LSN_H
#define BUSBAR_BASE_LSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t lsn_t;

#define LOG_OP_INF UINT64_MAX
#define LSN_TEXT_MAX 24
#define LOG_OFFSET_TEXT_MAX 44

struct log_offset {
	lsn_t tx;
	uint64_t op;
};

/* <0, 0, >0 as memcmp; by tx, then by op with LOG_OP_INF the largest. */
static inline int log_offset_cmp(struct log_offset a, struct log_offset b)
{
	if (a.tx != b.tx)
		return a.tx < b.tx ? -1 : 1;
	return a.op == b.op ? 0 : a.op < b.op ? -1 : 1;
}

/* As far as positions go: near the end of their space a plain sum would be a small one. */
static inline lsn_t lsn_add(lsn_t lsn, uint64_t bytes)
{
	return bytes > UINT64_MAX - lsn ? UINT64_MAX : lsn + bytes;
}

/* "16/B374D848"; returns buf. */
const char *lsn_text(lsn_t lsn, char buf[LSN_TEXT_MAX]);
/* Reads the form of lsn_text(); false if it isn't one. */
bool lsn_parse(const char *s, lsn_t *out);
/* "26800816_0", "0_inf"; returns buf. */
const char *log_offset_text(struct log_offset o, char buf[LOG_OFFSET_TEXT_MAX]);

#endif
