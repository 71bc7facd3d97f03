/*
 * pool.c - the nodes of a pool: storage, sharing of equal ones, references, and the public calls. How trees
 * become nodes is in fold.c, values in eval.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "where/pool_private.h"

#define SLOTS_MIN 64
#define TEXT_KEEP (1u << 20) /* of the scratch text, from row to row */

/* ---- types ------------------------------------------------------------------------------------------ */

static bool same_labels(const struct where_type *a, const struct where_type *b)
{
	if (a->nlabels != b->nlabels)
		return false;
	for (uint32_t i = 0; i < a->nlabels; i++)
		if (strcmp(a->labels[i], b->labels[i]) != 0)
			return false;
	return true;
}

static const struct where_type *find_type(const struct where_pool *p, const struct where_type *t)
{
	for (const struct user_type *u = p->types; u != NULL; u = u->next)
		if (u->type.oid == t->oid && u->type.kind == t->kind && u->type.elem == t->elem && u->type.base == t->base &&
		    u->type.io == t->io && strcmp(u->type.name, t->name) == 0 && same_labels(&u->type, t))
			return &u->type;
	return NULL;
}

static const struct where_type *add_type(struct where_pool *p, const struct where_type *t)
{
	struct user_type *u = mem_alloc(sizeof *u);
	u->type = *t;
	u->type.name = mem_strdup(t->name);
	u->type.schema = t->schema ? mem_strdup(t->schema) : NULL;
	char **labels = t->nlabels > 0 ? mem_alloc(t->nlabels * sizeof *labels) : NULL;
	for (uint32_t i = 0; i < t->nlabels; i++)
		labels[i] = mem_strdup(t->labels[i]);
	u->type.labels = (const char *const *)labels;
	u->next = p->types;
	p->types = u;
	return &u->type;
}

const struct where_type *pool_type(struct where_pool *p, const struct where_type *t)
{
	if (t == NULL || where_type_builtin(t->oid) == t)
		return t;
	struct where_type own = *t;
	own.elem = pool_type(p, t->elem);
	own.base = pool_type(p, t->base);
	const struct where_type *found = find_type(p, &own);
	return found ? found : add_type(p, &own);
}

const struct where_type *pool_array_type(struct where_pool *p, const struct where_type *elem)
{
	const struct where_type *known = elem->array_oid != 0 ? where_type_builtin(elem->array_oid) : NULL;
	if (known != NULL && known->elem == elem)
		return known;
	struct where_type t = {.oid = elem->array_oid, .name = elem->name, .kind = 'b', .category = 'A',
	                       .collatable = elem->collatable, .elem_oid = elem->oid, .elem = elem};
	return pool_type(p, &t);
}

static void free_types(struct where_pool *p)
{
	for (struct user_type *u = p->types, *next; u != NULL; u = next) {
		next = u->next;
		for (uint32_t i = 0; i < u->type.nlabels; i++)
			free((void *)(uintptr_t)u->type.labels[i]);
		free((void *)(uintptr_t)u->type.labels);
		free((void *)(uintptr_t)u->type.name);
		free((void *)(uintptr_t)u->type.schema);
		free(u);
	}
	p->types = NULL;
}

/* ---- signatures ------------------------------------------------------------------------------------- */

static const struct where_oper *same_types_oper(const char *name, uint32_t left, uint32_t right)
{
	size_t n;
	const struct where_oper *const *o = where_opers_named(name, &n);
	for (size_t i = 0; i < n; i++)
		if (o[i]->left == left && o[i]->right == right)
			return o[i];
	return NULL;
}

static const struct where_impl *oper_impl(const struct where_oper *o)
{
	const struct where_proc *proc = o ? where_proc_by_oid(o->proc) : NULL;
	return proc ? where_impl_of(proc) : NULL;
}

