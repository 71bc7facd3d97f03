/* secrets.c - the secrets of a struct config: those that are accepted, and those that were. */
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/mem.h"

/* Requests may be comparing with those that were: they are kept until the end, a few bytes for each change. */
void config_set_secrets(struct config *c, const char *now, const char *previous)
{
	struct config_secrets *s = mem_zalloc(sizeof *s);
	s->now = mem_strdup(now);
	s->previous = previous != NULL ? mem_strdup(previous) : NULL;
	s->older = atomic_load(&c->secrets);
	atomic_store(&c->secrets, s);
}

static void forget(char *secret)
{
	if (secret != NULL)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void config_forget_secrets(struct config *c)
{
	struct config_secrets *s = atomic_load(&c->secrets), *older;
	for (; s != NULL; s = older) {
		older = s->older;
		forget(s->now);
		forget(s->previous);
		free(s);
	}
	atomic_store(&c->secrets, NULL);
}
