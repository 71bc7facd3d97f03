/* settings_file.c - see settings_file.h. */
#include "base/settings_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config_names.h"
#include "base/mem.h"

#define BLANKS " \t\r"

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

static int check_name(const char *name, struct err *e)
{
	size_t len = strlen(name);
	if (config_changeable(name))
		return 0;
	if (config_known(name, len) != NULL)
		return err_set(e, ERR_CONFIG, "%s is no setting that can change while Busbar runs: set it in the environment, and restart", name);
	const char *like = config_prefix(name) > 0 ? config_nearest(name, len) : NULL;
	if (like != NULL)
		return err_set(e, ERR_CONFIG, "%s is not known. Is %s meant?", name, like);
	return err_set(e, ERR_CONFIG, "%s is not known", name);
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
	if (check_name(name, e) != 0)
		return err_wrap(e, "%s, line %d", s->path, number);
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
