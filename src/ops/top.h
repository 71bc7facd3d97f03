/*
 * top.h - `busbar top`: what an admin port says, in a terminal, anew each second; or once, for scripts.
 */
#ifndef BUSBAR_OPS_TOP_H
#define BUSBAR_OPS_TOP_H

#include <stdio.h>

/* What follows `busbar top`. The process's exit status: 0, 1 nobody answers, 2 usage. Before other threads run. */
int top_main(int argc, char **argv);

/* Its lines of `busbar --help`. */
void top_usage(FILE *out);

#endif