/* ROW_COMPARE needs more of each pair than its own operator tells: which of the two is less. */
static bool bind_rows(struct sig *g, const struct where_oper *const *ops)
{
	uint32_t n = g->nargs / 2;
	g->row_impls = mem_zalloc((size_t)n * 2 * sizeof *g->row_impls);
	for (uint32_t i = 0; i < n; i++) {
		g->row_impls[i * 2] = oper_impl(same_types_oper("<", ops[i]->left, ops[i]->right));
		g->row_impls[i * 2 + 1] = oper_impl(same_types_oper(">", ops[i]->left, ops[i]->right));
		if (g->row_impls[i * 2] == NULL || g->row_impls[i * 2 + 1] == NULL)
			return false;
	}
	const char *name = ops[0]->name;
	g->row_op = (uint8_t)(name[1] == '\0' ? name[0] : name[0] == '<' ? 'l' : 'g');
	return true;
}

static bool bind_order(struct sig *g)
{
	const struct where_type *t = g->result->base ? g->result->base : g->result;
	if (!t->collatable || where_type_is_array(t))
		return where_comparable(t);
	uint32_t oid = t->oid == OID_VARCHAR ? OID_TEXT : t->oid;
	g->impl = oper_impl(same_types_oper("<", oid, oid));
	g->nargs = 2; /* of that */
	return g->impl != NULL;
}

static bool bind_sig(struct sig *g, const struct sig_make *m)
{
	if (m->kind == WHERE_ROW_COMPARE)
		return bind_rows(g, m->row_ops);
	if (m->kind == WHERE_GREATEST || m->kind == WHERE_LEAST)
		return bind_order(g);
	if (m->proc == NULL)
		return true;
	g->impl = where_impl_of(m->proc);
	return g->impl != NULL;
}

static void free_sig(struct sig *g)
{
	free(g->row_impls);
	free(g->arg_types);
	free(g->key);
	free(g);
}

struct sig *pool_sig(struct where_pool *p, const struct sig_make *m)
{
	struct buf key = BUF_INIT(1 << 20);
	struct sig_make fixed;
	memset(&fixed, 0, sizeof fixed); /* padding too: it is a key */
	fixed.kind = m->kind;
	fixed.typmod = m->typmod;
	fixed.proc = m->proc;
	fixed.oper = m->oper;
	fixed.collation = m->collation;
	fixed.result = m->result;
	fixed.nargs = m->nargs;
	buf_put(&key, &fixed, sizeof fixed);
	buf_put(&key, m->arg_types, m->nargs * sizeof *m->arg_types);
	if (m->kind == WHERE_ROW_COMPARE)
		buf_put(&key, m->row_ops, m->nargs / 2 * sizeof *m->row_ops);
	struct sig *g = map_get(&p->sigs, key.data, key.len);
	if (g != NULL) {
		g->refs++;
		buf_clear(&key);
		return g;
	}
	g = mem_zalloc(sizeof *g);
	*g = (struct sig){.refs = 1, .nargs = m->nargs, .typmod = m->typmod, .proc = m->proc, .oper = m->oper,
	                  .collation = m->collation, .result = m->result, .strict = m->proc && m->proc->strict,
	                  .inlined = m->proc && m->proc->inlined};
	g->arg_types = mem_alloc(m->nargs * sizeof *g->arg_types);
	if (m->nargs > 0)
		memcpy(g->arg_types, m->arg_types, m->nargs * sizeof *g->arg_types);
	for (uint32_t i = 0; i < m->nargs; i++)
		g->weighs |= m->arg_types[i] != NULL && where_type_is_array(m->arg_types[i]->base ? m->arg_types[i]->base : m->arg_types[i]);
	g->key = buf_detach(&key, &g->key_len);
	if (!bind_sig(g, m)) {
		where_fail(&p->call, "%s is not computed here", m->oper ? m->oper->name : m->proc ? m->proc->name : "this order");
		free_sig(g);
		return NULL;
	}
	map_put(&p->sigs, g->key, g->key_len, g);
	return g;
}

void pool_sig_unref(struct where_pool *p, struct sig *g)
{
	REQUIRE(g == NULL || g->refs > 0);
	if (g == NULL || --g->refs > 0)
		return;
	map_del(&p->sigs, g->key, g->key_len);
	free_sig(g);
}

/* ---- constants -------------------------------------------------------------------------------------- */

