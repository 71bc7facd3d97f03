/*
 * clock.h - the two clocks. Any thread.
 */
#ifndef BUSBAR_BASE_CLOCK_H
#define BUSBAR_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

int64_t clock_mono_ms(void); /* never goes back; for deadlines */
int64_t clock_mono_us(void); /* the same, in microseconds */
int64_t clock_wall_us(void); /* microseconds since 1970-01-01T00:00:00Z */

/* Of a time as Postgres sends it, in microseconds since 2000-01-01T00:00:00Z: as clock_wall_us(). */
#define CLOCK_POSTGRES_EPOCH_US INT64_C(946684800000000)
static inline int64_t clock_of_postgres_us(int64_t us) { return us + CLOCK_POSTGRES_EPOCH_US; }

/* pthread_cond_wait() for at most `ms`; may return early, as that does. */
void clock_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ms);

#endif
