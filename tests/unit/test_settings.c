/* test_settings.c - the settings file: what it may say, what it takes the place of, what changes while the service runs. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/config.h"
#include "base/settings.h"
#include "base/settings_file.h"
#include "check.h"

static char path[] = "/tmp/busbar-settings-XXXXXX";
static struct config c;
static struct err e;

static void write_file_n(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");
	if (CHECK(f != NULL)) {
		CHECK_INT(fwrite(text, 1, len, f), len);
		fclose(f);
	}
}

static void write_file(const char *text) { write_file_n(text, strlen(text)); }

/* What the file is refused with, behind its name. */
static const char *refused(const char *text)
{
	struct settings s;
	write_file(text);
	if (!CHECK(settings_read(path, &s, &e) != 0)) {
		settings_clear(&s);
		return "";
	}
	const char *at = strstr(e.text, path);
	return at != NULL ? at + strlen(path) : e.text;
}

static void test_read(void)
{
	struct settings s;
	write_file("# a comment\n\nELECTRIC_LOG_LEVEL=debug\r\n  ELECTRIC_SECRET \t=  two words \n\t# another\nBUSBAR_SECRET_PREVIOUS=\n"
	           "BUSBAR_LOG_FORMAT=a=b \"c\" # no comment");
	if (!CHECK_INT(settings_read(path, &s, &e), 0))
		return;
	CHECK_INT(s.n, 4);
	CHECK_STR(s.list[0].name, "ELECTRIC_LOG_LEVEL");
	CHECK_STR(s.list[0].value, "debug");
	CHECK_INT(s.list[0].line, 3);
	CHECK_STR(s.list[1].name, "ELECTRIC_SECRET");
	CHECK_STR(s.list[1].value, "two words");
	CHECK_STR(s.list[2].value, "");
	CHECK_STR(s.list[3].value, "a=b \"c\" # no comment");
	CHECK_INT(s.list[3].line, 7);
	settings_clear(&s);
	settings_clear(&s);
	write_file("");
	CHECK_INT(settings_read(path, &s, &e), 0);
	CHECK_INT(s.n, 0);
	settings_clear(&s);
}

static void test_refused(void)
{
	CHECK_STR(refused("ELECTRIC_SECRET=1\nsecret-without-a-name"), ", line 2: a line must be NAME=VALUE, empty, or begin with #");
	CHECK_STR(refused("=1"), ", line 1: a line must be NAME=VALUE, empty, or begin with #");
	CHECK_STR(refused("a b=1"), ", line 1: a line must be NAME=VALUE, empty, or begin with #");
	CHECK_STR(refused("ELECTRIC_SECRET=1\n\nELECTRIC_SECRET=2\n"), ", line 3: ELECTRIC_SECRET stands in line 1 already");
	CHECK(e.kind == ERR_CONFIG);
	struct settings s;
	write_file_n("#A=1\n#=\0\n", 9);
	CHECK(settings_read(path, &s, &e) != 0 && strstr(e.text, "line 2 has a NUL byte") != NULL);
	static char large[SETTINGS_FILE_BYTES_MAX + 1];
	memset(large, '\n', sizeof large);
	write_file_n(large, sizeof large);
	CHECK(settings_read(path, &s, &e) != 0 && strstr(e.text, "is larger than 65536 bytes") != NULL);
	write_file_n(large, sizeof large - 1);
	CHECK_INT(settings_read(path, &s, &e), 0);
	settings_clear(&s);
	CHECK(settings_read("/tmp", &s, &e) != 0 && strstr(e.text, "/tmp is no regular file") != NULL);
	CHECK(settings_read("/dev/zero", &s, &e) != 0 && strstr(e.text, "is no regular file") != NULL);
	CHECK(settings_read("/tmp/there-is-none/x", &s, &e) != 0 && strstr(e.text, "cannot read /tmp/there-is-none/x: No such") != NULL);
}

