/*
 * fuzz_pgoutput.c - arbitrary bytes as pgoutput messages.
 *
 * The input is a row of messages, each led by its length (2 bytes, big-endian, cut at the end of the
 * input), so that scratch memory left by one message meets the next. Each is copied to memory of its
 * exact size, where the sanitizer sees one byte too many, and everything the result points to is read.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wal/pgoutput.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned char sum;

static void touch(const char *p, size_t n)
{
	unsigned char s = 0;
	for (size_t i = 0; i < n; i++)
		s = (unsigned char)(s + (unsigned char)p[i]);
	sum = s;
}

static void touch_tuple(const struct wal_tuple *t)
{
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		const struct wal_value *v = &t->values[i];
		REQUIRE(v->kind == WAL_NULL || v->kind == WAL_UNCHANGED || v->kind == WAL_TEXT);
		REQUIRE(v->kind == WAL_TEXT || v->len == 0);
		touch(v->data, v->len);
	}
}

static void touch_relation(const struct wal_relation *r)
{
	touch(r->schema, strlen(r->schema));
	touch(r->name, strlen(r->name));
	for (uint16_t i = 0; i < r->ncolumns; i++)
		touch(r->columns[i].name, strlen(r->columns[i].name));
}

static void touch_change(const struct wal_change *c)
{
	switch (c->kind) {
	case WAL_RELATION:
		touch_relation(&c->u.relation);
		break;
	case WAL_INSERT:
	case WAL_UPDATE:
	case WAL_DELETE:
		touch_tuple(&c->u.row.old_tuple);
		touch_tuple(&c->u.row.new_tuple);
		break;
	case WAL_TRUNCATE:
		touch((const char *)c->u.truncate.relation_oids, c->u.truncate.count * sizeof(uint32_t));
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pgoutput *d = pgoutput_new();
	while (size >= 2) {
		size_t len = (size_t)data[0] << 8 | data[1];
		data += 2;
		size -= 2;
		if (len > size)
			len = size;
		char *message = mem_alloc(len);
		memcpy(message, data, len);
		struct wal_change change;
		struct err e;
		err_clear(&e);
		if (pgoutput_parse(d, message, len, &change, &e) == 0)
			touch_change(&change);
		else
			REQUIRE(e.kind == ERR_PROTOCOL);
		free(message);
		data += len;
		size -= len;
	}
	pgoutput_free(d);
	return 0;
}
