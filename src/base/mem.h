/*
 * mem.h - allocation that aborts when the machine has no memory left.
 *
 * Graceful limits are the caps of buffers and queues, not malloc's NULL: under Linux overcommit
 * that branch practically never runs. Anything from here is freed with free().
 */
#ifndef BUSBAR_BASE_MEM_H
#define BUSBAR_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t n);               /* uninitialised */
void *mem_zalloc(size_t n);              /* zeroed */
void *mem_realloc(void *p, size_t n);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n); /* copies exactly n bytes and a NUL */

#endif