/* Loads; what is wrong, or "". */
static const char *loads(const char *text, const char *want_warning)
{
	char *warnings = NULL;
	size_t len;
	FILE *f = open_memstream(&warnings, &len);
	write_file(text);
	int rc = config_load(&c, f, &e);
	fclose(f);
	if (want_warning != NULL && !CHECK(strstr(warnings, want_warning) != NULL))
		printf("  %s\n", warnings);
	free(warnings);
	return rc == 0 ? "" : e.text;
}

static void environment(void)
{
	setenv("BUSBAR_SETTINGS_FILE", path, 1);
	setenv("DATABASE_URL", "postgresql://u:p@localhost/db", 1);
	setenv("ELECTRIC_SECRET", "first", 1);
	setenv("ELECTRIC_MAX_SHAPES", "5", 1);
}

static void test_load(void)
{
	environment();
	CHECK_STR(loads("ELECTRIC_CACHE_MAX_AGE=7\nELECTRIC_MAX_SHAPES=9\nBUSBAR_LOG_FORMAT=json\n",
	                "line 2: ELECTRIC_MAX_SHAPES takes the place of the environment variable\n"), "");
	CHECK(c.live.cache_max_age_s == 7 && c.live.max_shapes == 9 && c.live.cache_stale_age_s == 300 && c.log_format == LOG_JSON);
	CHECK_STR(c.settings_file, path);
	CHECK_STR(atomic_load(&c.secrets)->now, "first");
	CHECK(atomic_load(&c.secrets)->previous == NULL);
	config_clear(&c);
	CHECK_STR(loads("BUSBAR_SECRET_PREVIOUS=\n", NULL), "");
	CHECK(atomic_load(&c.secrets)->previous == NULL); /* not one that everybody has */
	config_clear(&c);
}

static void check_refusal(const char *file, const char *want)
{
	const char *said = loads(file, NULL);
	if (!CHECK(strstr(said, want) != NULL && strstr(said, path) != NULL))
		printf("  %s\n", said);
}

static void test_load_refused(void)
{
	environment();
	check_refusal("\nELECTRIC_MAX_SHAPES=many\n", ", line 2: ELECTRIC_MAX_SHAPES: \"many\" is not an integer");
	check_refusal("ELECTRIC_CACHE_MAX_AGE=-1", ", line 1: ELECTRIC_CACHE_MAX_AGE: must be from 0 to");
	check_refusal("#\n#\nELECTRIC_LOG_LEVEL=loud", ", line 3: ELECTRIC_LOG_LEVEL: Must be one of");
	check_refusal("BUSBAR_LOG_FORMAT=xml", ", line 1: BUSBAR_LOG_FORMAT: must be text or json, not \"xml\"");
	check_refusal("ELECTRIC_MAX_CONCURRENT_REQUESTS={\"initial\":1}", ", line 1: ELECTRIC_MAX_CONCURRENT_REQUESTS: the key \"existing\"");
	check_refusal("ELECTRIC_PORT=1", ", line 1: ELECTRIC_PORT is no setting that can change while Busbar runs");
	check_refusal("ELECTRIC_MAX_SHAPE=1", ", line 1: ELECTRIC_MAX_SHAPE is not known. Is ELECTRIC_MAX_SHAPES meant?");
	check_refusal("X=1", ", line 1: X is not known");
	setenv("ELECTRIC_INSECURE", "true", 1);
	unsetenv("ELECTRIC_SECRET");
	check_refusal("ELECTRIC_SECRET=x", ", line 1: You cannot set both");
	unsetenv("ELECTRIC_INSECURE");
	CHECK(strstr(loads("", NULL), "You must set ELECTRIC_SECRET") != NULL);
	CHECK_STR(loads("ELECTRIC_SECRET=of the file\n", NULL), "");
	CHECK_STR(atomic_load(&c.secrets)->now, "of the file");
	config_clear(&c);
}

static char *changes;

/* What has changed, a line each; NULL: refused. */
static const char *reloads(const char *text)
{
	size_t len;
	free(changes);
	changes = NULL;
	FILE *f = open_memstream(&changes, &len);
	write_file(text);
	int rc = settings_reload(&c, f, &e);
	fclose(f);
	return rc == 0 ? changes : NULL;
}

