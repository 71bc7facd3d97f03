/* doctor_report.h - findings as text and as JSON, and applying what mends them. Private to src/ops. */
#ifndef BUSBAR_OPS_DOCTOR_REPORT_H
#define BUSBAR_OPS_DOCTOR_REPORT_H

#include <stdio.h>

#include "ops/doctor_checks.h"

/* Bytes of other people's that could steer a terminal are left out; JSON has them escaped. */
void doctor_print(FILE *out, const struct doctor_look *l, const struct doctor_finding *findings, int n);

/* What --fix ran. */
struct doctor_applied {
	const char *code, *sql, *error; /* error: NULL if it worked */
};
#define DOCTOR_APPLIED_MAX 1000
struct doctor_mending {
	struct doctor_applied *list; /* of the arena; with room for DOCTOR_APPLIED_MAX */
	int n, offered;              /* statements that ran; that could have been */
};

void doctor_print_json(FILE *out, const struct doctor_look *l, const struct doctor_finding *findings, int n, const struct doctor_mending *m);

/*
 * Shows each statement that this role may run for a warning or an error, asks for a line from `answers` (NULL: --yes, which runs DOCTOR_RUN
 * and leaves the others), and runs it. `run` is pg_facts_apply(), or a test's.
 */
void doctor_mend(FILE *out, FILE *answers, struct doctor_look *l, const struct doctor_finding *findings, int n,
                 int (*run)(const struct config *c, const char *sql, struct err *e), struct doctor_mending *m);

enum doctor_level doctor_worst(const struct doctor_finding *findings, int n);

#endif
