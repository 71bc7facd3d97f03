/*
 * doctor.h - `busbar doctor`: looks at a database from outside, with the daemon's settings, and says what is wrong with it and
 * which SQL mends that. No running Busbar is needed, and one that runs isn't disturbed: pg/facts.h says how.
 */
#ifndef BUSBAR_OPS_DOCTOR_H
#define BUSBAR_OPS_DOCTOR_H

#include <stdio.h>

/* What follows `busbar doctor`. The process's exit status: 0 nothing is wrong (there may be warnings), 1 errors, 2 usage.
 * Before other threads run, after pg_init(). Writes to stdout, reads answers from stdin. */
int doctor_main(int argc, char **argv);

/* Its lines of `busbar --help`. */
void doctor_usage(FILE *out);

#endif