static void test_reload(void)
{
	environment();
	CHECK_STR(loads("ELECTRIC_CACHE_MAX_AGE=7\n", NULL), "");
	CHECK_STR(reloads("ELECTRIC_CACHE_MAX_AGE=7\n"), "");
	CHECK_STR(reloads("ELECTRIC_CACHE_MAX_AGE=8\nELECTRIC_LOG_LEVEL=error\n"
	                  "ELECTRIC_MAX_CONCURRENT_REQUESTS={\"initial\":3,\"existing\":10000}\n"),
	          "ELECTRIC_MAX_CONCURRENT_REQUESTS, initial is 3 now, was 300\nELECTRIC_CACHE_MAX_AGE is 8 now, was 7\n"
	          "ELECTRIC_LOG_LEVEL is error now, was info\n");
	CHECK(c.live.cache_max_age_s == 8 && c.live.max_concurrent_initial == 3 && !log_shows(LOG_WARNING));
	/* A bad line: nothing of the good ones either. */
	CHECK(reloads("ELECTRIC_CACHE_MAX_AGE=9\nELECTRIC_MAX_SHAPES=x\n") == NULL);
	CHECK(strstr(e.text, ", line 2: ELECTRIC_MAX_SHAPES: \"x\"") != NULL);
	CHECK(c.live.cache_max_age_s == 8 && c.live.max_shapes == 5);
	/* What is gone from the file is the environment's again, or the default. */
	CHECK(reloads("") != NULL && c.live.cache_max_age_s == 60 && c.live.max_concurrent_initial == 300 && log_shows(LOG_INFO));
	unlink(path);
	free(changes);
	changes = NULL;
	CHECK(settings_reload(&c, stderr, &e) != 0 && strstr(e.text, "No such file") != NULL);
	config_clear(&c);
}

static void test_secrets(void)
{
	environment();
	CHECK_STR(loads("", NULL), "");
	CHECK_STR(reloads("ELECTRIC_SECRET=second\nBUSBAR_SECRET_PREVIOUS=first\n"),
	          "ELECTRIC_SECRET is another one\nBUSBAR_SECRET_PREVIOUS is accepted beside ELECTRIC_SECRET\n");
	const struct config_secrets *both = atomic_load(&c.secrets);
	CHECK_STR(both->now, "second");
	CHECK_STR(both->previous, "first");
	CHECK_STR(reloads("ELECTRIC_SECRET=second\n"), "BUSBAR_SECRET_PREVIOUS is not accepted any more\n");
	CHECK(atomic_load(&c.secrets)->previous == NULL);
	CHECK_STR(both->previous, "first"); /* a request may be looking at them yet */
	config_clear(&c);
	CHECK(atomic_load(&c.secrets) == NULL);
}

static _Atomic bool over;

static void *reads(void *arg)
{
	uint64_t *wrong = arg;
	while (!over) {
		const struct config_secrets *s = atomic_load(&c.secrets);
		int64_t age = c.live.cache_max_age_s;
		*wrong += strcmp(s->now, "first") != 0 && strcmp(s->now, "second") != 0;
		*wrong += age != 60 && age != 61;
	}
	return NULL;
}

static void test_while_read(void)
{
	pthread_t thread;
	uint64_t wrong = 0;
	environment();
	CHECK_STR(loads("", NULL), "");
	if (!CHECK(pthread_create(&thread, NULL, reads, &wrong) == 0))
		return;
	for (int i = 0; i < 200; i++)
		CHECK(reloads(i % 2 == 0 ? "ELECTRIC_SECRET=second\nELECTRIC_CACHE_MAX_AGE=61\n" : "") != NULL);
	over = true;
	pthread_join(thread, NULL);
	CHECK_INT(wrong, 0);
	config_clear(&c);
}

int main(void)
{
	int fd = mkstemp(path);
	if (fd < 0)
		return 2;
	close(fd);
	RUN(test_read);
	RUN(test_refused);
	RUN(test_load);
	RUN(test_load_refused);
	RUN(test_reload);
	RUN(test_secrets);
	RUN(test_while_read);
	unlink(path);
	free(changes);
	return check_done("settings");
}
