/*
 * rows.h - the scratch tables' rows: every column follows from the id and the group, so that a row that arrives can be
 * checked without having been remembered. The formulas are here twice: in SQL for Postgres, in C for the check.
 */
#ifndef BUSBAR_BENCH_ROWS_H
#define BUSBAR_BENCH_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/db.h"
#include "bench/scan.h"

#define GROUP_WIDTH 1000   /* of the values of v that belong to a group */
#define LAST_GROUP (-1)    /* the group of the row that ends a batch */
#define PAYLOAD_MAX 8192

/*
 * Makes SCHEMA.name with the columns id, n (the group), v, tags, name, payload, and procedures that fill it:
 *   put_NAME(from, to, groups, per_txn)   ids from..to-1, group id % groups, a commit each per_txn rows
 * identity FULL, as a server would set it: so the WAL of the floors' tables is like that of the others.
 */
int rows_create(struct db *d, const char *name, int payload, struct err *e) MUST_USE;
/* One transaction. groups 0: all rows are of the group 0. */
int rows_insert(struct db *d, const char *name, int64_t from, int64_t to, int64_t groups, int payload,
		struct err *e) MUST_USE;
void rows_batch_sql(char *out, size_t size, const char *name, int64_t from, int64_t to, int64_t groups, int payload);
int rows_drop(struct db *d, const char *name, struct err *e) MUST_USE;

/* INSERT of the row that ends a batch: group LAST_GROUP. */
void rows_last_sql(char *out, size_t size, const char *name, int64_t id, int payload);
/* INSERT of one row with parameters $1 id, $2 group; to be prepared. */
void rows_insert_sql(char *out, size_t size, const char *name, int payload);
/* The same columns as a shape's row, for the COPY floors: bare, and as the JSON of a snapshot's row. */
void rows_copy_sql(char *out, size_t size, const char *name, bool json);

/* A change's message as a server would send it, for the floors. */
void row_json(struct buf *b, const char *table, int64_t id, int64_t group, int payload);

struct rows_want {
	int payload;
	int64_t groups; /* of ids: id % groups; 0: all 0. The group LAST_GROUP is always right for the id given below */
	int64_t last_id; /* the row that ends the batch; -1: none */
	int64_t gate_id; /* the row that begins it, of the same group; 0: none */
};

/* Whether it is an insert of a row that the formulas give; fills id and group. `why` gets what is wrong. */
bool row_check(const struct msg *m, const struct rows_want *want, int64_t *id, int64_t *group, const char **why);

/*
 * What rows look like, learnt from one that was checked: the text between its values. A later message is right if it is
 * that text with the values that the formulas give: one comparison, some ten times as fast as reading its JSON. Every byte
 * is still checked; what differs in anything (a position, another order of keys) is read the long way.
 */
#define ROW_FORM_BYTES 1024
#define ROW_FORM_PARTS 9
struct row_form {
	unsigned parts; /* 0: nothing learnt yet */
	struct {
		uint16_t len; /* of the text in front of the value */
		uint8_t field;
		uint16_t at; /* of the value, in `row` */
	} part[ROW_FORM_PARTS];
	char text[ROW_FORM_BYTES]; /* of all parts, one after the other */
	/* The last row that was expected; the next one mostly has values of the same lengths, put into the same places. */
	char row[ROW_FORM_BYTES + PAYLOAD_MAX + 256];
	size_t row_len, id_len, v_len; /* row_len 0: none */
	int64_t group;
	int payload;
};

/* From a message of a body that row_check() found right. */
void row_form_learn(struct row_form *f, const struct msg *m);
/* The length of the message at `data` with its id and group, if it is such a row; else 0. */
size_t row_form_match(struct row_form *f, const struct rows_want *want, const char *data, size_t len, int64_t *id,
		      int64_t *group);

/* Which ids have come: each once. */
struct seen {
	int64_t from, to, count;
	uint8_t *bits;
};

void seen_init(struct seen *s, int64_t from, int64_t to);
void seen_clear(struct seen *s);
bool seen_add(struct seen *s, int64_t id); /* false: out of range, or a second time */

#endif