/* How a constant's value is kept (value.h). */
enum form { FORM_PLAIN, FORM_BYTES, FORM_DEEP };

static enum form form_of(const struct where_type *t, const struct where_value *v)
{
	if (t->base)
		t = t->base;
	if (v->is != WHERE_VALUE)
		return FORM_PLAIN;
	if (where_type_is_array(t))
		return FORM_DEEP;
	if (t->kind == 'e')
		return FORM_BYTES;
	switch (t->oid) {
	case OID_BOOL: case OID_INT2: case OID_INT4: case OID_INT8: case OID_OID: case OID_FLOAT4: case OID_FLOAT8:
	case OID_DATE: case OID_TIME: case OID_TIMESTAMP: case OID_TIMESTAMPTZ:
		return FORM_PLAIN;
	case OID_TEXT: case OID_VARCHAR: case OID_NAME: case OID_JSON: case OID_BYTEA: case OID_UUID: case OID_CHAR:
	case OID_UNKNOWN: case OID_BPCHAR:
		return FORM_BYTES;
	default:
		return FORM_DEEP;
	}
}

/* Two deep constants are the same if their types' output says the same: it tells all that they are. */
static bool deep_text(struct where_pool *p, const struct where_type *t, const struct where_value *v, struct buf *out)
{
	struct where_call call = {.mem = &p->fold, .result = t, .typmod = -1};
	buf_reset(out);
	if (where_out(&call, t, v, out) != 0 || out->failed)
		return false;
	for (uint32_t i = 0; t->oid == OID_RECORD && i < v->u.row->n; i++) /* fields of other types may read the same */
		buf_put(out, &v->u.row->types[i], sizeof v->u.row->types[i]);
	return !out->failed;
}

static uint32_t const_hash(struct where_pool *p, const struct where_type *t, const struct where_value *v)
{
	uint64_t h = where_hash_u64((uintptr_t)t ^ v->is);
	switch (form_of(t, v)) {
	case FORM_PLAIN:
		h ^= v->is == WHERE_VALUE ? where_hash_u64((uint64_t)v->u.i) : 0;
		break;
	case FORM_BYTES:
		h ^= where_hash_bytes(v->u.p, v->len);
		break;
	case FORM_DEEP:
		if (deep_text(p, t, v, &p->text))
			h ^= where_hash_bytes(p->text.data ? p->text.data : "", p->text.len);
		break;
	}
	return (uint32_t)(h ^ (h >> 32));
}

static bool same_const(struct where_pool *p, const struct where_type *t, const struct where_value *a,
                       const struct where_value *b)
{
	if (a->is != b->is)
		return false;
	if (a->is != WHERE_VALUE)
		return true;
	switch (form_of(t, a)) {
	case FORM_PLAIN:
		return a->u.i == b->u.i;
	case FORM_BYTES:
		return a->len == b->len && (a->len == 0 || memcmp(a->u.p, b->u.p, a->len) == 0);
	case FORM_DEEP:
		break;
	}
	struct buf text = BUF_INIT(WHERE_VALUE_BYTES_MAX);
	bool same = deep_text(p, t, a, &text) && deep_text(p, t, b, &p->text) && text.len == p->text.len &&
	            (text.len == 0 || memcmp(text.data, p->text.data, text.len) == 0);
	buf_clear(&text);
	return same;
}

/*
 * A copied value names the types of its elements as its condition's tree had them, which is freed long before the
 * pool: they become the pool's own. The value is memory that only we know.
 */
static void own_types(struct where_pool *p, const struct where_type *t, struct where_value *v)
{
	if (v->is != WHERE_VALUE)
		return;
	if (t->base)
		t = t->base;
	if (where_type_is_array(t)) {
		struct where_array *a = (struct where_array *)v->u.array;
		a->elem = pool_type(p, a->elem);
		for (uint32_t i = 0; a->elem->oid == OID_RECORD && i < a->n; i++)
			own_types(p, a->elem, (struct where_value *)&a->values[i]);
	} else if (t->oid == OID_RECORD) {
		const struct where_row *r = v->u.row;
		for (uint32_t i = 0; i < r->n; i++) {
			const struct where_type *own = pool_type(p, r->types[i]);
			((const struct where_type **)r->types)[i] = own;
			own_types(p, own, (struct where_value *)&r->values[i]);
		}
	}
}

