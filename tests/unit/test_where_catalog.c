/*
 * test_where_catalog.c - the catalog of types, operators, functions and casts: whole and bound to what we
 * compute; every type reads and writes its text, compares, hashes and copies.
 */
#include <stdlib.h>

#include "check.h"
#include "where/catalog.h"

static const struct where_impl *const impls[] = {where_impl_number, where_impl_datetime, where_impl_text,
                                                 where_impl_array, where_impl_json};
static const struct where_io *const ios[] = {where_io_number, where_io_datetime, where_io_text, where_io_json};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Every operator and cast's function must be in the table, names in runs, and oids found again. */
static void test_look_ups(void)
{
	const struct where_proc *p = where_proc_by_oid(177);
	CHECK(p != NULL && strcmp(p->prosrc, "int4pl") == 0 && p->nargs == 2 && p->strict && p->volatility == 'i' &&
	      !p->retset);
	CHECK(where_proc_by_oid(1) == NULL);
	size_t n;
	const struct where_oper *const *opers = where_opers_named("=", &n);
	CHECK(opers != NULL && n > 50);
	for (size_t i = 0; i < n; i++)
		CHECK(strcmp(opers[i]->name, "=") == 0 && opers[i] == where_oper_by_oid(opers[i]->oid));
	CHECK(where_opers_named("@@@@@", &n) == NULL && n == 0);
	const struct where_proc *const *procs = where_procs_named("substring", &n);
	CHECK(procs != NULL && n >= 8);
	for (size_t i = 0; i < n; i++)
		CHECK(strcmp(procs[i]->name, "substring") == 0 && procs[i] == where_proc_by_oid(procs[i]->oid));
	CHECK(where_procs_named("zzz", &n) == NULL && n == 0);
	procs = where_procs_named("make_interval", &n);
	CHECK(n == 1 && procs[0]->nargs == 7 && procs[0]->ndefaults == 7);
	procs = where_procs_named("concat", &n);
	CHECK(n == 1 && procs[0]->variadic == OID_ANY && !procs[0]->strict && procs[0]->volatility == 's');
	procs = where_procs_named("overlaps", &n);
	CHECK(n == 13);
	const struct where_cast *cast = where_cast_find(OID_INT4, OID_INT8);
	CHECK(cast != NULL && cast->context == 'i' && cast->method == 'f' && cast->proc == 481);
	CHECK(where_cast_find(OID_INT4, OID_DATE) == NULL);
	cast = where_cast_find(OID_VARCHAR, OID_TEXT);
	CHECK(cast != NULL && cast->method == 'b' && cast->proc == 0);
}

static void test_whole(void)
{
	int opers = 0, casts = 0, types = 0;
	for (uint32_t oid = 1; oid < 16384; oid++) {
		const struct where_oper *o = where_oper_by_oid(oid);
		const struct where_type *t = where_type_builtin(oid);
		if (o) {
			opers++;
			/* Functions of other languages or of internal types aren't there; no operator has those. */
			CHECK(where_proc_by_oid(o->proc) != NULL);
			CHECK(o->negator == 0 || where_oper_by_oid(o->negator) != NULL);
			CHECK(o->commutator == 0 || where_oper_by_oid(o->commutator) != NULL);
			CHECK(where_type_builtin(o->right) != NULL && (o->left == 0 || where_type_builtin(o->left) != NULL));
		}
		if (t) {
			types++;
			CHECK(where_type_by_name(t->name) == t);
			CHECK((t->elem == NULL) == (t->elem_oid == 0) && (t->elem == NULL || t->elem->array_oid == t->oid));
		}
		for (uint32_t target = 1; t && target < 5000; target++) {
			const struct where_cast *c = where_cast_find(oid, target);
			casts += c != NULL;
			if (c)
				CHECK((c->method == 'f') == (where_proc_by_oid(c->proc) != NULL));
		}
	}
	CHECK(opers > 750 && casts > 200 && types > 150);
	CHECK(where_type_by_name("nonsense") == NULL && where_type_builtin(0) == NULL);
	const struct where_type *t = where_type_by_name("text");
	CHECK(t->oid == OID_TEXT && t->category == 'S' && t->preferred && t->collatable && t->kind == 'b' &&
	      t->array_oid == 1009);
	t = where_type_by_name("_int4");
	CHECK(t->elem == where_type_builtin(OID_INT4) && where_type_is_array(t) && !t->collatable && t->io == NULL);
	CHECK(where_type_by_name("int2vector")->elem == NULL);
}

/* No typing errors: each implementation is of a function that Postgres has, and there is one for each name. */
static void test_impls(void)
{
	for (size_t t = 0; t < COUNT(impls); t++) {
		for (const struct where_impl *i = impls[t]; i->prosrc; i++) {
			bool bound = false, known = false;
			for (uint32_t oid = 1; oid < 16384; oid++) {
				const struct where_proc *p = where_proc_by_oid(oid);
				if (p && strcmp(p->prosrc, i->prosrc) == 0) {
					known = true;
					bound |= where_impl_of(p) == i;
				}
			}
			if (!CHECK(known && bound))
				printf("  prosrc %s: %s\n", i->prosrc, known ? "implemented twice" : "no such function in Postgres");
			CHECK(i->fn != NULL);
		}
	}
	for (size_t t = 0; t < COUNT(ios); t++)
		for (const struct where_io *io = ios[t]; io->type; io++) {
			const struct where_type *type = where_type_by_name(io->type);
			if (!CHECK(type != NULL && type->io == io && io->in && io->out))
				printf("  type %s\n", io->type);
			CHECK(io->hash == NULL || io->cmp != NULL);
		}
}

