/*
 * catalog.h - Postgres's operators, functions and casts, as facts.
 *
 * The rows of pg_operator, pg_proc and pg_cast that share a name with something we compute (so that
 * overloads resolve as in Postgres, also against those we don't compute), from catalog_data.h. Each is
 * bound to its implementation by its internal name at first use. Constant after that; any thread.
 */
#ifndef BUSBAR_WHERE_CATALOG_H
#define BUSBAR_WHERE_CATALOG_H

#include "where/types.h"

#define WHERE_PROC_ARGS_MAX 7 /* make_interval */

struct where_proc {
	uint32_t oid;
	const char *name;
	const char *prosrc;
	uint32_t result;
	uint8_t nargs;
	bool strict;
	bool inlined;     /* Postgres puts its body in its place: what fails in that isn't saved by a NULL beside it */
	char volatility;  /* i s v */
	bool retset;
	uint8_t ndefaults;
	uint32_t variadic; /* element type of a VARIADIC last argument, else 0 */
	uint32_t args[WHERE_PROC_ARGS_MAX];
};

struct where_oper {
	uint32_t oid;
	const char *name;
	uint32_t left, right; /* left 0: prefix operator */
	uint32_t result;
	uint32_t proc; /* oid */
	uint32_t commutator, negator; /* oids, 0: none */
};

struct where_cast {
	uint32_t source, target;
	uint32_t proc; /* 0: method b or i */
	char context;  /* e explicit, a assignment, i implicit */
	char method;   /* f function, b binary, i inout */
};

const struct where_proc *where_proc_by_oid(uint32_t oid);
const struct where_oper *where_oper_by_oid(uint32_t oid);
const struct where_cast *where_cast_find(uint32_t source, uint32_t target);
/* Runs of rows with this name; *n is 0 if there are none. */
const struct where_proc *const *where_procs_named(const char *name, size_t *n);
const struct where_oper *const *where_opers_named(const char *name, size_t *n);
/* NULL: Postgres has it, we don't compute it. */
const struct where_impl *where_impl_of(const struct where_proc *p);

#endif