/* The value in memory of its own, which *memory leads to. */
static struct where_value keep_value(struct where_pool *p, const struct where_type *t, const struct where_value *v,
                                     void **memory)
{
	struct where_value kept = *v;
	*memory = NULL;
	switch (form_of(t, v)) {
	case FORM_PLAIN:
		break;
	case FORM_BYTES:
		kept.u.p = *memory = mem_strndup(v->len > 0 ? v->u.p : "", v->len);
		break;
	case FORM_DEEP: {
		size_t before = p->fold.used;
		(void)where_copy(&p->fold, t, v);
		struct arena own = ARENA_INIT;
		arena_reserve(&own, p->fold.used - before);
		kept = where_copy(&own, t, v);
		if (kept.is == WHERE_ERROR)
			kept = (struct where_value){.u.p = "the constant is too large", .is = WHERE_ERROR};
		own_types(p, t, &kept);
		*memory = own.head;
		break;
	}
	}
	return kept;
}

static void free_const(struct slot *s)
{
	if (s->extra == NULL)
		return;
	if (s->memo.is != WHERE_VALUE || form_of(s->type, &s->memo) == FORM_DEEP) {
		struct arena own = {s->extra, 0, 0};
		arena_clear(&own);
	} else {
		free(s->extra);
	}
}

/* ---- slots ------------------------------------------------------------------------------------------ */

static void rehash(struct where_pool *p, uint32_t size)
{
	p->buckets = mem_realloc(p->buckets, size * sizeof *p->buckets);
	memset(p->buckets, 0, size * sizeof *p->buckets);
	p->mask = size - 1;
	for (uint32_t id = 1; id < p->nslots; id++) {
		struct slot *s = &p->slots[id];
		if (s->refs == 0)
			continue;
		s->next = p->buckets[s->hash & p->mask];
		p->buckets[s->hash & p->mask] = id;
	}
}

static uint32_t take_slot(struct where_pool *p)
{
	if (p->free != 0) {
		uint32_t id = p->free;
		p->free = p->slots[id].next;
		return id;
	}
	if (p->nslots == p->cap) {
		p->cap = p->cap > 0 ? p->cap * 2 : SLOTS_MIN;
		p->slots = mem_realloc(p->slots, p->cap * sizeof *p->slots);
	}
	if (p->nslots == 0)
		memset(&p->slots[p->nslots++], 0, sizeof *p->slots);
	return p->nslots++;
}

static uint32_t place_slot(struct where_pool *p, const struct slot *made)
{
	REQUIRE(p->live < POOL_NODES_MAX);
	if (p->live >= p->mask)
		rehash(p, p->mask > 0 ? (p->mask + 1) * 2 : SLOTS_MIN);
	uint32_t id = take_slot(p);
	struct slot *s = &p->slots[id];
	REQUIRE(id != 0 && (id + 1 == p->nslots || s->refs == 0)); /* new, or free */
	*s = *made;
	s->refs = 1;
	s->next = p->buckets[s->hash & p->mask];
	p->buckets[s->hash & p->mask] = id;
	p->live++;
	return id;
}

uint32_t pool_const_as(struct where_pool *p, const struct where_type *t, const struct where_value *v, bool stable)
{
	struct slot made = {.kind = WHERE_CONST, .type = pool_type(p, t), .flags = SLOT_SAFE | (stable ? SLOT_STABLE : 0)};
	made.hash = const_hash(p, made.type, v);
	for (uint32_t id = p->mask ? p->buckets[made.hash & p->mask] : 0; id != 0; id = p->slots[id].next) {
		struct slot *s = &p->slots[id];
		if (s->kind == WHERE_CONST && s->hash == made.hash && s->type == made.type && s->flags == made.flags &&
		    same_const(p, made.type, &s->memo, v)) {
			s->refs++;
			return id;
		}
	}
	made.memo = keep_value(p, made.type, v, &made.extra);
	return place_slot(p, &made);
}

