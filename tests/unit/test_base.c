/*
 * test_base.c - the leaf helpers: buf, map, arena, lsn, err, log, clock.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/lsn.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/mount.h"
#include "check.h"

static void test_buf_max(void)
{
	struct buf b = BUF_INIT(8);
	buf_puts(&b, "12345");
	CHECK_STR(b.data, "12345");
	buf_puts(&b, "6789"); /* nine: nothing of it goes in */
	CHECK(b.failed && b.len == 5);
	buf_puts(&b, "6");
	CHECK(b.failed && b.len == 5);
	CHECK_STR(b.data, "12345");
	CHECK(buf_detach(&b, NULL) == NULL);
	buf_reset(&b);
	CHECK(!b.failed && b.len == 0);
	CHECK_STR(b.data, "");
	buf_puts(&b, "12345678");
	CHECK(!b.failed && b.len == 8);
	CHECK(buf_room(&b, 1) == NULL && b.failed);
	buf_clear(&b);
	CHECK(b.data == NULL && b.cap == 0 && b.max == 8 && !b.failed);
	CHECK(buf_room(&b, SIZE_MAX) == NULL);
	buf_clear(&b);
}

static void test_buf_put(void)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	buf_put_u64(&b, 0);
	buf_putc(&b, ' ');
	buf_put_u64(&b, UINT64_MAX);
	buf_printf(&b, " %s-%d", "x", -7);
	buf_put(&b, NULL, 0);
	CHECK_STR(b.data, "0 18446744073709551615 x--7");
	size_t len;
	char *p = buf_detach(&b, &len);
	CHECK(p != NULL && len == strlen(p) && b.data == NULL && b.len == 0);
	free(p);
	p = buf_detach(&b, &len); /* an empty one is "" */
	CHECK(len == 0);
	CHECK_STR(p, "");
	free(p);
	for (int i = 0; i < 100000; i++)
		buf_putc(&b, (char)('a' + i % 26));
	CHECK(!b.failed && b.len == 100000 && b.data[99999] == 'a' + 99999 % 26 && b.data[100000] == '\0');
	memcpy(buf_room(&b, 3), "xyz", 3);
	buf_added(&b, 3);
	CHECK_STR(b.data + 100000, "xyz");
	buf_clear(&b);
}

/* Each byte at each place of strings of each length, after plain ones and before special ones. */
static void test_json_plain_run(void)
{
	char text[40];
	int wrong = 0;
	for (size_t n = 0; n <= sizeof text; n++)
		for (size_t at = 0; at < n; at++)
			for (int c = 0; c < 256; c++) {
				memset(text, 'a', at);
				memset(text + at, c % 2 ? '"' : 0xFF, n - at);
				text[at] = (char)c;
				bool plain = c >= 0x20 && c != '"' && c != '\\';
				size_t want = !plain ? at : c % 2 ? at + 1 : n;
				wrong += json_plain_run(text, n) != want;
			}
	CHECK_INT(wrong, 0);
	CHECK_INT(json_plain_run("", 0), 0);
}

static void test_buf_json(void)
{
	struct buf b = BUF_INIT(1000);
	static const char in[] = "a\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9";
	buf_json_string(&b, in, sizeof in - 1);
	CHECK_STR(b.data, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001F\x7f\xc3\xa9\"");
	buf_reset(&b);
	buf_json_escape(&b, "a\0b", 3);
	CHECK_STR(b.data, "a\\u0000b");
	buf_reset(&b);
	buf_json_string(&b, "", 0);
	CHECK_STR(b.data, "\"\"");
	buf_clear(&b);
}

