/*
 * require.h - assertions that stay on, and small compiler helpers.
 *
 * REQUIRE() is for programmer errors: what it states must hold whatever the network, the disk or
 * Postgres send. A failure prints where and aborts; the store is crash safe, restart is the recovery.
 * Input from outside never reaches a REQUIRE(), it becomes a `struct err`.
 */
#ifndef BUSBAR_BASE_REQUIRE_H
#define BUSBAR_BASE_REQUIRE_H

#include <stddef.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN __attribute__((noreturn))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* Prints the failed condition to stderr and aborts. */
NORETURN void require_failed(const char *cond, const char *file, int line);

#define REQUIRE(cond) ((cond) ? (void)0 : require_failed(#cond, __FILE__, __LINE__))

#endif