uint32_t pool_const(struct where_pool *p, const struct where_type *t, const struct where_value *v)
{
	return pool_const_as(p, t, v, false);
}

static uint32_t node_hash(const struct slot *proto, const uint32_t *args, uint32_t nargs)
{
	uint64_t h = proto->kind | (uint64_t)proto->column << 8 | (uint64_t)(proto->flags & SLOT_NESTED) << 24;
	h = where_hash_u64(h ^ (uintptr_t)proto->type);
	h = where_hash_u64(h ^ (uintptr_t)proto->sig);
	h = where_hash_u64(h ^ nargs);
	for (uint32_t i = 0; i < nargs; i++)
		h = where_hash_u64(h ^ args[i]);
	return (uint32_t)(h ^ (h >> 32));
}

static bool same_node(const struct slot *s, const struct slot *proto, const uint32_t *args, uint32_t nargs)
{
	return s->kind == proto->kind && s->type == proto->type && s->sig == proto->sig && s->column == proto->column &&
	       ((s->flags ^ proto->flags) & SLOT_NESTED) == 0 && s->nargs == nargs &&
	       (nargs == 0 || memcmp(slot_args(s), args, nargs * sizeof *args) == 0);
}

uint32_t pool_intern(struct where_pool *p, const struct slot *proto, const uint32_t *args, uint32_t nargs)
{
	struct slot made = *proto;
	made.hash = node_hash(proto, args, nargs);
	for (uint32_t id = p->mask ? p->buckets[made.hash & p->mask] : 0; id != 0; id = p->slots[id].next) {
		if (p->slots[id].hash != made.hash || !same_node(&p->slots[id], proto, args, nargs))
			continue;
		p->slots[id].refs++;
		for (uint32_t i = 0; i < nargs; i++)
			where_pool_unref(p, args[i]);
		pool_sig_unref(p, proto->sig);
		return id;
	}
	made.nargs = nargs;
	made.stamp = 0;
	if (nargs > 2)
		made.args.many = mem_alloc(nargs * sizeof *args);
	if (nargs > 0)
		memcpy(nargs > 2 ? made.args.many : made.args.two, args, nargs * sizeof *args);
	return place_slot(p, &made);
}

static void release_extra(struct slot *s)
{
	if (s->kind == WHERE_CONST)
		free_const(s);
	else if (s->extra != NULL && s->kind == WHERE_CALL && s->sig->impl->release != NULL)
		s->sig->impl->release(s->extra);
	else
		free(s->extra);
}

static void drop_slot(struct where_pool *p, uint32_t id)
{
	struct slot *s = &p->slots[id];
	uint32_t *link = &p->buckets[s->hash & p->mask];
	while (*link != id) {
		REQUIRE(*link != 0); /* it is in its bucket */
		link = &p->slots[*link].next;
	}
	*link = s->next;
	release_extra(s);
	for (uint32_t i = 0; i < s->nargs; i++)
		where_pool_unref(p, slot_args(s)[i]);
	if (s->nargs > 2)
		free(s->args.many);
	pool_sig_unref(p, s->sig);
	memset(s, 0, sizeof *s);
	s->next = p->free;
	p->free = id;
	if (--p->live > 0)
		return;
	free(p->slots);
	free(p->buckets);
	p->slots = NULL;
	p->buckets = NULL;
	p->nslots = p->cap = p->free = p->mask = 0;
}

/* ---- the public calls ------------------------------------------------------------------------------- */

struct where_pool *where_pool_new(struct pg_table *table)
{
	struct where_pool *p = mem_zalloc(sizeof *p);
	p->table = table ? pg_table_ref(table) : NULL;
	p->stamp = 1;
	p->arena = p->call.mem = &p->mem;
	p->column = -1;
	p->reason = "";
	buf_init(&p->text, WHERE_VALUE_BYTES_MAX);
	return p;
}

