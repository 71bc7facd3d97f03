/*
 * clock.h - the two clocks. Any thread.
 */
#ifndef BUSBAR_BASE_CLOCK_H
#define BUSBAR_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_ms(void); /* never goes back; for deadlines */
int64_t clock_wall_us(void); /* microseconds since 1970-01-01T00:00:00Z */

#endif
