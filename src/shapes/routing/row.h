/*
 * row.h - the rows of a snapshot as lines. One thread at a time has a form.
 */
#ifndef BUSBAR_SHAPES_ROW_H
#define BUSBAR_SHAPES_ROW_H

#include "base/buf.h"
#include "base/err.h"
#include "pg/snapshot.h"
#include "shapes/core/def.h"

struct row_form; /* what is the same in each row, rendered once */
/* Borrows the definition until it is freed. `more_headers` goes behind the others: `,"name":…` or "". */
struct row_form *row_form_new(const struct shape_def *def, const char *more_headers);
void row_form_free(struct row_form *f);
struct key_counts;
/* Rows may be equal: counts them, and numbers their keys (keys.h). Borrowed until the form is freed. */
void row_form_count(struct row_form *f, struct key_counts *counts);
/* Of a table with children by inheritance: the rows that follow are of the table with this oid. 1: another than those
 * before, so that packed rows need another piece; 0: the same; -1: it isn't one of them. */
int row_form_turn(struct row_form *f, struct pg_copy_value oid);
/* Appends a row as a line, with its newline. Values are those of the selected columns. */
void row_put(struct row_form *f, const struct pg_copy_value *values, struct buf *out);
/*
 * The same in less space, for the store (FORMAT.md): row_pack_begin() puts what the rows share, row_pack() appends
 * a row and returns the length of its line, row_pack_end() puts their sum where row_lines_len() finds it, row_unpack()
 * appends the lines of such a piece or of one that holds lines as they are, each ended by `end`.
 */
void row_pack_begin(const struct row_form *f, struct buf *out);
size_t row_pack(struct row_form *f, const struct pg_copy_value *values, struct buf *out);
void row_pack_end(struct buf *piece, uint64_t line_bytes);
int64_t row_lines_len(const char *p, size_t len); /* of all lines of a piece, ends included; -1: it doesn't say */
int row_unpack(const char *p, size_t len, char end, struct buf *out, struct err *e) MUST_USE;

#endif