static struct arena mem = ARENA_INIT;

static int read_value(const struct where_type *t, const char *text, struct where_value *v)
{
	struct where_call c = {.mem = &mem, .typmod = -1, .result = t};
	int status = where_in(&c, t, text, strlen(text), v);
	if (status != 0)
		printf("  %s '%s': %s\n", t->name, text, c.reason);
	return status;
}

static void check_writes(const struct where_type *t, const struct where_value *v, const char *want)
{
	struct where_call c = {.mem = &mem, .typmod = -1, .result = t};
	struct buf out = BUF_INIT(1 << 20);
	CHECK(where_out(&c, t, v, &out) == 0 && !out.failed);
	CHECK_STR(out.data ? out.data : "", want);
	buf_clear(&out);
}

/* `less` < `text`, both as Postgres writes them. */
static void check_type(const struct where_type *t, const char *less, const char *text)
{
	struct where_value a, b, again, copy;
	if (!CHECK(read_value(t, less, &a) == 0 && read_value(t, text, &b) == 0 && read_value(t, text, &again) == 0))
		return;
	check_writes(t, &b, text);
	struct arena other = ARENA_INIT;
	copy = where_copy(&other, t, &b);
	check_writes(t, &copy, text);
	if (where_comparable(t)) {
		CHECK(where_cmp(t, &a, &b) < 0 && where_cmp(t, &b, &a) > 0 && where_cmp(t, &b, &copy) == 0);
		CHECK(where_equal(t, &b, &copy) && where_equal(t, &b, &again) && !where_equal(t, &a, &b));
	}
	if (where_hashable(t))
		CHECK(where_hash(t, &b) == where_hash(t, &copy) && where_hash(t, &b) != where_hash(t, &a));
	arena_clear(&other);
}

static void test_round_trips(void)
{
	static const struct {
		const char *type, *less, *text;
	} samples[] = {
		{"bool", "f", "t"},
		{"int2", "-32768", "32767"},
		{"int4", "-2147483648", "2147483647"},
		{"int8", "-9223372036854775808", "9223372036854775807"},
		{"oid", "0", "4294967295"},
		{"float4", "-1.5", "3.4028235e+38"},
		{"float8", "1e-300", "NaN"},
		{"numeric", "-Infinity", "12345678901234567890.120"},
		{"text", "a", "äöü 😀"},
		{"varchar", "", "b"},
		{"bpchar", "a ", "b  "},
		{"name", "a", "pg_class"},
		{"bytea", "\\x", "\\x00ff"},
		{"uuid", "00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{"date", "0044-03-15 BC", "infinity"},
		{"time", "00:00:00", "24:00:00"},
		{"timestamp", "-infinity", "2024-02-29 23:59:59.999999"},
		{"timestamptz", "0001-01-01 00:00:00+00 BC", "2024-01-01 00:00:00+00"},
		{"timetz", "00:00:00+00", "00:00:00-05"},
		{"interval", "PT0S", "P1Y2M3DT4H5M6.789S"},
		{"json", "1", "{\"a\" :1}"},
		{"jsonb", "1", "{\"a\": [1, null]}"},
		{"_int4", "{1,2}", "{1,2,3}"},
		{"_text", "{}", "{\"a b\",NULL,\"\\\"\"}"},
		{"_timestamptz", "{}", "{\"2024-01-01 00:00:00+00\"}"},
		{"_numeric", "{1}", "[0:1]={1.0,2}"},
		{"_int8", "{{1,2},{3,4}}", "{{1,2},{3,5}}"},
		{"_jsonb", "{1}", "{\"{\\\"a\\\": 1}\"}"},
	};
	for (size_t i = 0; i < COUNT(samples); i++) {
		const struct where_type *t = where_type_by_name(samples[i].type);
		if (CHECK(t != NULL))
			check_type(t, samples[i].less, samples[i].text);
	}
}

static void test_enums_and_domains(void)
{
	static const char *const labels[] = {"small", "medium", "large"};
	struct where_type size = {
		.oid = 20000, .name = "size", .kind = 'e', .category = 'E', .array_oid = 20001, .labels = labels, .nlabels = 3};
	struct where_type sizes = {
		.oid = 20001, .name = "_size", .kind = 'b', .category = 'A', .elem_oid = 20000, .elem = &size};
	struct where_type domain = {
		.oid = 20002, .name = "count", .kind = 'd', .category = 'N', .base = where_type_builtin(OID_INT4)};
	check_type(&size, "small", "large");
	check_type(&size, "small", "medium"); /* by position, not by letters */
	check_type(&sizes, "{small}", "{medium,small}");
	check_type(&domain, "-1", "9");
	struct where_value v;
	struct where_call c = {.mem = &mem, .typmod = -1};
	CHECK(where_in(&c, &size, "smal", 4, &v) == -1);
	CHECK(where_in(&c, &size, "smallish", 8, &v) == -1 && strlen(c.reason) > 0);
	CHECK(where_in(&c, &size, "", 0, &v) == -1);
	CHECK(where_in(&c, where_type_by_name("point"), "(1,2)", 5, &v) == -1);
}

int main(void)
{
	RUN(test_look_ups);
	RUN(test_whole);
	RUN(test_impls);
	RUN(test_round_trips);
	RUN(test_enums_and_domains);
	arena_clear(&mem);
	return check_done("test_where_catalog");
}
