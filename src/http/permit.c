/* permit.c - see permit.h. */
#include "http/permit.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "http/http.h"
#include "http/listen.h"
#include "shapes/core/def.h"

struct permit {
	struct arena mem;
	struct def_table_name *list;
	size_t n;
	bool all;
};

int permit_new(struct permit **out, const char *list, struct err *e)
{
	struct permit *p = mem_zalloc(sizeof *p);
	struct def_error complaint;
	*out = p;
	p->all = list == NULL || list[strspn(list, " \t\r\n")] == '\0';
	if (p->all || def_parse_tables(&p->mem, list, strlen(list), &p->list, &p->n, &complaint) == 0)
		return 0;
	err_set(e, ERR_CONFIG, "BUSBAR_SUBQUERY_TABLES: %s. It is a list with commas, as in public.members, auth.*",
	        complaint.text);
	permit_free(p);
	*out = NULL;
	return -1;
}

void permit_free(struct permit *p)
{
	if (p == NULL)
		return;
	arena_clear(&p->mem);
	free(p);
}

bool permit_allows(const struct permit *p, const char *schema, const char *name)
{
	if (p->all)
		return true;
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->list[i].schema, schema) == 0 && (p->list[i].name == NULL || strcmp(p->list[i].name, name) == 0))
			return true;
	return false;
}

int http_check_config(const struct config *config, struct err *e)
{
	struct permit *p;
	if (listen_check_config(config, e) != 0)
		return -1;
	int rc = permit_new(&p, config->subquery_tables, e);
	permit_free(p);
	return rc;
}
