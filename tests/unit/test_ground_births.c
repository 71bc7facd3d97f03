/*
 * test_ground_births.c - a shape that is born onto a table's old ground while its shapes are judged (shapes/prep/ground.c).
 * The rest of the engine is played here: two tables, and what happens while INGEST is waited for.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "pg/ground.h"
#include "shapes/core/engine.h"
#include "shapes/prep/prep.h"

static struct table_state the_table, the_inner;
static struct pg_table described = {.oid = 7}, inner_described = {.oid = 8};
static struct shape first, second, third;
static struct shape *there[3];
static size_t nthere;
static bool rotated[3];

static struct table_state *fake_table(struct shapes *s, uint32_t oid)
{
	(void)s;
	return oid == 7 ? &the_table : oid == 8 ? &the_inner : NULL;
}

static struct shape **fake_shapes(struct shapes *s, uint32_t oid, size_t *n)
{
	(void)s;
	struct shape **out = calloc(3, sizeof(struct shape *));
	*n = 0;
	for (size_t i = 0; i < nthere; i++)
		if (shape_def_table(&there[i]->def, oid) != NULL)
			out[(*n)++] = there[i];
	return out;
}

static void fake_rotate(struct shape *shape, uint32_t oid, enum reason reason, const char *why)
{
	(void)oid, (void)reason, (void)why;
	for (size_t i = 0; i < nthere; i++)
		rotated[i] = rotated[i] || there[i] == shape;
}

static void fake_unref(struct shape *shape) { (void)shape; }
static void fake_save(struct shapes *s, const struct table_state *t) { (void)s, (void)t; }
static void fake_settle(struct shapes *s);

/* What the snapshot says of the two. */
static const char *said[2];

static int fake_read(PGconn *conn, const char *publication, const char *oids, struct pg_texts *out, struct err *e)
{
	(void)conn, (void)publication, (void)out, (void)e;
	CHECK_STR(oids, "{7,8}");
	return 0;
}

static const char *fake_text(const struct pg_texts *t, uint32_t oid)
{
	(void)t;
	return said[oid - 7];
}

static void fake_clear(struct pg_texts *t) { (void)t; }

#define registry_table fake_table
#define registry_shapes fake_shapes
#define shape_rotate_for fake_rotate
#define shape_unref fake_unref
#define table_save fake_save
#define cmd_settle fake_settle
#define pg_ground_read fake_read
#define pg_texts_of fake_text
#define pg_texts_clear fake_clear
#include "shapes/prep/ground.c"

#define THEN "k1.5.0.0 p1.5.111100 r7 x7.100."
#define NOW "k1.5.0.0 p1.6.111100 r7 x7.100."

/* What happens while a difference is judged. */
static void (*meanwhile)(struct shapes *s);

static void fake_settle(struct shapes *s)
{
	void (*now)(struct shapes *) = meanwhile;
	if (now != NULL)
		now(s);
}

/* Those standing have been judged, `now` isn't the table's yet. */
static void one_is_born(struct shapes *s)
{
	struct shape *const next[] = {&second, &third};
	if (nthere > 2 || rotated[nthere - 1] == false)
		return;
	struct shape *one = there[nthere] = next[nthere - 1];
	nthere++;
	CHECK_INT(move(s, 7, THEN, the_table.ground_version, &one, 1), 0);
	CHECK(atomic_load(&one->link.grounded));
}

static void test_born_while_judged(void)
{
	struct shapes *s = calloc(1, sizeof *s);
	pthread_rwlock_init(&s->registry_lock, NULL);
	the_table = (struct table_state){.oid = 7, .ground = mem_strdup(THEN)};
	meanwhile = one_is_born;
	there[nthere++] = &first;
	first.def.table = second.def.table = third.def.table = &described;
	atomic_store(&first.link.grounded, true);
	CHECK_INT(move(s, 7, NOW, 0, NULL, 0), 0);
	CHECK_STR(the_table.ground, NOW);
	CHECK_INT(the_table.ground_version, 1);
	CHECK(rotated[0] && rotated[1] && rotated[2]);
	/* And one on the new ground stays. */
	struct shape *one = &third;
	nthere = 0;
	CHECK_INT(move(s, 7, NOW, 1, &one, 1), 0);
	CHECK_INT(move(s, 7, THEN, 0, NULL, 0), 1); /* an older look */
	free(the_table.ground);
	free(s);
}

#define INNER_THEN "k1.5.0.0 p1.5.111100 r8 x8.100."
#define INNER_NOW "k1.5.0.0 p1.5.111100 r9 x8.100."

