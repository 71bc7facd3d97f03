/*
 * pool_private.h - how a pool holds its nodes: shared by pool.c (storage, sharing), fold.c (from trees to
 * nodes) and eval.c (values of nodes).
 *
 * A node is a slot of one array, named by its index. What calls of the same function with the same types
 * have in common is a `sig`, shared as well, so that a node stays below 100 bytes.
 */
#ifndef BUSBAR_WHERE_POOL_PRIVATE_H
#define BUSBAR_WHERE_POOL_PRIVATE_H

#include "base/map.h"
#include "where/catalog.h"
#include "where/pool.h"

#define POOL_TRIM_BYTES (64u << 20) /* of values of one row, beyond which where_pool_trim() forgets them */
#define POOL_FEW_ARGS 8             /* arguments of a call that are gathered on the stack */

enum {
	SLOT_NESTED = 1, /* of WHERE_ARRAY */
	SLOT_OPEN = 2,   /* depends on a WHERE_ELEMENT: never remembered, never folded */
	SLOT_SAFE = 4,   /* can't fail */
	SLOT_STABLE = 8, /* of WHERE_CONST: a stable function had a part in it, so the planner doesn't know it */
};

/* What is the same in all calls of one function with the same types. */
struct sig {
	uint32_t refs;
	uint32_t nargs;
	int32_t typmod;
	bool strict;
	bool inlined;                       /* see where_proc */
	bool weighs;                        /* an argument is an array: its length isn't its value's */
	uint8_t row_op;                     /* of ROW_COMPARE: '<' 'l' (<=) '>' 'g' (>=) */
	const struct where_impl *impl;      /* of GREATEST and LEAST over texts: their `<` */
	const struct where_proc *proc;
	const struct where_oper *oper;
	const struct where_collation *collation;
	const struct where_type *result;
	const struct where_impl **row_impls; /* of ROW_COMPARE: `<` and `>` of each pair */
	const struct where_type **arg_types;
	void *key;
	size_t key_len;
};

struct slot {
	struct where_value memo;  /* the value; of constants always valid, else if stamp is the pool's */
	const struct where_type *type;
	struct sig *sig;          /* NULL if the kind needs none */
	union {
		uint32_t two[2];
		uint32_t *many;   /* nargs > 2 */
	} args;
	void *extra;              /* of calls: what was prepared; of constants: their memory; of ANY, ALL: a set */
	uint32_t refs, hash;
	uint32_t next;            /* in its bucket, or in the free list */
	uint32_t stamp;
	uint32_t nargs;
	uint16_t column;
	uint8_t kind, flags;
};

/* The elements of a constant array, for = ANY and <> ALL: positions + 1 by hash, 0: free. */
struct set {
	uint32_t mask;
	bool has_null;
	uint32_t at[];
};

struct user_type {
	struct user_type *next;
	struct where_type type;
};

struct where_pool {
	bool as_planner;     /* immutable constants that fail do so wherever they stand */
	uint64_t *fold_steps; /* of where_pool_fold_as_planner(); NULL: each add has its own */
	bool prepare_failed; /* the last add: a constant pattern was refused */
	struct pg_table *table;
	struct slot *slots;       /* [0] isn't used */
	uint32_t nslots, cap, free, live;
	uint32_t *buckets;
	uint32_t mask;
	struct map sigs;
	struct user_type *types;  /* enums and domains, and arrays of them, for the life of the pool */
	uint32_t stamp;           /* the row's, never 0 */
	where_fetch *fetch;
	void *fetch_ctx;
	struct arena mem, fold;   /* of the row; of constants being made */
	struct arena *arena;      /* one of the two */
	size_t limit;             /* arena->used beyond which an evaluation fails */
	struct where_call call;
	const struct where_value *element;
	struct buf text;
	const char *reason;
	int column;
};

static inline const uint32_t *slot_args(const struct slot *s) { return s->nargs > 2 ? s->args.many : s->args.two; }

/* pool.c */
const struct where_type *pool_type(struct where_pool *p, const struct where_type *t);
const struct where_type *pool_array_type(struct where_pool *p, const struct where_type *elem);
/* A reference to the constant, whose value is copied. */
uint32_t pool_const(struct where_pool *p, const struct where_type *t, const struct where_value *v);
/* The same; with `stable` (SLOT_STABLE) apart from constants that the planner knows. */
uint32_t pool_const_as(struct where_pool *p, const struct where_type *t, const struct where_value *v, bool stable);
/* A reference to the node that looks like `proto` (kind, type, sig, flags, column) over `args`. Takes the
 * references of `args` and of the sig. */
uint32_t pool_intern(struct where_pool *p, const struct slot *proto, const uint32_t *args, uint32_t nargs);
struct sig_make {
	uint8_t kind;
	int32_t typmod;
	const struct where_proc *proc;
	const struct where_oper *oper;
	const struct where_collation *collation;
	const struct where_type *result;
	const struct where_type *const *arg_types; /* the pool's */
	uint32_t nargs;
	const struct where_oper *const *row_ops;   /* nargs / 2 */
};
/* A reference; NULL after setting p->call.reason if it isn't computed here. */
struct sig *pool_sig(struct where_pool *p, const struct sig_make *m);
void pool_sig_unref(struct where_pool *p, struct sig *g);

/* eval.c */
const struct where_value *pool_eval(struct where_pool *p, uint32_t id);
struct set *pool_set(const struct where_type *elem, const struct where_array *a);
void pool_call(struct where_pool *p, const struct sig *g, void *prepared); /* fills p->call */

#endif
