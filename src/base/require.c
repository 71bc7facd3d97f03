/*
 * require.c - what ends the process at once: a broken assumption, no memory. Above the log, which has its last lines out
 * first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock_order.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/require.h"

void require_failed(const char *cond, const char *file, int line)
{
	lock_order_end(); /* whatever is held: what is broken has to be told */
	log_flush(LOG_ABORT_WAIT_MS);
	fprintf(stderr, "busbar: broken assumption at %s:%d: %s\n", file, line, cond);
	fflush(NULL);
	abort();
}

static void *checked(void *p, size_t n)
{
	if (p == NULL) {
		lock_order_end();
		log_flush(LOG_ABORT_WAIT_MS);
		fprintf(stderr, "busbar: out of memory (%zu bytes)\n", n);
		abort();
	}
	return p;
}

void *mem_alloc(size_t n) { return checked(malloc(n ? n : 1), n); }
void *mem_zalloc(size_t n) { return checked(calloc(1, n ? n : 1), n); }
void *mem_realloc(void *p, size_t n) { return checked(realloc(p, n ? n : 1), n); }
char *mem_strdup(const char *s) { return mem_strndup(s, strlen(s)); }

char *mem_strndup(const char *s, size_t n)
{
	char *p = mem_alloc(n + 1);
	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}
