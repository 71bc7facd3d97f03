/*
 * walker.c - see walker.h. Messages of protocol version 1, as in Postgres's documentation:
 *
 *   w  start(8) end(8) clock(8) data         k  end(8) clock(8) reply(1)
 *   data: 'B' lsn(8) time(8) xid(4) · 'C' … · 'R' … · 'I' relation(4) 'N' columns(2) { kind(1) [length(4) bytes] }
 */
#include "bench/walker.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/util.h"

#define FEEDBACK_NS NS_PER_S

static uint64_t u64(const char *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | (unsigned char)p[i];
	return v;
}

static uint32_t u32(const char *p)
{
	return (uint32_t)(unsigned char)p[0] << 24 | (uint32_t)(unsigned char)p[1] << 16 |
	       (uint32_t)(unsigned char)p[2] << 8 | (unsigned char)p[3];
}

int walker_open(struct walker *w, const char *url, struct err *e)
{
	static unsigned serial;

	memset(w, 0, sizeof *w);
	if (db_open(&w->db, url, true, e))
		return -1;
	snprintf(w->slot, sizeof w->slot, "busbar_bench_%d_%u", (int)getpid(), serial++);
	if (db_exec(&w->db, e, "CREATE_REPLICATION_SLOT %s TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT", w->slot)) {
		walker_close(w);
		return -1;
	}
	return 0;
}

int walker_stream(struct walker *w, struct err *e)
{
	char sql[256];
	PGresult *r;
	int result = 0;

	snprintf(sql, sizeof sql,
		 "START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names '\"" PUBLICATION "\"')", w->slot);
	r = PQexec(w->db.conn, sql);
	if (PQresultStatus(r) != PGRES_COPY_BOTH)
		result = err_set(e, ERR_PG, "Postgres: %s", PQerrorMessage(w->db.conn));
	PQclear(r);
	return result;
}

void walker_close(struct walker *w)
{
	db_close(&w->db);
}

static void feedback(struct walker *w, int64_t now)
{
	char m[34];

	m[0] = 'r';
	for (int field = 0; field < 3; field++)
		for (int i = 0; i < 8; i++)
			m[1 + field * 8 + i] = (char)(w->received >> (56 - 8 * i));
	memset(m + 25, 0, sizeof m - 25);
	w->feedback_ns = now;
	PQputCopyData(w->db.conn, m, (int)sizeof m);
	PQflush(w->db.conn);
}

/* Walks an insert's columns; the first two as numbers. False if it is shorter than it says. */
static bool insert(const char *p, const char *end, int64_t *id, int64_t *group)
{
	unsigned n;

	if (end - p < 8)
		return false;
	n = (unsigned)(unsigned char)p[6] << 8 | (unsigned char)p[7];
	p += 8;
	for (unsigned i = 0; i < n; i++) {
		uint32_t len;
		if (p == end)
			return false;
		if (*p++ != 't')
			continue;
		if (end - p < 4 || (len = u32(p)) > (uint32_t)(end - p - 4))
			return false;
		p += 4;
		if (i < 2) {
			int64_t v = 0;
			for (uint32_t k = p[0] == '-'; k < len; k++)
				v = v * 10 + (p[k] - '0');
			*(i == 0 ? id : group) = len > 0 && p[0] == '-' ? -v : v;
		}
		p += len;
	}
	return p == end;
}

/* 1 to go on, 0 when `row` had enough, -1. */
static int message(struct walker *w, const char *p, int len, walker_row_fn *row, void *ctx, int64_t now, struct err *e)
{
	int64_t id = 0, group = 0;

	w->bytes += len;
	if (p[0] == 'k' && len >= 18) {
		if (u64(p + 1) > w->received)
			w->received = u64(p + 1);
		if (p[17])
			feedback(w, now);
		return 1;
	}
	if (p[0] != 'w' || len < 26)
		return err_set(e, ERR_PROTOCOL, "a replication message of an unknown kind");
	if (u64(p + 9) > w->received)
		w->received = u64(p + 9);
	switch (p[25]) {
	case 'I':
		if (!insert(p + 25, p + len, &id, &group))
			return err_set(e, ERR_PROTOCOL, "an insert message that is too short");
		w->rows++;
		return row(ctx, id, group, now) ? 1 : 0;
	case 'C':
		w->txns++;
		return 1;
	default:
		return 1;
	}
}

static int wait_input(struct walker *w, struct err *e)
{
	struct pollfd fd = {PQsocket(w->db.conn), POLLIN, 0};

	if (w->nap_ns > 0) { /* a reader that isn't waiting in poll() saves the walsender a wake-up per message */
		sleep_until_ns(now_ns() + w->nap_ns);
		if (!PQconsumeInput(w->db.conn))
			return err_set(e, ERR_PG_CONN, "the replication connection: %s", PQerrorMessage(w->db.conn));
		return 0;
	}
	if (poll(&fd, 1, 50) < 0 && errno != EINTR)
		return err_errno(e, errno, "poll");
	if (fd.revents != 0 && !PQconsumeInput(w->db.conn))
		return err_set(e, ERR_PG_CONN, "the replication connection: %s", PQerrorMessage(w->db.conn));
	return 0;
}

int walker_run(struct walker *w, walker_row_fn *row, void *ctx, int64_t deadline_ns, struct err *e)
{
	for (;;) {
		char *p;
		int n = PQgetCopyData(w->db.conn, &p, 1), r;
		int64_t now = now_ns();
		if (now - w->feedback_ns >= FEEDBACK_NS)
			feedback(w, now);
		if (n > 0) {
			r = message(w, p, n, row, ctx, now, e);
			PQfreemem(p);
			if (r <= 0)
				return r;
			continue;
		}
		if (n < 0)
			return err_set(e, ERR_PG_CONN, "the replication stream ended: %s", PQerrorMessage(w->db.conn));
		if (stopping())
			return err_set(e, ERR_CANCELLED, "stopped");
		if (now >= deadline_ns)
			return err_set(e, ERR_TIMEOUT, "the bare client waited in vain: %lld rows came", (long long)w->rows);
		if (wait_input(w, e))
			return -1;
	}
}
