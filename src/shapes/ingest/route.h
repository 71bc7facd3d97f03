/*
 * route.h - which shapes a relation's changes go to, and what the running transaction has for each. INGEST's.
 */
#ifndef BUSBAR_SHAPES_ROUTE_H
#define BUSBAR_SHAPES_ROUTE_H

#include "shapes/core/line.h"
#include "shapes/core/shape.h"
#include "shapes/routing/keys.h"
#include "wal/change.h"

struct inner;
struct relation;
struct selection;
struct held;

struct route { /* INGEST's: the shapes of a table */
	uint32_t oid;
	struct shape **shapes; /* all */
	size_t n, cap;
	struct shape **plain;  /* those without a condition */
	size_t nplain, plain_cap;
	struct selection *selections; /* those with one */
	struct inner **watches; /* subqueries that select from it; inner.h */
	size_t nwatches, watches_cap;
	struct selection *watched; /* their conditions */
	struct pg_table *loose; /* not NULL: keys are unique at commits only, for `nloose` of the shapes; ingest/keys.c */
	size_t nloose;
	struct held *held;      /* of the running transaction */
	lsn_t looked_upto;     /* where the WAL ended when the table was looked at last (ingest/look.c), … */
	uint32_t looked_xmin;  /* … and the oldest transaction that ran then */
};

struct leaf { /* INGEST's: whose partition or child a relation is, at all levels */
	uint32_t oid;
	uint32_t *roots;
	size_t n, cap;
};

struct txn_shape { /* INGEST's: what the running transaction has for a shape */
	struct shape *shape;
	struct entry *entries; /* those that aren't staged */
	size_t n, cap;
	struct txn_shape *next_fresh; /* among those with entries */
	size_t ncounted;       /* entries whose keys have their numbers */
	bool staged, rotate;
	bool set_changed;      /* that is why */
	bool no_undo;          /* its counts can't be taken back: too much was staged */
	bool marked;           /* the newest staged entry says that it is the last */
	struct log_offset last; /* the newest staged entry, its flags, and where `last` would go in */
	uint32_t last_flags, last_split, last_len;
	size_t last_bytes;     /* the bytes it was staged with */
	uint64_t open_bytes_before;
	char *why;             /* rotate: why */
	enum reason reason;    /* the same, for clients */
};

/* A change, copied out of the message: of an update the new row is whole. */
struct held_change {
	enum wal_kind kind;
	uint64_t op;
	const struct relation *rel; /* as it was described then */
	uint16_t n;                 /* columns of each row */
	struct wal_value *was, *now; /* NULL: there is none */
};

struct held_entry {
	const struct held_change *change;
	struct key_hash was, now; /* keys */
};

/* What the running transaction has for one route. */
struct held {
	struct held *next;
	struct route *route; /* NULL: its shapes are all gone */
	struct pg_table *table; /* a reference: whose key it is */
	struct held_entry *entries;
	size_t n, cap;
	struct key_set brought; /* keys that came, by an insert or an update of the key */
	bool conflict;       /* one of them was left again */
	bool let_go;         /* some changes have gone to the shapes */
	bool given_up;       /* the shapes rotate: nothing is held any more */
	/* The binding: column i of the table is column map[i] of the relation; -1 none. */
	const struct relation *bound;
	uint32_t bound_version;
	int *map;
	bool bound_ok;
};

/* How changes find a shape: an enum metric_routing, -1: they don't (yet, or any more). Any thread. */
int route_way(const struct shape *s);

#endif
