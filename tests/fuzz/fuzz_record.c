/*
 * fuzz_record.c - arbitrary bytes as the store's records: a shape ('s'), a table ('t'), a journal batch
 * ('j'), by the input's first byte.
 *
 * What parses is written again and must parse to the same; everything it points to is read. The input is
 * copied to memory of its exact size, where the sanitizer sees one byte too many.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/sets.h"
#include "shapes/logs/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned char sum;

static void touch(const char *p, size_t n)
{
	unsigned char s = 0;
	for (size_t i = 0; i < n; i++)
		s = (unsigned char)(s + (unsigned char)p[i]);
	sum = s;
}

/* At a start: whatever the sets are, they are well-formed or refused. */
static void restore(const struct shape_record *r)
{
	struct sets *sets;
	struct err e;
	if (r->sets == NULL || sets_restore(&r->def, r->sets, r->sets_len, &sets, &e) != 0)
		return;
	REQUIRE(sets_same(sets, sets) && sets->bound[sets->n] != NULL);
	sets_free(sets);
}

static void shape(const char *p, size_t n)
{
	struct map tables = MAP_INIT;
	struct shape_record a, b;
	struct err e;
	if (record_shape_parse(p, n, &tables, &a, &e) == 0) {
		REQUIRE(strlen(a.handle) < HANDLE_TEXT_MAX);
		for (uint16_t i = 0; i < a.def.nselected; i++)
			touch(a.def.table->columns[a.def.selected[i]].name, 1);
		for (uint16_t i = 0; i < a.def.ninner; i++)
			touch(a.def.inner[i]->name, 1);
		struct shape *s = mem_zalloc(sizeof *s);
		struct sets sets = {.texts = {.data = a.sets, .len = a.sets_len}}; /* what the record is written from */
		memcpy(s->handle, a.handle, sizeof s->handle);
		s->def = a.def;
		s->sets = a.def.has_subqueries ? &sets : NULL;
		s->chunk_bytes = a.chunk_bytes;
		struct buf again = BUF_INIT(RECORD_BYTES_MAX * 2);
		record_shape(s, &a.snap, a.complete, a.nchunks, &again);
		REQUIRE(!again.failed && record_shape_parse(again.data, again.len, &tables, &b, &e) == 0);
		REQUIRE(strcmp(a.handle, b.handle) == 0 && a.def.nselected == b.def.nselected && a.snap.nxip == b.snap.nxip);
		REQUIRE(a.def.identity_len == b.def.identity_len);
		REQUIRE(memcmp(a.def.identity, b.def.identity, b.def.identity_len) == 0);
		REQUIRE(a.def.has_subqueries == b.def.has_subqueries && a.def.ninner == b.def.ninner && a.sets_len == b.sets_len);
		REQUIRE(a.sets == NULL || memcmp(a.sets, b.sets, b.sets_len) == 0);
		restore(&a);
		free(s);
		buf_clear(&again);
		shape_record_clear(&b);
		shape_record_clear(&a);
	}
	interned_clear(&tables);
}

static void table(const char *p, size_t n)
{
	struct table_state a, b;
	struct err e;
	if (record_table_parse(p, n, &a, &e) != 0)
		return;
	struct buf again = BUF_INIT(RECORD_BYTES_MAX * 2);
	record_table(&a, &again);
	REQUIRE(!again.failed && record_table_parse(again.data, again.len, &b, &e) == 0);
	REQUIRE(a.oid == b.oid && a.table->ncolumns == b.table->ncolumns && strcmp(a.table->name, b.table->name) == 0);
	REQUIRE(a.join.publication_rel_oid == b.join.publication_rel_oid && a.join.added_by_us == b.join.added_by_us);
	REQUIRE((a.ground == NULL) == (b.ground == NULL) && (a.ground == NULL || strcmp(a.ground, b.ground) == 0));
	buf_clear(&again);
	free(a.ground);
	free(b.ground);
	pg_table_unref(a.table);
	pg_table_unref(b.table);
}

static int row(void *ctx, uint64_t id, struct log_offset at, uint32_t flags, struct line *line, struct err *e)
{
	(void)ctx;
	(void)e;
	REQUIRE(id >> 62 == 0 && flags <= 3 && line->split <= line->len);
	sum = (unsigned char)(at.tx + at.op);
	touch(line->text, line->len);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	char *p = mem_alloc(size - 1);
	memcpy(p, data + 1, size - 1);
	struct err e;
	if (data[0] == 's')
		shape(p, size - 1);
	else if (data[0] == 't')
		table(p, size - 1);
	else if (data[0] == 'j')
		(void)!journal_decode(p, size - 1, row, NULL, &e);
	free(p);
	return 0;
}
