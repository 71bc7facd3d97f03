/*
 * table.h - the Postgres side of the truth test: random tables whose rows come back as pgoutput sends them, and
 * Postgres's own answer to an expression on each row. Errors of the set-up end the program.
 */
#ifndef BUSBAR_TESTS_TRUTH_TABLE_H
#define BUSBAR_TESTS_TRUTH_TABLE_H

#include <libpq-fe.h>

#include "gen.h"
#include "pg/catalog.h"
#include "where/pool.h"

#define TABLE_ROWS 24

struct table {
	struct pg_table *catalog;
	struct gen_type types[96]; /* the built-in ones, then those of the schema */
	size_t ntypes;
	struct gen_column columns[GEN_COLUMNS_MAX];
	size_t ncolumns;
	uint32_t enum_oid;
	struct where_text rows[TABLE_ROWS][GEN_COLUMNS_MAX]; /* by index into catalog->columns */
};

PGconn *table_connect(const char *url);
/* Schema truth is dropped and made anew, with table t. */
void table_make(PGconn *conn, struct gen *g, struct table *t);
void table_free(struct table *t);
const char *const *table_enum_labels(void);

enum outcome_kind { OUTCOME_NULL, OUTCOME_VALUE, OUTCOME_ERROR, OUTCOME_SKIP /* time or memory ran out */ };
struct outcome {
	enum outcome_kind kind;
	char *text; /* value, or what the error was; may be NULL */
};
void outcomes_clear(struct outcome rows[TABLE_ROWS]);

/* 0: `rows` are set; -1: Postgres doesn't take the text, *refusal says why (free()). */
int table_ask(PGconn *conn, const char *expression, char *const *params, size_t nparams,
              struct outcome rows[TABLE_ROWS], char **refusal);
/* The same of a condition behind WHERE, where the planner may leave more out: a value `t` for rows that it selects, `f` for
 * the others. */
int table_ask_where(PGconn *conn, const char *condition, char *const *params, size_t nparams,
                    struct outcome rows[TABLE_ROWS], char **refusal);

#endif
