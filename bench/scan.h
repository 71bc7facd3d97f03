/*
 * scan.h - reads shape messages out of a JSON body as it arrives.
 *
 * A body is `[` message `,` message … `]`; an event of an event stream is one message. Messages are found and read
 * in place, without a tree; one that a read cut in two is kept until the rest comes. It checks JSON as far as it
 * walks it (strings, nesting, commas); what isn't a list of objects is an error. Only what the bench needs is taken out.
 */
#ifndef BUSBAR_BENCH_SCAN_H
#define BUSBAR_BENCH_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"

#define SCAN_COLUMNS_MAX 24
#define SCAN_MSG_BYTES_MAX (64u << 20)

struct text {
	const char *p; /* NULL: JSON null. Raw inside of the JSON string, escapes and all */
	size_t len;
};

enum msg_kind { MSG_INSERT, MSG_UPDATE, MSG_DELETE, MSG_UP_TO_DATE, MSG_SNAPSHOT_END, MSG_MUST_REFETCH, MSG_OTHER };

struct msg {
	struct text whole; /* the message as it stands in the body */
	enum msg_kind kind;
	struct text key;
	bool has_lsn; /* a change; rows of a snapshot have none */
	bool last;
	uint64_t lsn, op_position;
	uint64_t seen_lsn; /* of up-to-date; 0 if absent */
	unsigned columns;
	struct text name[SCAN_COLUMNS_MAX], value[SCAN_COLUMNS_MAX];
};

typedef bool scan_msg_fn(void *ctx, const struct msg *m);

/*
 * Shown each place where a message begins, before it is read: how many bytes of a whole message it knows and has dealt with,
 * or 0 to have it read the usual way.
 */
typedef size_t scan_fast_fn(void *ctx, const char *data, size_t len);

enum scan_state { SCAN_START, SCAN_FIRST, SCAN_ITEM, SCAN_COMMA, SCAN_END, SCAN_BAD };

struct scan {
	enum scan_state state;
	struct buf held; /* a message whose end hasn't come */
	scan_fast_fn *fast; /* may be NULL */
	void *fast_ctx;
};

void scan_init(struct scan *s);
void scan_next(struct scan *s); /* ready for another body; keeps the memory */
void scan_clear(struct scan *s);

/* False when the bytes aren't a list of messages or the callback said so. */
bool scan_feed(struct scan *s, const char *data, size_t len, scan_msg_fn *msg, void *ctx);
bool scan_done(const struct scan *s); /* the list has ended */

/* One message: its length, 0 if it isn't whole yet, -1 if it isn't one. `m` points into `data`. */
ptrdiff_t scan_message(const char *data, size_t len, struct msg *m);

/* The column's value, or NULL if there is no such column. */
const struct text *msg_column_of(const struct msg *m, const char *name, size_t len);
/* A column that is a whole number; false if it is absent, null or something else. */
bool msg_number_of(const struct msg *m, const char *name, size_t len, int64_t *out);

/* Inlined, so that the length of a literal is known. */
static inline const struct text *msg_column(const struct msg *m, const char *name)
{
	return msg_column_of(m, name, strlen(name));
}

static inline bool msg_number(const struct msg *m, const char *name, int64_t *out)
{
	return msg_number_of(m, name, strlen(name), out);
}

#endif