/* The first table leaves the publication and comes back while the second is judged. */
static void first_moves(struct shapes *s)
{
	meanwhile = NULL;
	CHECK_INT(move(s, 7, "k1.5.0.0 p1.5.111100 r17 x7.100.", the_table.ground_version, NULL, 0), 0);
}

static struct shapes *two_tables(const struct config *config)
{
	struct shapes *s = calloc(1, sizeof *s);
	s->config = config;
	pthread_rwlock_init(&s->registry_lock, NULL);
	the_table = (struct table_state){.oid = 7, .ground = mem_strdup(THEN)};
	the_inner = (struct table_state){.oid = 8, .ground = mem_strdup(INNER_THEN)};
	memset(&first, 0, sizeof first);
	memset(&second, 0, sizeof second);
	memset(rotated, 0, sizeof rotated);
	said[0] = THEN;
	said[1] = INNER_NOW;
	meanwhile = NULL;
	/* One that stands on the second table; one of the first that names the second. */
	static struct pg_table *inner[] = {&inner_described};
	static struct shape_link link;
	link = (struct shape_link){0};
	first.def.table = &inner_described;
	atomic_store(&first.link.grounded, true);
	second.def = (struct shape_def){.table = &described, .inner = inner, .ninner = 1};
	second.inner_links = &link;
	there[0] = &first;
	there[1] = &second;
	nthere = 2;
	return s;
}

static void end_two_tables(struct shapes *s)
{
	free(the_table.ground);
	free(the_inner.ground);
	free(s);
}

static uint32_t entry = 7; /* of the first table, when it joined */

static struct pg_table *const both[] = {&described, &inner_described};

static int born(struct shapes *s, struct pg_snapshot_tables *tables, uint32_t xmin, uint32_t inner_xmin, struct err *e)
{
	struct shape *one = &second;
	struct ground_since since[] = {{the_table.ground_version, xmin, entry}, {the_inner.ground_version, inner_xmin, 9}};
	*tables = (struct pg_snapshot_tables){.list = both, .n = 2};
	return ground_born(s, NULL, tables, since, &one, 1, e);
}

static void test_born_onto_two(void)
{
	struct config config = {.publication_name = (char *)"pub"};
	struct pg_snapshot_tables tables;
	struct err e;
	struct shapes *s = two_tables(&config);
	CHECK_INT(born(s, &tables, 5, 5, &e), 0);
	CHECK(tables.failed == NULL && rotated[0] && !rotated[1]);
	CHECK(atomic_load(&second.link.grounded) && atomic_load(&second.inner_links[0].grounded));
	CHECK_INT(the_table.ground_births, 1);
	CHECK_INT(the_inner.ground_births, 1);
	CHECK_STR(the_inner.ground, INNER_NOW);
	end_two_tables(s);
	/* It stands on the first one from the moment that this was settled. */
	s = two_tables(&config);
	meanwhile = first_moves;
	CHECK_INT(born(s, &tables, 5, 5, &e), 0);
	CHECK(rotated[0] && rotated[1]);
	end_two_tables(s);
}

static void test_not_born_onto_two(void)
{
	struct config config = {.publication_name = (char *)"pub"};
	struct pg_snapshot_tables tables;
	struct err e;
	struct shapes *s = two_tables(&config);
	CHECK_INT(born(s, &tables, 5, 4, &e), GROUND_JOIN);
	CHECK(tables.failed == &inner_described && !atomic_load(&second.inner_links[0].grounded));
	/* The first left the publication and came back, while the second waited for writers. */
	entry = 6;
	CHECK_INT(born(s, &tables, 5, 5, &e), GROUND_JOIN);
	CHECK(tables.failed == &described);
	entry = 7;
	/* Another snapshot, in which the first table isn't published: it stands on neither. */
	said[0] = "k1.5.0.0 p1.5.111100 x7.100.";
	CHECK_INT(born(s, &tables, 5, 5, &e), -1);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK(tables.failed == &described && !atomic_load(&second.link.grounded) && !atomic_load(&second.inner_links[0].grounded));
	said[0] = THEN;
	said[1] = NULL;
	CHECK_INT(born(s, &tables, 5, 5, &e), -1);
	CHECK_INT(e.kind, ERR_NOT_FOUND);
	CHECK(tables.failed == &inner_described && !rotated[0] && !rotated[1]);
	end_two_tables(s);
}

int main(void)
{
	RUN(test_born_while_judged);
	RUN(test_born_onto_two);
	RUN(test_not_born_onto_two);
	return check_done("ground_births");
}