/* Random puts and deletes beside a plain array; few enough keys that slots collide and shift. */
static void test_map(void)
{
	enum { KEYS = 300, STEPS = 60000 };
	static char keys[KEYS][8];
	static void *model[KEYS];
	struct map m = MAP_INIT;
	CHECK(map_get(&m, "a", 1) == NULL && map_del(&m, "a", 1) == NULL);
	size_t i = 0, live = 0, bad = 0;
	CHECK(map_next(&m, &i) == NULL);
	for (int k = 0; k < KEYS; k++)
		snprintf(keys[k], sizeof keys[k], "k%d", k);
	uint32_t random = 12345;
	for (int step = 0; step < STEPS; step++) {
		random = random * 1103515245u + 12345u;
		size_t k = (random >> 8) % KEYS, len = strlen(keys[k]);
		void *value = random >> 31 ? (void *)&model[(random >> 16) % KEYS] : NULL;
		void *old = value != NULL ? map_put(&m, keys[k], len, value) : map_del(&m, keys[k], len);
		bad += old != model[k];
		live += (value != NULL) - (model[k] != NULL);
		model[k] = value;
		size_t other = (random >> 4) % KEYS;
		bad += map_get(&m, keys[other], strlen(keys[other])) != model[other];
		bad += m.len != live;
	}
	CHECK_INT(bad, 0);
	size_t seen = 0;
	for (i = 0; map_next(&m, &i) != NULL;)
		seen++;
	CHECK_INT(seen, live);
	CHECK(map_get(&m, "k1", 1) == NULL); /* a prefix is another key */
	map_clear(&m);
	CHECK(m.len == 0 && m.slots == NULL);
	char zeros[2] = {0, 0};
	CHECK(map_put(&m, zeros, 1, &m) == NULL && map_get(&m, zeros, 2) == NULL && map_get(&m, zeros, 1) == &m);
	CHECK(map_put(&m, "", 0, &i) == NULL && map_get(&m, "", 0) == &i);
	map_clear(&m);
}

static void test_arena(void)
{
	struct arena a = ARENA_INIT;
	size_t misaligned = 0, wrong = 0;
	static unsigned char *at[2000];
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		at[i] = arena_alloc(&a, i % 97 + 1);
		misaligned += (uintptr_t)at[i] % 16 != 0;
		memset(at[i], (int)(i & 255), i % 97 + 1);
	}
	for (size_t i = 0; i < ARRAY_LEN(at); i++)
		for (size_t j = 0; j < i % 97 + 1; j++)
			wrong += at[i][j] != (i & 255);
	CHECK(misaligned == 0 && wrong == 0);
	CHECK(a.used >= 2000 * 49 && a.used < 2000 * 80);
	char *big = arena_alloc(&a, 5 << 20);
	memset(big, 1, 5 << 20);
	CHECK_STR(arena_strndup(&a, "hello", 4), "hell");
	CHECK(memcmp(arena_dup(&a, "ab\0c", 4), "ab\0c", 4) == 0);
	arena_reset(&a);
	CHECK(a.used == 0 && a.head != NULL);
	CHECK_STR(arena_strndup(&a, "", 0), "");
	arena_clear(&a);
	CHECK(a.head == NULL && a.used == 0);
	arena_reset(&a);
	arena_clear(&a);
}

static void test_lsn(void)
{
	static const struct {
		lsn_t lsn;
		const char *text;
	} good[] = {
		{0, "0/0"}, {0x16B374D848, "16/B374D848"}, {UINT64_MAX, "FFFFFFFF/FFFFFFFF"}, {0x100000000, "1/0"}, {1, "0/1"},
	};
	static const char *const bad[] = {"", "0", "/", "0/", "/0", "g/0", "0/0 ", " 0/0", "123456789/0", "0/123456789", "0/0/0", "-1/0"};
	char text[LSN_TEXT_MAX];
	lsn_t lsn;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CHECK_STR(lsn_text(good[i].lsn, text), good[i].text);
		CHECK(lsn_parse(good[i].text, &lsn) && lsn == good[i].lsn);
	}
	CHECK(lsn_parse("a/bC", &lsn) && lsn == 0xA000000BC);
	CHECK(lsn_add(0xFFFFFFFFF0000000, 0x10000000) == UINT64_MAX);
	CHECK(lsn_add(0xFFFFFFFFF0000000, 0xFFFFFFF) == UINT64_MAX);
	CHECK(lsn_add(0xFFFFFFFFEFFFFFFF, 0x10000000) == UINT64_MAX);
	CHECK(lsn_add(0xFFFFFFFFE0000000, 0x10000000) == 0xFFFFFFFFF0000000);
	CHECK(lsn_add(UINT64_MAX, UINT64_MAX) == UINT64_MAX);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!lsn_parse(bad[i], &lsn));
}

static void test_log_offset(void)
{
	char text[LOG_OFFSET_TEXT_MAX];
	CHECK_STR(log_offset_text((struct log_offset){26800816, 0}, text), "26800816_0");
	CHECK_STR(log_offset_text((struct log_offset){0, LOG_OP_INF}, text), "0_inf");
	CHECK_STR(log_offset_text((struct log_offset){UINT64_MAX, UINT64_MAX - 1}, text),
	          "18446744073709551615_18446744073709551614");
	static const struct log_offset ordered[] = {{0, 0}, {0, 1}, {0, LOG_OP_INF}, {1, 0}, {UINT64_MAX, 0}};
	for (int i = 0; i < (int)ARRAY_LEN(ordered); i++)
		for (int j = 0; j < (int)ARRAY_LEN(ordered); j++) {
			int cmp = log_offset_cmp(ordered[i], ordered[j]);
			CHECK((cmp > 0) - (cmp < 0) == (i > j) - (i < j));
		}
}

