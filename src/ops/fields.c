/* fields.c - see fields.h. */
#include "ops/fields.h"

#include <inttypes.h>
#include <time.h>

static void name_it(struct buf *out, const char *name)
{
	char last = out->len > 0 ? out->data[out->len - 1] : '{';
	if (last != '{' && last != '[')
		buf_putc(out, ',');
	if (name != NULL) {
		buf_json_string(out, name, strlen(name));
		buf_putc(out, ':');
	}
}

void field_open(struct buf *out, const char *name, char bracket)
{
	name_it(out, name);
	buf_putc(out, bracket);
}

void field_close(struct buf *out, char bracket) { buf_putc(out, bracket); }

void field_bytes(struct buf *out, const char *name, const char *p, size_t len)
{
	name_it(out, name);
	buf_json_string(out, p, len);
}

void field_text(struct buf *out, const char *name, const char *text)
{
	if (text == NULL)
		field_null(out, name);
	else
		field_bytes(out, name, text, strlen(text));
}

void field_int(struct buf *out, const char *name, int64_t v)
{
	name_it(out, name);
	buf_printf(out, "%" PRId64, v);
}

void field_known(struct buf *out, const char *name, int64_t v)
{
	if (v < 0)
		field_null(out, name);
	else
		field_int(out, name, v);
}

void field_milli(struct buf *out, const char *name, int64_t thousandths)
{
	if (thousandths < 0) {
		field_null(out, name);
		return;
	}
	name_it(out, name);
	buf_printf(out, "%" PRId64 ".%03d", thousandths / 1000, (int)(thousandths % 1000));
}

void field_bool(struct buf *out, const char *name, bool v)
{
	name_it(out, name);
	buf_puts(out, v ? "true" : "false");
}

void field_null(struct buf *out, const char *name)
{
	name_it(out, name);
	buf_puts(out, "null");
}

void field_time(struct buf *out, const char *name, int64_t wall_us)
{
	struct tm tm;
	char text[32];
	time_t seconds = (time_t)(wall_us / 1000000);
	gmtime_r(&seconds, &tm);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	name_it(out, name);
	buf_printf(out, "\"%s.%03dZ\"", text, (int)(wall_us / 1000 % 1000));
}

unsigned field_refusal(struct buf *out, const char *name, const char *text)
{
	struct buf line = BUF_INIT(300);
	buf_printf(&line, "%s: %s", name, text);
	field_open(out, NULL, '{');
	field_text(out, "error", line.data);
	field_close(out, '}');
	buf_clear(&line);
	return 400;
}