void where_pool_free(struct where_pool *p)
{
	if (p == NULL)
		return;
	for (uint32_t id = 1; id < p->nslots; id++) {
		struct slot *s = &p->slots[id];
		if (s->refs == 0)
			continue;
		release_extra(s);
		if (s->nargs > 2)
			free(s->args.many);
		pool_sig_unref(p, s->sig);
	}
	free(p->slots);
	free(p->buckets);
	map_clear(&p->sigs);
	free_types(p);
	arena_clear(&p->mem);
	arena_clear(&p->fold);
	buf_clear(&p->text);
	if (p->table)
		pg_table_unref(p->table);
	free(p);
}

size_t where_pool_nodes(const struct where_pool *p)
{
	return p->live;
}

void where_pool_ref(struct where_pool *p, uint32_t id)
{
	REQUIRE(id != 0 && id < p->nslots && p->slots[id].refs > 0);
	p->slots[id].refs++;
}

/* Absent parts (of slices) are 0. */
void where_pool_unref(struct where_pool *p, uint32_t id)
{
	if (id == 0)
		return;
	REQUIRE(id < p->nslots && p->slots[id].refs > 0);
	if (p->slots[id].refs > 1)
		p->slots[id].refs--;
	else
		drop_slot(p, id);
}

const struct where_type *where_pool_type(const struct where_pool *p, uint32_t id)
{
	REQUIRE(id != 0 && id < p->nslots && p->slots[id].refs > 0);
	return p->slots[id].type;
}

static void next_stamp(struct where_pool *p)
{
	if (++p->stamp != 0)
		return;
	for (uint32_t id = 1; id < p->nslots; id++)
		p->slots[id].stamp = 0;
	p->stamp = 1;
}

void where_pool_row(struct where_pool *p, where_fetch *fetch, void *ctx)
{
	p->fetch = fetch;
	p->fetch_ctx = ctx;
	p->call.work = p->call.work_max = 0;
	p->call.too_costly = false;
	next_stamp(p);
	arena_reset(&p->mem);
	if (p->text.cap > TEXT_KEEP)
		buf_clear(&p->text);
	p->reason = "";
	p->column = -1;
}

const struct where_value *where_pool_eval(struct where_pool *p, uint32_t id)
{
	p->limit = p->mem.used + WHERE_EVAL_BYTES_MAX;
	const struct where_value *v = pool_eval(p, id);
	if (v->is == WHERE_ERROR) {
		p->reason = v->u.p;
		p->column = (int)v->len - 1;
	}
	return v;
}

void where_pool_budget(struct where_pool *p, uint64_t max)
{
	p->call.work_max = max;
	p->call.too_costly = false;
}

void where_pool_refund(struct where_pool *p, uint64_t steps)
{
	p->call.work -= steps < p->call.work ? steps : p->call.work;
	p->call.too_costly = false;
}

uint64_t where_pool_work(const struct where_pool *p) { return p->call.work; }
bool where_pool_too_costly(const struct where_pool *p) { return p->call.too_costly; }

const char *where_pool_reason(const struct where_pool *p)
{
	return p->reason;
}

int where_pool_column(const struct where_pool *p)
{
	return p->column;
}

void where_pool_trim(struct where_pool *p)
{
	if (p->mem.used <= POOL_TRIM_BYTES)
		return;
	next_stamp(p);
	arena_reset(&p->mem);
	p->reason = ""; /* it was there */
}

void where_pool_look(const struct where_pool *p, uint32_t id, struct where_pool_node *out)
{
	REQUIRE(id != 0 && id < p->nslots && p->slots[id].refs > 0);
	const struct slot *s = &p->slots[id];
	*out = (struct where_pool_node){
		.kind = s->kind,
		.safe = (s->flags & SLOT_SAFE) != 0,
		.column = s->column,
		.nargs = s->nargs,
		.args = slot_args(s),
		.type = s->type,
		.value = s->kind == WHERE_CONST ? &s->memo : NULL,
	};
	if (s->sig == NULL)
		return;
	out->arg_types = s->sig->arg_types;
	out->collation = s->sig->collation;
	out->proc = s->sig->proc;
	out->oper = s->sig->oper;
}