static void test_err(void)
{
	struct err e = {0};
	CHECK_INT(err_set(&e, ERR_CONFIG, "bad %s", "port"), -1);
	CHECK(e.kind == ERR_CONFIG && e.sqlstate[0] == '\0');
	CHECK_INT(err_wrap(&e, "line %d", 3), -1);
	CHECK_STR(e.text, "line 3: bad port");
	CHECK(e.kind == ERR_CONFIG);
	err_errno(&e, ENOENT, "cannot open %s", "/x");
	CHECK_STR(e.text, "cannot open /x: No such file or directory");
	CHECK(e.kind == ERR_IO);
	err_errno(&e, ENOSPC, "write");
	CHECK(e.kind == ERR_FULL);
	err_clear(&e);
	CHECK(e.kind == ERR_NONE && e.text[0] == '\0');
	CHECK(err_set(NULL, ERR_IO, "x") == -1 && err_wrap(NULL, "x") == -1 && err_errno(NULL, EIO, "x") == -1);

	char longer[2 * sizeof e.text];
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	err_set(&e, ERR_IO, "%s", longer);
	CHECK_INT(strlen(e.text), sizeof e.text - 1);
	err_wrap(&e, "where");
	CHECK(strlen(e.text) == sizeof e.text - 1 && strncmp(e.text, "where: xxx", 10) == 0);
	err_wrap(&e, "%s", longer);
	CHECK_INT(strlen(e.text), sizeof e.text - 1);
	err_errno(&e, EIO, "%s", longer);
	CHECK_INT(strlen(e.text), sizeof e.text - 1);
}

/* What log_line() writes, by a pipe in stdout's place. */
static ssize_t logged(char *to, size_t max, enum log_level level, const char *text)
{
	int fds[2], saved;
	fflush(stdout);
	if (pipe(fds) < 0 || (saved = dup(STDOUT_FILENO)) < 0)
		return -1;
	dup2(fds[1], STDOUT_FILENO);
	log_line(level, "%s", text);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(fds[1]);
	ssize_t n = read(fds[0], to, max - 1);
	close(fds[0]);
	to[n < 0 ? 0 : n] = '\0';
	return n;
}

static void test_log(void)
{
	enum log_level level;
	CHECK(log_level_parse("warn", &level) && level == LOG_WARNING);
	CHECK(log_level_parse("emergency", &level) && level == LOG_EMERGENCY);
	CHECK(!log_level_parse("Info", &level) && !log_level_parse("", &level) && !log_level_parse("trace", &level));

	static char line[8192], longer[6000];
	unsigned y, mo, d, h, m, s, ms;
	char rest[64] = "";
	log_init(LOG_NOTICE);
	CHECK_INT(logged(line, sizeof line, LOG_INFO, "hidden"), 0);
	CHECK(logged(line, sizeof line, LOG_NOTICE, "shown") > 0);
	CHECK(sscanf(line, "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ %63[^\n]", &y, &mo, &d, &h, &m, &s, &ms, rest) == 8);
	CHECK(y > 2020 && mo >= 1 && mo <= 12 && d >= 1 && d <= 31 && h < 24 && m < 60 && s < 61);
	CHECK_STR(rest, "[notice] shown");
	memset(longer, 'x', sizeof longer - 1);
	ssize_t n = logged(line, sizeof line, LOG_ERROR, longer);
	CHECK(n > 4000 && n <= 4096 && line[n - 1] == '\n' && strchr(line, '\n') == line + n - 1);
	CHECK(logged(line, sizeof line, LOG_ERROR, "a\nb\tc\x7f\"\\") > 0);
	CHECK_STR(strchr(line, ']'), "] a b c \"\\\n"); /* one line, whatever a name holds */
	log_init(LOG_INFO);
	CHECK(log_shows(LOG_INFO) && !log_shows(LOG_DEBUG));
}

/* What a line is in JSON, from behind the time. */
static const char *after_time(const char *line)
{
	const char *at = strstr(line, "Z\",");
	return at != NULL ? at + 3 : line;
}

