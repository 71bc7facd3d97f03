/* settings.c - see settings.h. */
#include "base/settings.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/mem.h"

#define BLANKS " \t\r"

/* ---- the file ---- */

/* The whole file, terminated. Not of a pipe, which might never end. */
static int read_whole(const char *path, char **out, size_t *len, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return err_errno(e, errno, "BUSBAR_SETTINGS_FILE: cannot read %s", path);
	struct stat st;
	char *text = NULL;
	int rc = -1;
	*len = 0;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		err_set(e, ERR_CONFIG, "BUSBAR_SETTINGS_FILE: %s is no regular file", path);
		goto out;
	}
	text = mem_alloc(SETTINGS_FILE_BYTES_MAX + 1);
	for (ssize_t n = 1; n != 0 && *len <= SETTINGS_FILE_BYTES_MAX;) {
		n = read(fd, text + *len, SETTINGS_FILE_BYTES_MAX + 1 - *len);
		if (n < 0 && errno != EINTR) {
			err_errno(e, errno, "BUSBAR_SETTINGS_FILE: cannot read %s", path);
			goto out;
		}
		*len += n > 0 ? (size_t)n : 0;
	}
	if (*len > SETTINGS_FILE_BYTES_MAX) {
		err_set(e, ERR_CONFIG, "BUSBAR_SETTINGS_FILE: %s is larger than %u bytes", path, SETTINGS_FILE_BYTES_MAX);
		goto out;
	}
	text[*len] = '\0';
	*out = text;
	text = NULL;
	rc = 0;
out:
	if (text != NULL)
		explicit_bzero(text, *len);
	free(text);
	close(fd);
	return rc;
}

static char *trim(char *p)
{
	p += strspn(p, BLANKS);
	size_t n = strlen(p);
	while (n > 0 && strchr(BLANKS, p[n - 1]) != NULL)
		n--;
	p[n] = '\0';
	return p;
}

static bool is_name(const char *s)
{
	for (size_t i = 0; s[i] != '\0'; i++)
		if (!isupper((unsigned char)s[i]) && s[i] != '_' && !(i > 0 && isdigit((unsigned char)s[i])))
			return false;
	return s[0] != '\0';
}

/* `line` is terminated, and is written into. */
static int take_line(struct settings *s, char *line, int number, struct err *e)
{
	line = trim(line);
	if (line[0] == '\0' || line[0] == '#')
		return 0;
	char *eq = strchr(line, '=');
	if (eq != NULL)
		*eq = '\0';
	const char *name = eq != NULL ? trim(line) : line;
	if (eq == NULL || !is_name(name))
		return err_set(e, ERR_CONFIG, "%s, line %d: a line must be NAME=VALUE, empty, or begin with #", s->path, number);
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->list[i].name, name) == 0)
			return err_set(e, ERR_CONFIG, "%s, line %d: %s stands in line %d already", s->path, number, name, s->list[i].line);
	s->list = mem_realloc(s->list, (s->n + 1) * sizeof *s->list);
	s->list[s->n++] = (struct setting){name, trim(eq + 1), number};
	return 0;
}

int settings_read(const char *path, struct settings *out, struct err *e)
{
	size_t len = 0;
	*out = (struct settings){0};
	if (read_whole(path, &out->text, &len, e) != 0)
		return -1;
	out->path = mem_strdup(path);
	int number = 0, rc = 0;
	for (char *line = out->text, *end = out->text + len; rc == 0 && line < end; number++) {
		char *stop = memchr(line, '\n', (size_t)(end - line));
		stop = stop != NULL ? stop : end;
		bool has_nul = memchr(line, '\0', (size_t)(stop - line)) != NULL;
		*stop = '\0';
		rc = has_nul ? err_set(e, ERR_CONFIG, "%s, line %d has a NUL byte: is it text?", path, number + 1)
		             : take_line(out, line, number + 1, e);
		line = stop + 1;
	}
	if (rc != 0)
		settings_clear(out);
	return rc;
}

