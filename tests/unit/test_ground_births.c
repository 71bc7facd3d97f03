/*
 * test_ground_births.c - a shape that is born onto a table's old ground while its shapes are judged (shapes/prep/ground.c).
 * The rest of the engine is played here: one table, and what happens while INGEST is waited for.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "pg/ground.h"
#include "shapes/core/engine.h"
#include "shapes/prep/prep.h"

static struct table_state the_table;
static struct pg_table described = {.oid = 7};
static struct shape first, second, third;
static struct shape *there[3];
static size_t nthere;
static bool rotated[3];

static struct table_state *fake_table(struct shapes *s, uint32_t oid)
{
	(void)s;
	return oid == 7 ? &the_table : NULL;
}

static struct shape **fake_shapes(struct shapes *s, uint32_t oid, size_t *n)
{
	(void)s, (void)oid;
	struct shape **out = calloc(3, sizeof(struct shape *));
	memcpy(out, there, sizeof there);
	*n = nthere;
	return out;
}

static void fake_rotate(struct shape *shape, const char *why)
{
	(void)why;
	for (size_t i = 0; i < nthere; i++)
		rotated[i] = rotated[i] || there[i] == shape;
}

static void fake_unref(struct shape *shape) { (void)shape; }
static void fake_save(struct shapes *s, const struct table_state *t) { (void)s, (void)t; }
static void fake_settle(struct shapes *s);

#define registry_table fake_table
#define registry_shapes fake_shapes
#define shape_rotate fake_rotate
#define shape_unref fake_unref
#define table_save fake_save
#define cmd_settle fake_settle
#include "shapes/prep/ground.c"

#define THEN "k1.5.0.0 p1.5.111100 r7 x7.100."
#define NOW "k1.5.0.0 p1.6.111100 r7 x7.100."

/* Those standing have been judged, `now` isn't the table's yet. */
static void fake_settle(struct shapes *s)
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

int main(void)
{
	RUN(test_born_while_judged);
	return check_done("ground_births");
}
