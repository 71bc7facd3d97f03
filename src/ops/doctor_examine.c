/* doctor_examine.c - running the table of checks; see doctor_checks.h. */
#include <stddef.h>

#include "ops/doctor_checks.h"

static const struct {
	const char *code;
	enum pg_facts_part part;
	void (*run)(struct doctor_look *l, struct doctor_finding *out);
} checks[] = {
#define X(name, code, part, text) {code, PG_FACTS_##part, doctor_check_##name},
#include "ops/doctor_table.h"
};

int doctor_examine(struct doctor_look *l, struct doctor_finding *findings)
{
	for (int i = 0; i < DOCTOR_CHECKS; i++) {
		struct doctor_finding *out = &findings[i];
		*out = (struct doctor_finding){.code = checks[i].code};
		const char *trouble = l->facts->trouble[checks[i].part];
		if (trouble == NULL)
			checks[i].run(l, out);
		else if (l->facts->main.connected)
			doctor_say(l, out, DOCTOR_WARNING, "Nothing is known of this, then.", "couldn't be looked at: %s", trouble);
	}
	return DOCTOR_CHECKS;
}