static void test_log_json(void)
{
	static char line[8192], longer[6000];
	enum log_format f;
	CHECK(log_format_parse("text", &f) && f == LOG_TEXT && !log_format_parse("xml", &f));
	CHECK(log_format_parse("JSON", &f) && f == LOG_JSON);
	log_format(LOG_JSON);
	CHECK(logged(line, sizeof line, LOG_WARNING, "say \"x\\y\"\n\x01 \xc3\xa9 \xff") > 0);
	CHECK(strncmp(line, "{\"time\":\"20", 11) == 0);
	CHECK_STR(after_time(line), "\"level\":\"warning\",\"message\":\"say \\\"x\\\\y\\\"\\u000a\\u0001 \xc3\xa9 \xef\xbf\xbd\"}\n");
	/* Cut, it still is JSON. */
	memset(longer, '"', sizeof longer - 1);
	ssize_t n = logged(line, sizeof line, LOG_ERROR, longer);
	CHECK(n > 4000 && n <= 4096);
	CHECK_STR(line + n - 3, "\"}\n");
	CHECK(line[n - 4] == '"' && line[n - 5] == '\\');
	log_format(LOG_TEXT);
}

/* What a line is about: fields in JSON, and the reason in both. */
static void test_log_about(void)
{
	static char line[8192];
	char table[131];
	memset(table, '\n', sizeof table - 1);
	table[sizeof table - 1] = '\0';
	struct log_about about = {.shape = "1-2", .table = table, .reason = REASON_CATALOG_UNREAD};
	int fds[2], saved = dup(STDOUT_FILENO);
	if (!CHECK(pipe(fds) == 0))
		return;
	fflush(stdout);
	dup2(fds[1], STDOUT_FILENO);
	log_about(LOG_NOTICE, &about, "gone");
	log_format(LOG_JSON);
	log_about(LOG_NOTICE, &about, "gone");
	log_format(LOG_TEXT);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(fds[1]);
	ssize_t n = read(fds[0], line, sizeof line - 1);
	close(fds[0]);
	if (!CHECK(n > 0))
		return;
	line[n] = '\0';
	CHECK(strstr(line, "Z [notice] gone [catalog-unread]\n{") != NULL);
	const char *json = after_time(line);
	const char *want = "\"level\":\"notice\",\"message\":\"gone\",\"reason\":\"catalog-unread\",\"shape\":\"1-2\",\"table\":\"\\u000a";
	CHECK(strncmp(json, want, strlen(want)) == 0);
	CHECK_STR(line + n - 9, "\\u000a\"}\n"); /* all of it fits */
}

static void test_clock_and_mem(void)
{
	int64_t before = clock_mono_ms();
	CHECK(clock_mono_ms() >= before);
	CHECK(clock_wall_us() > INT64_C(1700000000) * 1000000);
	char *p = mem_strndup("abcdef", 3);
	CHECK_STR(p, "abc");
	free(p);
	free(mem_alloc(0));
	p = mem_zalloc(100);
	p = mem_realloc(p, 200);
	CHECK(p[0] == 0 && p[99] == 0);
	free(p);
}

static void test_mounts(void)
{
	static const char text[] = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	                           "40 22 0:35 / /mnt/a rw - fuse.sshfs host:/x rw,user_id=0\n"
	                           "41 22 0:36 / /mnt/b rw shared:7 master:2 - fuse.gocryptfs /y rw\n"
	                           "nonsense\n";
	static const struct {
		unsigned minor_number;
		const char *type;
		bool remote;
	} want[] = {{35, "fuse.sshfs", true}, {36, "fuse.gocryptfs", false}};
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		char type[32] = "";
		FILE *f = fmemopen((void *)(uintptr_t)text, sizeof text - 1, "r");
		CHECK(mount_type(f, makedev(0, want[i].minor_number), type, sizeof type));
		CHECK_STR(type, want[i].type);
		CHECK_INT(mount_is_remote_fuse(type), want[i].remote);
		fclose(f);
	}
	char type[32];
	FILE *f = fmemopen((void *)(uintptr_t)text, sizeof text - 1, "r");
	CHECK(!mount_type(f, makedev(9, 9), type, sizeof type));
	fclose(f);
}

int main(void)
{
	RUN(test_mounts);
	RUN(test_buf_max);
	RUN(test_buf_put);
	RUN(test_json_plain_run);
	RUN(test_buf_json);
	RUN(test_map);
	RUN(test_arena);
	RUN(test_lsn);
	RUN(test_log_offset);
	RUN(test_err);
	RUN(test_log);
	RUN(test_log_json);
	RUN(test_log_about);
	RUN(test_clock_and_mem);
	return check_done("base");
}