void settings_clear(struct settings *s)
{
	if (s->text != NULL)
		for (size_t i = 0; i < s->n; i++)
			explicit_bzero((char *)(uintptr_t)s->list[i].value, strlen(s->list[i].value));
	free(s->text);
	free(s->path);
	free(s->list);
	*s = (struct settings){0};
}

/* ---- secrets ---- */

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

static bool same_text(const char *a, const char *b) { return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0; }

static void take_secrets(struct config *c, const struct config *fresh, FILE *changes)
{
	const struct config_secrets *was = atomic_load(&c->secrets), *now = atomic_load(&fresh->secrets);
	if (was == NULL || now == NULL) /* insecure is the environment's, and stays */
		return;
	bool same = strcmp(was->now, now->now) == 0, same_previous = same_text(was->previous, now->previous);
	if (!same)
		fputs("ELECTRIC_SECRET is another one\n", changes);
	if (!same_previous)
		fputs(now->previous == NULL ? "BUSBAR_SECRET_PREVIOUS is not accepted any more\n"
		                            : "BUSBAR_SECRET_PREVIOUS is accepted beside ELECTRIC_SECRET\n", changes);
	if (!same || !same_previous)
		config_set_secrets(c, now->now, now->previous);
}

/* ---- taking over ---- */

#define LIVE(field, what) {what, offsetof(struct config_live, field)}

static const struct {
	const char *name;
	size_t at;
} numbers[] = {
	LIVE(max_shapes, "ELECTRIC_MAX_SHAPES (0: no limit)"),
	LIVE(max_concurrent_initial, "ELECTRIC_MAX_CONCURRENT_REQUESTS, initial"),
	LIVE(max_concurrent_existing, "ELECTRIC_MAX_CONCURRENT_REQUESTS, existing"),
	LIVE(long_poll_timeout_ms, "ELECTRIC_LONG_POLL_TIMEOUT"),
	LIVE(cache_max_age_s, "ELECTRIC_CACHE_MAX_AGE"),
	LIVE(cache_stale_age_s, "ELECTRIC_CACHE_STALE_AGE"),
	LIVE(subquery_cache_max_age_s, "BUSBAR_SUBQUERY_CACHE_MAX_AGE"),
};

_Static_assert(sizeof(struct config_live) == ARRAY_LEN(numbers) * sizeof(_Atomic int64_t), "each of config_live is in the list");

static _Atomic int64_t *number_at(struct config *c, size_t at) { return (_Atomic int64_t *)(void *)((char *)&c->live + at); }

static void take_log(struct config *c, const struct config *fresh, FILE *changes)
{
	if (c->log_level != fresh->log_level)
		fprintf(changes, "ELECTRIC_LOG_LEVEL is %s now, was %s\n", log_level_text(fresh->log_level), log_level_text(c->log_level));
	if (c->log_format != fresh->log_format)
		fprintf(changes, "BUSBAR_LOG_FORMAT is %s now\n", fresh->log_format == LOG_JSON ? "json" : "text");
	c->log_level = fresh->log_level;
	c->log_format = fresh->log_format;
	log_init(c->log_level);
	log_format(c->log_format);
}

int settings_reload(struct config *c, FILE *changes, struct err *e)
{
	struct config fresh;
	if (config_load(&fresh, NULL, e) != 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		int64_t was = atomic_load(number_at(c, numbers[i].at)), now = atomic_load(number_at(&fresh, numbers[i].at));
		if (was == now)
			continue;
		fprintf(changes, "%s is %lld now, was %lld\n", numbers[i].name, (long long)now, (long long)was);
		atomic_store(number_at(c, numbers[i].at), now);
	}
	take_secrets(c, &fresh, changes);
	take_log(c, &fresh, changes);
	config_clear(&fresh);
	return 0;
}
