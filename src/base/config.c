/*
 * config.c - environment variables to struct config, in three steps: read and check each by its type
 * (config_table.h), check what only makes sense together, copy into the struct. The first thing that
 * is wrong ends it. What the settings file says of a variable takes the place of the environment's. The texts marked COMPAT are Electric's, users search for them.
 */
#include "base/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/config_names.h"
#include "base/mem.h"
#include "base/settings_file.h"

/* A segment, and well above the 10 s or so that an idle slot stands still by itself. */
#define WAL_LIMIT_MIN_BYTES (16 << 20)
#define WAL_LIMIT_AGE_MIN_MS 60000
#define POOL_SIZE_MIN 5       /* two for administration, two for snapshots, one for subsets */
#define TIME_MS_MAX INT32_MAX /* 24 days: longer waits don't fit poll(2) and its like */
#define OWN_TIME_MS_MAX (INT64_C(3650) * 86400000)
#define STORE_LIMIT_MIN (INT64_C(64) << 20) /* the journal and what is being written need some of it */
#define BLANKS " \t\r\n"
#define NAME_BYTES_MAX 63     /* Postgres's NAMEDATALEN - 1 */
#define SLOT_PREFIX "electric_slot_"
#define PUBLICATION_PREFIX "electric_publication_"
#define STREAM_ID_BYTES_MAX (NAME_BYTES_MAX - (sizeof SLOT_PREFIX - 1))

enum type { T_TEXT, T_BOOL, T_BOOL_STRICT, T_INT, T_FLOAT, T_TIME, T_SIZE, T_URL, T_JSON };
enum state { S_USED, S_NO_EFFECT, S_LATER, S_OLD };

enum var {
#define X(name, type, def, state, text) V_##name,
#include "base/config_table.h"
	V_COUNT
};

static const struct var_info {
	const char *name, *def, *text;
	enum type type;
	enum state state;
} infos[V_COUNT] = {
#define X(name, type, def, state, text) {#name, def, text, T_##type, S_##state},
#include "base/config_table.h"
};

static const char *const type_names[] = {"text", "bool", "bool", "int", "float", "time", "size", "URL", "JSON"};

/* What fits; outside is refused. Numbers without an entry may be anything. */
static const struct { enum var var; int64_t min, max; } ranges[] = {
	{V_ELECTRIC_DB_POOL_SIZE, INT32_MIN, INT32_MAX},
	{V_ELECTRIC_DATABASE_TCP_KEEPALIVE_COUNT, 1, 127},
	{V_ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE, 0, INT64_MAX},
	{V_ELECTRIC_PORT, 0, 65535}, /* 0: the system chooses */
	{V_ELECTRIC_PROMETHEUS_PORT, 0, 65535}, {V_BUSBAR_ADMIN_PORT, 0, 65535}, {V_ELECTRIC_LONG_POLL_TIMEOUT, 1, TIME_MS_MAX},
	{V_ELECTRIC_CACHE_MAX_AGE, 0, INT32_MAX},
	{V_ELECTRIC_CACHE_STALE_AGE, 0, INT32_MAX}, {V_BUSBAR_SUBQUERY_CACHE_MAX_AGE, 0, INT32_MAX},
	{V_ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD, 1, INT64_MAX},
	{V_ELECTRIC_TWEAKS_CONN_MAX_REQUESTS, 0, INT32_MAX},
	{V_ELECTRIC_MAX_SHAPES, 0, INT64_MAX}, {V_ELECTRIC_EXPERIMENTAL_MAX_SHAPES, 0, INT64_MAX},
	{V_BUSBAR_WAL_LIMIT, WAL_LIMIT_MIN_BYTES, INT64_MAX}, {V_BUSBAR_WAL_LIMIT_AGE, WAL_LIMIT_AGE_MIN_MS, INT64_MAX},
	{V_BUSBAR_SHAPE_GROWTH_LIMIT, 2, INT32_MAX},
	{V_BUSBAR_SNAPSHOT_CONCURRENCY, 1, CONCURRENCY_MAX}, {V_BUSBAR_SUBSET_CONCURRENCY, 1, CONCURRENCY_MAX},
	{V_BUSBAR_SUBSET_MEMORY, 1 << 20, INT64_MAX}, {V_BUSBAR_BODY_MEMORY, 16 << 20, INT64_MAX},
};

struct loader {
	struct err *e;
	FILE *warnings;            /* may be NULL */
	const char *text[V_COUNT]; /* the environment's, else the default, else NULL */
	bool set[V_COUNT];         /* it is the environment's, or the file's */
	struct settings file;
	const struct setting *from[V_COUNT]; /* it is the file's: where */
	int64_t num[V_COUNT];      /* bool, int, time, size */
};

static void warn(struct loader *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void warn(struct loader *l, const char *fmt, ...)
{
	if (l->warnings == NULL)
		return;
	va_list ap;
	va_start(ap, fmt);
	vfprintf(l->warnings, fmt, ap);
	va_end(ap);
	fputc('\n', l->warnings);
}

/* ---- single values ---- */

/* COMPAT: "no" and "off" are true. */
bool config_parse_bool(const char *text)
{
	return !(text[0] == '\0' || strcmp(text, "0") == 0 || strcasecmp(text, "false") == 0);
}

/* The number at the start of the text, `*end` after it; false if there is none or it doesn't fit. */
static bool leading_int(const char *text, int64_t *out, const char **end)
{
	const char *p = text + (*text == '-' || *text == '+');
	if (!isdigit((unsigned char)*p))
		return false;
	char *stop;
	errno = 0;
	long long v = strtoll(text, &stop, 10);
	*end = stop;
	*out = v;
	return errno == 0;
}

/*
 * digits[.digits], without a sign; `*end` behind it. Not strtod(), which takes hex, "inf", and the
 * locale's decimal point.
 */
static bool leading_decimal(const char *p, double *out, const char **end)
{
	if (!isdigit((unsigned char)*p))
		return false;
	double v = 0, scale = 1;
	for (; isdigit((unsigned char)*p); p++)
		v = v * 10 + (*p - '0');
	if (*p == '.' && isdigit((unsigned char)p[1]))
		for (p++; isdigit((unsigned char)*p); p++) {
			/* Further digits can't change a double, and 10^n must stay finite. */
			if (scale > 1e17)
				continue;
			scale *= 10;
			v = v * 10 + (*p - '0');
		}
	*out = v / scale;
	*end = p;
	return true;
}

struct unit { const char *name; double factor; };

/* A decimal with an optional unit, times the unit's factor, truncated; false unless 1 <= result <= max. */
static bool parse_unit(const char *text, const struct unit *units, size_t count, int64_t max, int64_t *out)
{
	double v;
	const char *p;
	if (!leading_decimal(text + (*text == '+'), &v, &p))
		return false;
	p += strspn(p, " ");
	size_t len = strlen(p);
	while (len > 0 && p[len - 1] == ' ')
		len--;
	double factor = len == 0 ? 1 : 0;
	for (size_t i = 0; i < count; i++)
		if (strlen(units[i].name) == len && memcmp(units[i].name, p, len) == 0)
			factor = units[i].factor;
	v *= factor;
	if (!(v >= 1 && v <= (double)max))
		return false;
	*out = (int64_t)v;
	return true;
}

int config_parse_time_ms(const char *text, int64_t *out, struct err *e)
{
	static const struct unit units[] = {{"ms", 1}, {"msec", 1}, {"s", 1000}, {"sec", 1000}, {"m", 60000}, {"min", 60000}};
	if (parse_unit(text, units, ARRAY_LEN(units), TIME_MS_MAX, out))
		return 0;
	/* COMPAT: the same text for whatever is wrong, a zero too. */
	return err_set(e, ERR_CONFIG,
	               "invalid time unit: \"%s\". Must be one of [\"ms\", \"msec\", \"s\", \"sec\", \"m\", \"min\"]", text);
}

int config_parse_own_time_ms(const char *text, int64_t *out, struct err *e)
{
	static const struct unit units[] = {{"ms", 1}, {"msec", 1}, {"s", 1e3}, {"sec", 1e3}, {"m", 6e4}, {"min", 6e4}, {"h", 36e5}, {"d", 864e5}};
	if (parse_unit(text, units, ARRAY_LEN(units), OWN_TIME_MS_MAX, out))
		return 0;
	return err_set(e, ERR_CONFIG, "\"%s\" is not a time: a number above 0 with ms, s, min, h or d, as in 90min or 30d", text);
}

int config_parse_size(const char *text, int64_t *out, struct err *e)
{
	static const struct unit units[] = {{"KB", 1e3}, {"KiB", 1024}, {"MB", 1e6}, {"MiB", 1048576}, {"GB", 1e9}, {"GiB", 1 << 30}};
	/* 2^53: above it a double misses whole numbers. */
	if (parse_unit(text, units, ARRAY_LEN(units), INT64_C(1) << 53, out))
		return 0;
	return err_set(e, ERR_CONFIG, /* COMPAT */
	               "invalid size unit: \"%s\". Must be one of [\"KB\", \"KiB\", \"MB\", \"MiB\", \"GB\", \"GiB\"]",
	               text);
}

/* ---- URLs ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A percent-decoded copy (free()); NULL if a "%" isn't followed by two hex digits or stands for NUL. */
static char *percent_decode(const char *p, size_t n, bool plus_is_space)
{
	char *out = mem_alloc(n + 1);
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		char c = p[i];
		if (c == '%') {
			int hi = i + 2 < n ? hex_digit(p[i + 1]) : -1, lo = hi < 0 ? -1 : hex_digit(p[i + 2]);
			if (hi < 0 || lo < 0 || (hi == 0 && lo == 0)) {
				free(out);
				return NULL;
			}
			c = (char)(hi << 4 | lo);
			i += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		out[len++] = c;
	}
	out[len] = '\0';
	return out;
}

static int take_decoded(char **to, const char *p, size_t n, const char *what, struct err *e)
{
	*to = percent_decode(p, n, false);
	/* The text itself may be the password, so it isn't shown. */
	return *to != NULL ? 0 : err_set(e, ERR_CONFIG, "invalid percent-encoding in the %s", what);
}

static int set_sslmode(struct config_url *u, const char *value, struct err *e)
{
	static const struct { const char *name; enum config_sslmode mode; } modes[] = {
		{"disable", SSLMODE_DISABLE}, {"allow", SSLMODE_ALLOW}, {"prefer", SSLMODE_PREFER}, {"require", SSLMODE_REQUIRE},
	};
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (strcmp(value, modes[i].name) == 0) {
			u->sslmode = modes[i].mode;
			return 0;
		}
	if (strcmp(value, "verify-ca") == 0 || strcmp(value, "verify-full") == 0)
		return err_set(e, ERR_CONFIG, /* COMPAT up to "config" */
		               "unsupported \"sslmode\" value \"%s\". Use sslmode=require and set the "
		               "ELECTRIC_DATABASE_CA_CERTIFICATE_FILE config to a file of CA certificates; the public ones are often in "
		               "/etc/ssl/certs/ca-certificates.crt", value);
	return err_set(e, ERR_CONFIG, "invalid \"sslmode\" value: \"%s\"", value); /* COMPAT */
}

/* "a=b&c": sslmode is read, replication refused, the rest ignored (uselibpqcompat, options, …). */
static int parse_query(const char *p, size_t n, struct config_url *u, struct err *e)
{
	for (const char *end = p + n; p < end;) {
		const char *amp = memchr(p, '&', (size_t)(end - p));
		const char *stop = amp != NULL ? amp : end;
		const char *eq = memchr(p, '=', (size_t)(stop - p));
		const char *name_end = eq != NULL ? eq : stop, *value_at = eq != NULL ? eq + 1 : stop;
		char *name = percent_decode(p, (size_t)(name_end - p), true);
		char *value = percent_decode(value_at, (size_t)(stop - value_at), true);
		int rc = 0;
		if (name == NULL || value == NULL)
			rc = err_set(e, ERR_CONFIG, "invalid percent-encoding in the query");
		else if (strcmp(name, "sslmode") == 0)
			rc = set_sslmode(u, value, e);
		else if (strcmp(name, "replication") == 0)
			rc = err_set(e, ERR_CONFIG, /* COMPAT up to the full stop */
			             "unsupported \"replication\" query option. Remove it, Busbar sets it where it is needed");
		free(name);
		free(value);
		if (rc < 0)
			return -1;
		p = stop + 1;
	}
	return 0;
}

/* "host", "host:port", "[::1]:port" */
static int parse_host(const char *p, size_t n, struct config_url *u, struct err *e)
{
	const char *end = p + n, *host = p, *host_end;
	if (n > 0 && memchr(p, ',', n) != NULL)
		return err_set(e, ERR_CONFIG, "several hosts: name one, the primary, or an address that always leads to it");
	if (n > 0 && *p == '[') {
		host++;
		host_end = memchr(p, ']', n);
		if (host_end == NULL)
			return err_set(e, ERR_CONFIG, "the IPv6 address of the host has no closing bracket");
		p = host_end + 1;
	} else {
		host_end = memchr(p, ':', n);
		p = host_end = host_end != NULL ? host_end : end;
	}
	if (host == host_end)
		return err_set(e, ERR_CONFIG, "missing host"); /* COMPAT */
	if (take_decoded(&u->host, host, (size_t)(host_end - host), "host", e) < 0)
		return -1;
	u->port = 5432;
	if (p == end || (*p == ':' && p + 1 == end))
		return 0;
	/* Digits only. The text isn't shown: an unescaped "/" in a password makes it end up here. */
	int64_t port = 0;
	bool ok = *p++ == ':' && end - p <= 5;
	for (; ok && p < end; p++) {
		ok = isdigit((unsigned char)*p);
		port = port * 10 + (*p - '0');
	}
	if (!ok || port < 1 || port > 65535)
		return err_set(e, ERR_CONFIG, "invalid port (special characters in a password must be percent-encoded)");
	u->port = (int)port;
	return 0;
}

static int parse_userinfo(const char *p, size_t n, struct config_url *u, struct err *e)
{
	const char *colon = n > 0 ? memchr(p, ':', n) : NULL;
	size_t user_len = colon != NULL ? (size_t)(colon - p) : n;
	/* COMPAT: a second colon is refused as well. */
	if (user_len == 0 || (colon != NULL && memchr(colon + 1, ':', n - user_len - 1) != NULL))
		return err_set(e, ERR_CONFIG, "invalid or missing username");
	if (take_decoded(&u->user, p, user_len, "user name", e) < 0)
		return -1;
	return colon == NULL ? 0 : take_decoded(&u->password, colon + 1, n - user_len - 1, "password", e);
}

/* Sets `*len` and returns where it starts; an empty one at the end if `p` isn't that part. */
static const char *url_part(const char **p, char lead, const char *stops, size_t *len)
{
	const char *start = *p;
	if (lead != '\0') {
		if (*start != lead) {
			*len = 0;
			return start;
		}
		start++;
	}
	*len = strcspn(start, stops);
	*p = start + *len;
	return start;
}

static bool names_host(const char *query, size_t len)
{
	for (size_t i = 0; i + 5 <= len; i++)
		if (memcmp(query + i, "host=", 5) == 0 && (i == 0 || query[i - 1] == '&'))
			return true;
	return false;
}

/* scheme://user:password@host:port/database?query#fragment */
static int parse_url(const char *text, struct config_url *u, struct err *e)
{
	if (*text == '"' || *text == '\'')
		return err_set(e, ERR_CONFIG, "there are quotes around the URL: remove them (docker's --env-file, for one, takes them as "
		                              "part of the value)");
	size_t scheme_len = isalpha((unsigned char)*text) ? strspn(text, "abcdefghijklmnopqrstuvwxyz"
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.") : 0;
	if (text[scheme_len] != ':')
		scheme_len = 0;
	if (!(scheme_len == 8 && strncasecmp(text, "postgres", 8) == 0) &&
	    !(scheme_len == 10 && strncasecmp(text, "postgresql", 10) == 0))
		return err_set(e, ERR_CONFIG, "invalid URL scheme: \"%.*s\"", (int)scheme_len, text); /* COMPAT */

	const char *p = text + scheme_len + 1;
	size_t authority_len = 0, path_len, query_len;
	const char *authority = p;
	if (strncmp(p, "//", 2) == 0) {
		p += 2;
		authority = url_part(&p, '\0', "/?#", &authority_len);
	}
	const char *path = url_part(&p, '/', "?#", &path_len);
	const char *query = url_part(&p, '?', "#", &query_len);

	/* The last "@": a password may have one unescaped. */
	size_t host_at = authority_len;
	while (host_at > 0 && authority[host_at - 1] != '@')
		host_at--;
	if (host_at == authority_len && names_host(query, query_len))
		return err_set(e, ERR_CONFIG, "missing host. The query's \"host\" isn't read: for a socket, write its directory in the "
		               "host's place, as in postgresql://user@%%2Fvar%%2Frun%%2Fpostgresql/database");
	if (parse_host(authority + host_at, authority_len - host_at, u, e) < 0 ||
	    parse_userinfo(authority, host_at > 0 ? host_at - 1 : 0, u, e) < 0)
		return -1;
	if (path_len == 0)
		u->database = mem_strdup(u->user);
	else if (take_decoded(&u->database, path, path_len, "database name", e) < 0)
		return -1;
	return parse_query(query, query_len, u, e);
}

int config_parse_url(const char *text, struct config_url *out, struct err *e)
{
	*out = (struct config_url){0};
	if (parse_url(text, out, e) == 0)
		return 0;
	config_url_clear(out);
	return -1;
}

void config_url_clear(struct config_url *u)
{
	free(u->user);
	free(u->password);
	free(u->host);
	free(u->database);
	*u = (struct config_url){0};
}

/* ---- step 1: each by its type ---- */

static int read_int(struct loader *l, enum var v)
{
	const char *end = "";
	l->num[v] = 0;
	if (l->text[v][0] == '\0')
		return 0; /* COMPAT: empty is 0 */
	if (!leading_int(l->text[v], &l->num[v], &end))
		return err_set(l->e, ERR_CONFIG, "\"%s\" is not an integer", l->text[v]);
	/* COMPAT: what follows the digits is ignored; "20s" where milliseconds are wanted is 20 ms. */
	if (*end != '\0')
		warn(l, "%s=%s is read as %" PRId64, infos[v].name, l->text[v], l->num[v]);
	return 0;
}

static int check_json(const char *text, struct err *e)
{
	json_error_t why;
	json_t *root = json_loads(text, 0, &why);
	int rc = 0;
	if (root == NULL)
		rc = err_set(e, ERR_CONFIG, "not valid JSON: %s", why.text);
	else if (!json_is_object(root))
		rc = err_set(e, ERR_CONFIG, "must be a JSON object");
	json_decref(root);
	return rc;
}

static int read_typed(struct loader *l, enum var v)
{
	const char *text = l->text[v], *end;
	double ignored;
	switch (infos[v].type) {
	case T_BOOL_STRICT:
		if (text[0] == '\0')
			return err_set(l->e, ERR_CONFIG, "non-empty value required");
		/* fall through */
	case T_BOOL:
		l->num[v] = config_parse_bool(text);
		return 0;
	case T_INT:
		return read_int(l, v);
	case T_FLOAT:
		if (text[0] != '\0' && !leading_decimal(text + (*text == '-' || *text == '+'), &ignored, &end))
			return err_set(l->e, ERR_CONFIG, "\"%s\" is not a number", text);
		return 0;
	case T_TIME:
		return strncmp(infos[v].name, CONFIG_OWN_PREFIX, sizeof CONFIG_OWN_PREFIX - 1) == 0 ? config_parse_own_time_ms(text, &l->num[v], l->e)
		                                                                                   : config_parse_time_ms(text, &l->num[v], l->e);
	case T_SIZE:
		return config_parse_size(text, &l->num[v], l->e);
	case T_JSON:
		return check_json(text, l->e);
	case T_TEXT:
	case T_URL:
		return 0;
	}
	return 0;
}

/* Kubernetes describes a service named `electric` to all pods of its namespace by ELECTRIC_PORT=tcp://10.0.0.1:3000 and
 * others of these forms. */
static bool is_service_url(const char *value)
{
	return strncmp(value, "tcp://", 6) == 0 || strncmp(value, "udp://", 6) == 0 || strncmp(value, "sctp://", 7) == 0;
}

/* The error is about this variable: says where it comes from. -1. */
static int bad(struct loader *l, enum var v)
{
	return l->from[v] != NULL ? err_wrap(l->e, "%s, line %d", l->file.path, l->from[v]->line) : -1;
}

static int read_one(struct loader *l, enum var v)
{
	const struct var_info *info = &infos[v];
	const char *env = l->from[v] != NULL ? l->from[v]->value : getenv(info->name);
	if (env != NULL && info->type == T_INT && is_service_url(env)) {
		warn(l, "%s=%s is taken as unset: Kubernetes sets it for a service of that name. Set it to a number, or "
		        "enableServiceLinks: false in the pod", info->name, env);
		env = NULL;
	}
	l->set[v] = env != NULL;
	l->text[v] = env != NULL ? env : info->def;
	if (info->state == S_OLD) {
		if (l->set[v] && info->text[0] != '\0')
			warn(l, "%s is not read: %s has taken its place", info->name, info->text);
		else if (l->set[v])
			warn(l, "%s is not read: it is a setting of older versions of Electric", info->name);
		return 0;
	}
	if (l->text[v] == NULL)
		return 0;
	if (read_typed(l, v) < 0) {
		err_wrap(l->e, "%s", info->name);
		return bad(l, v);
	}
	if (l->set[v] && info->state == S_NO_EFFECT)
		warn(l, "%s has no effect: %s", info->name, info->text);
	return 0;
}

/* Also of those that Kubernetes sets: ELECTRIC_SERVICE_HOST, ELECTRIC_PORT_3000_TCP_ADDR and their like. */
static bool is_service_variable(const char *name, const char *value)
{
	return strstr(name, "_SERVICE_HOST") != NULL || strstr(name, "_SERVICE_PORT") != NULL || strstr(name, "_TCP") != NULL ||
	       strstr(name, "_UDP") != NULL || strstr(name, "_SCTP") != NULL || is_service_url(value);
}

static void warn_unknown(struct loader *l)
{
	for (char **env = environ; env != NULL && *env != NULL; env++) {
		const char *eq = strchr(*env, '=');
		size_t len = eq == NULL ? 0 : (size_t)(eq - *env);
		if (config_prefix(*env) == 0 || len <= config_prefix(*env) || config_known(*env, len) != NULL)
			continue;
		char *name = mem_strndup(*env, len);
		const char *like = config_nearest(name, len);
		if (is_service_variable(name, eq + 1))
			;
		else if (like != NULL)
			warn(l, "%s is not known. Is %s meant?", name, like);
		else
			warn(l, "%s is not known", name);
		free(name);
	}
}

static int read_file(struct loader *l)
{
	const char *path = getenv("BUSBAR_SETTINGS_FILE");
	if (path == NULL || path[0] == '\0')
		return 0;
	if (settings_read(path, &l->file, l->e) != 0)
		return -1;
	for (size_t i = 0; i < l->file.n; i++) {
		const struct setting *s = &l->file.list[i];
		for (int v = 0; v < V_COUNT; v++)
			if (strcmp(infos[v].name, s->name) == 0)
				l->from[v] = s;
		if (getenv(s->name) != NULL)
			warn(l, "%s, line %d: %s takes the place of the environment variable", path, s->line, s->name);
	}
	return 0;
}

static int read_all(struct loader *l)
{
	for (int v = 0; v < V_COUNT; v++)
		if (read_one(l, (enum var)v) < 0)
			return -1;
	warn_unknown(l);
	for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
		enum var v = ranges[i].var;
		if (l->text[v] == NULL || (l->num[v] >= ranges[i].min && l->num[v] <= ranges[i].max))
			continue;
		if (ranges[i].max == INT64_MAX)
			err_set(l->e, ERR_CONFIG, "%s: must be at least %" PRId64 ", not %" PRId64, infos[v].name, ranges[i].min, l->num[v]);
		else
			err_set(l->e, ERR_CONFIG, "%s: must be from %" PRId64 " to %" PRId64 ", not %" PRId64, infos[v].name, ranges[i].min,
			        ranges[i].max, l->num[v]);
		return bad(l, v);
	}
	return 0;
}

/* ---- step 2 and 3: what belongs together, into the struct ---- */

/* A file that the URL comes from ends with a newline: what is blank around it isn't part of it. */
static int load_url(struct loader *l, enum var v, struct config_url *out)
{
	const char *text = l->text[v] + strspn(l->text[v], BLANKS);
	size_t len = strlen(text);
	while (len > 0 && strchr(BLANKS, text[len - 1]) != NULL)
		len--;
	char *url = mem_strndup(text, len);
	int rc = config_parse_url(url, out, l->e);
	explicit_bzero(url, len);
	free(url);
	return rc < 0 ? err_wrap(l->e, "%s", infos[v].name) : 0;
}

/* COMPAT: no TLS at all and TLS with verification exclude each other. */
static int check_ca(struct loader *l, const struct config_url *u)
{
	if (l->text[V_ELECTRIC_DATABASE_CA_CERTIFICATE_FILE] == NULL || u->sslmode != SSLMODE_DISABLE)
		return 0;
	return err_set(l->e, ERR_CONFIG, "When ELECTRIC_DATABASE_CA_CERTIFICATE_FILE is set, sslmode must be omitted or "
	                                 "set to a value other than 'disable'");
}

static int64_t num_or(const struct loader *l, enum var v, int64_t otherwise)
{
	return l->text[v] != NULL ? l->num[v] : otherwise;
}

/* The kernel's keepalive settings are whole seconds, at least one. */
static int64_t whole_seconds_or(const struct loader *l, enum var v, int64_t otherwise)
{
	if (l->text[v] == NULL)
		return otherwise;
	return l->num[v] < 1000 ? 1000 : l->num[v] / 1000 * 1000;
}

static int load_database(struct loader *l, struct config *c)
{
	if (l->text[V_DATABASE_URL] == NULL || l->text[V_DATABASE_URL][0] == '\0')
		return err_set(l->e, ERR_CONFIG, "DATABASE_URL is not set. Set it to the URL of your database, "
		                                 "postgresql://user:password@host:5432/database");
	enum var pooled = l->set[V_ELECTRIC_POOLED_DATABASE_URL]  ? V_ELECTRIC_POOLED_DATABASE_URL
	                  : l->set[V_ELECTRIC_QUERY_DATABASE_URL] ? V_ELECTRIC_QUERY_DATABASE_URL
	                                                          : V_DATABASE_URL;
	if (load_url(l, V_DATABASE_URL, &c->database) < 0 || load_url(l, pooled, &c->pooled_database) < 0 ||
	    check_ca(l, &c->database) < 0)
		return -1;
	if (check_ca(l, &c->pooled_database) < 0)
		return err_wrap(l->e, "%s", infos[pooled].name);
	c->database_use_ipv6 = l->num[V_ELECTRIC_DATABASE_USE_IPV6];
	const char *ca = l->text[V_ELECTRIC_DATABASE_CA_CERTIFICATE_FILE];
	if (ca != NULL && ca[0] == '\0')
		return err_set(l->e, ERR_CONFIG, "ELECTRIC_DATABASE_CA_CERTIFICATE_FILE is empty. Set it to the path of a file "
		                                 "of CA certificates, or unset it");
	c->ca_certificate_file = ca != NULL ? mem_strdup(ca) : NULL;
	c->db_pool_size = (int)l->num[V_ELECTRIC_DB_POOL_SIZE];
	if (c->db_pool_size < POOL_SIZE_MIN) {
		warn(l, "ELECTRIC_DB_POOL_SIZE=%d is too small, up to %d are used: 2 for administration, 2 for snapshots, 1 for subsets",
		     c->db_pool_size, POOL_SIZE_MIN);
		c->db_pool_size = POOL_SIZE_MIN;
	}
	c->tcp_keepalive_idle_ms = whole_seconds_or(l, V_ELECTRIC_DATABASE_TCP_KEEPALIVE_IDLE, -1);
	c->tcp_keepalive_interval_ms = whole_seconds_or(l, V_ELECTRIC_DATABASE_TCP_KEEPALIVE_INTERVAL, -1);
	c->tcp_keepalive_count = num_or(l, V_ELECTRIC_DATABASE_TCP_KEEPALIVE_COUNT, -1);
	c->tcp_user_timeout_ms = num_or(l, V_ELECTRIC_DATABASE_TCP_USER_TIMEOUT, -1);
	return 0;
}

static char *concat(const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b);
	char *p = mem_alloc(a_len + b_len + 1);
	memcpy(p, a, a_len);
	memcpy(p + a_len, b, b_len + 1);
	return p;
}

/* An unquoted identifier of ASCII, as Postgres takes them in slot names, in lower case. */
static int load_stream_id(struct loader *l, struct config *c)
{
	const char *text = l->text[V_ELECTRIC_REPLICATION_STREAM_ID];
	size_t len = strlen(text);
	bool ok = len > 0 && !isdigit((unsigned char)text[0]) && text[0] != '$';
	for (size_t i = 0; i < len; i++)
		ok = ok && (isalnum((unsigned char)text[i]) || text[i] == '_' || text[i] == '$');
	if (!ok)
		return err_set(l->e, ERR_CONFIG, "ELECTRIC_REPLICATION_STREAM_ID: \"%s\" is not an unquoted SQL identifier: a "
		               "letter or underscore first, then letters, digits and underscores", text);
	if (!c->temporary_slot_random_name && strchr(text, '$') != NULL)
		return err_set(l->e, ERR_CONFIG, "ELECTRIC_REPLICATION_STREAM_ID: \"%s\" has a $, which Postgres refuses in the "
		               "name of a replication slot", text);
	if (len > STREAM_ID_BYTES_MAX)
		return err_set(l->e, ERR_CONFIG, "ELECTRIC_REPLICATION_STREAM_ID: must have at most %d characters, has %zu",
		               (int)STREAM_ID_BYTES_MAX, len);
	c->replication_stream_id = mem_strdup(text);
	for (char *p = c->replication_stream_id; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	return 0;
}

static int random_slot_name(struct config *c, struct err *e)
{
	unsigned char bytes[16];
	if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
		return err_errno(e, errno, "no random bytes for the name of the slot");
	char hex[2 * sizeof bytes + 1];
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	c->slot_name = concat(SLOT_PREFIX, hex);
	return 0;
}

static int load_replication(struct loader *l, struct config *c)
{
	c->temporary_slot = l->num[V_CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN];
	bool random_name = l->num[V_ELECTRIC_TEMPORARY_REPLICATION_SLOT_USE_RANDOM_NAME];
	c->temporary_slot_random_name = c->temporary_slot && random_name;
	c->wal_limit_bytes = l->num[V_BUSBAR_WAL_LIMIT]; /* 0 if unset */
	c->wal_limit_age_ms = l->num[V_BUSBAR_WAL_LIMIT_AGE];
	if (random_name && !c->temporary_slot)
		warn(l, "ELECTRIC_TEMPORARY_REPLICATION_SLOT_USE_RANDOM_NAME has no effect without "
		        "CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN=true");
	if (load_stream_id(l, c) < 0)
		return -1;
	c->publication_name = concat(PUBLICATION_PREFIX, c->replication_stream_id);
	/* Postgres would cut it there when it creates it; what we look up must be what is there. */
	if (strlen(c->publication_name) > NAME_BYTES_MAX)
		c->publication_name[NAME_BYTES_MAX] = '\0';
	if (c->temporary_slot_random_name) {
		if (random_slot_name(c, l->e) < 0)
			return -1;
		warn(l, "The replication slot is temporary and has a random name: instances don't exclude each other, and all "
		        "shapes start over at each start");
	} else {
		c->slot_name = concat(SLOT_PREFIX, c->replication_stream_id);
		if (c->temporary_slot)
			warn(l, "The replication slot is temporary (CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN): all shapes start over at "
			        "each start");
	}
	int64_t idle_ms = l->num[V_ELECTRIC_REPLICATION_IDLE_TIMEOUT];
	if (l->set[V_ELECTRIC_REPLICATION_IDLE_TIMEOUT] && idle_ms < 30000)
		return err_set(l->e, ERR_CONFIG, "Invalid value for ELECTRIC_REPLICATION_IDLE_TIMEOUT: %" PRId64 /* COMPAT */
		               ". The minimum supported timeout is 30sec.", idle_ms);
	c->idle_timeout_ms = l->set[V_ELECTRIC_REPLICATION_IDLE_TIMEOUT] && !c->temporary_slot ? idle_ms : 0;
	if (l->set[V_ELECTRIC_REPLICATION_IDLE_TIMEOUT] && c->temporary_slot)
		warn(l, "ELECTRIC_REPLICATION_IDLE_TIMEOUT has no effect: a temporary slot (CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN) ends with its "
		        "connection");
	c->manual_table_publishing = l->num[V_ELECTRIC_MANUAL_TABLE_PUBLISHING];
	c->publication_refresh_ms = l->num[V_ELECTRIC_TWEAKS_PUBLICATION_REFRESH_PERIOD];
	c->schema_reconciler_ms = l->num[V_ELECTRIC_TWEAKS_SCHEMA_RECONCILER_PERIOD];
	c->max_txn_bytes = l->num[V_ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE];
	return 0;
}

/* One of the two numbers of ELECTRIC_MAX_CONCURRENT_REQUESTS. */
static int admission_limit(const json_t *root, const char *key, int64_t *out, struct err *e)
{
	const json_t *v = json_object_get(root, key);
	if (v == NULL)
		return err_set(e, ERR_CONFIG, "ELECTRIC_MAX_CONCURRENT_REQUESTS: the key \"%s\" is missing", key);
	if (!json_is_integer(v) || json_integer_value(v) < 1)
		return err_set(e, ERR_CONFIG, "ELECTRIC_MAX_CONCURRENT_REQUESTS: \"%s\" must be a positive integer", key);
	*out = json_integer_value(v);
	return 0;
}

static int load_admission(struct loader *l, struct config *c)
{
	/* Step 1 has seen that it is an object. */
	json_t *root = json_loads(l->text[V_ELECTRIC_MAX_CONCURRENT_REQUESTS], 0, NULL);
	int64_t initial = 0, existing = 0;
	int rc = admission_limit(root, "initial", &initial, l->e);
	if (rc == 0)
		rc = admission_limit(root, "existing", &existing, l->e);
	json_decref(root);
	c->live.max_concurrent_initial = initial;
	c->live.max_concurrent_existing = existing;
	return rc == 0 ? 0 : bad(l, V_ELECTRIC_MAX_CONCURRENT_REQUESTS);
}

static int load_secret(struct loader *l, struct config *c)
{
	const char *secret = l->text[V_ELECTRIC_SECRET];
	bool insecure = l->num[V_ELECTRIC_INSECURE];
	/* COMPAT: both texts; an empty secret counts as set. */
	if (secret != NULL && insecure) {
		err_set(l->e, ERR_CONFIG, "You cannot set both ELECTRIC_SECRET and ELECTRIC_INSECURE=true");
		return bad(l, V_ELECTRIC_SECRET);
	}
	if (secret == NULL && !insecure)
		return err_set(l->e, ERR_CONFIG,
		               "You must set ELECTRIC_SECRET unless ELECTRIC_INSECURE=true. Setting ELECTRIC_INSECURE=true risks "
		               "exposing your database, only use insecure mode in development or you've otherwise secured the "
		               "Electric API%s", l->set[V_AUTH_MODE] ? ". AUTH_MODE is not read any more: ELECTRIC_INSECURE=true is what "
		                                                       "AUTH_MODE=insecure was" : "");
	if (insecure)
		warn(l, "ELECTRIC_INSECURE=true: everybody who reaches port %d can read the database. Set ELECTRIC_SECRET, or "
		        "let only your own proxy reach the port", c->port);
	else if (secret[0] == '\0')
		warn(l, "ELECTRIC_SECRET is empty: everybody who reaches port %d and sends an empty secret can read the "
		        "database", c->port);
	const char *previous = l->text[V_BUSBAR_SECRET_PREVIOUS];
	if (previous != NULL && previous[0] == '\0')
		previous = NULL;
	if (previous != NULL && secret == NULL)
		warn(l, "BUSBAR_SECRET_PREVIOUS has no effect without ELECTRIC_SECRET");
	if (secret != NULL)
		config_set_secrets(c, secret, previous);
	return 0;
}

static int load_http(struct loader *l, struct config *c)
{
	c->port = (int)l->num[V_ELECTRIC_PORT];
	c->listen_on_ipv6 = l->num[V_ELECTRIC_LISTEN_ON_IPV6];
	c->tcp_send_timeout_ms = l->num[V_ELECTRIC_TCP_SEND_TIMEOUT];
	c->tcp_read_timeout_ms = l->num[V_ELECTRIC_TCP_READ_TIMEOUT];
	c->live.long_poll_timeout_ms = l->num[V_ELECTRIC_LONG_POLL_TIMEOUT];
	c->live.cache_max_age_s = l->num[V_ELECTRIC_CACHE_MAX_AGE];
	c->live.cache_stale_age_s = l->num[V_ELECTRIC_CACHE_STALE_AGE];
	c->live.subquery_cache_max_age_s = l->num[V_BUSBAR_SUBQUERY_CACHE_MAX_AGE];
	c->chunk_bytes_threshold = l->num[V_ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD];
	c->enable_integration_testing = l->num[V_ELECTRIC_ENABLE_INTEGRATION_TESTING];
	c->conn_max_requests = l->num[V_ELECTRIC_TWEAKS_CONN_MAX_REQUESTS];
	c->subquery_tables = l->text[V_BUSBAR_SUBQUERY_TABLES] != NULL ? mem_strdup(l->text[V_BUSBAR_SUBQUERY_TABLES]) : NULL;
	return load_admission(l, c) < 0 || load_secret(l, c) < 0 ? -1 : 0;
}

static int load_limits(struct loader *l, struct config *c)
{
	const char *storage = l->text[V_BUSBAR_STORAGE];
	c->store_limit = num_or(l, V_BUSBAR_STORE_LIMIT, 0);
	c->store_min_free = num_or(l, V_BUSBAR_STORE_MIN_FREE, 0);
	c->shape_expiry_ms = num_or(l, V_BUSBAR_SHAPE_EXPIRY, 0);
	c->shape_growth_limit = num_or(l, V_BUSBAR_SHAPE_GROWTH_LIMIT, 0);
	c->snapshot_concurrency = (int)num_or(l, V_BUSBAR_SNAPSHOT_CONCURRENCY, 0);
	c->subset_concurrency = (int)num_or(l, V_BUSBAR_SUBSET_CONCURRENCY, 0);
	c->subset_memory = l->num[V_BUSBAR_SUBSET_MEMORY];
	c->body_memory = l->num[V_BUSBAR_BODY_MEMORY];
	c->storage_ephemeral = strcmp(storage, "ephemeral") == 0;
	if (!c->storage_ephemeral && strcmp(storage, "disk") != 0)
		return err_set(l->e, ERR_CONFIG, "BUSBAR_STORAGE must be one of: disk, ephemeral");
	if (c->store_limit != 0 && c->store_limit < STORE_LIMIT_MIN)
		return err_set(l->e, ERR_CONFIG, "BUSBAR_STORE_LIMIT must be at least 64MiB");
	if (c->shape_expiry_ms != 0 && c->shape_expiry_ms < 1000)
		return err_set(l->e, ERR_CONFIG, "BUSBAR_SHAPE_EXPIRY must be at least 1s");
	return 0;
}

static int load_storage(struct loader *l, struct config *c)
{
	enum var max_shapes = l->set[V_ELECTRIC_MAX_SHAPES] ? V_ELECTRIC_MAX_SHAPES : V_ELECTRIC_EXPERIMENTAL_MAX_SHAPES;
	c->live.max_shapes = num_or(l, max_shapes, 0);
	if (l->set[max_shapes] && c->live.max_shapes == 0)
		warn(l, "%s=0 is read as no limit", infos[max_shapes].name);
	const char *dir = l->text[V_ELECTRIC_STORAGE_DIR];
	if (dir[0] == '\0')
		return err_set(l->e, ERR_CONFIG, "ELECTRIC_STORAGE_DIR is empty. Set it to a directory, or unset it for "
		                                 "./persistent");
	c->storage_dir = mem_strdup(dir);
	const char *storage = l->text[V_ELECTRIC_STORAGE], *state = l->text[V_ELECTRIC_PERSISTENT_STATE];
	if (strcasecmp(storage, "FILE") == 0 || strcasecmp(storage, "LEGACY_FILE") == 0) /* COMPAT: these three */
		return err_set(l->e, ERR_CONFIG, "ELECTRIC_STORAGE: \"file\" storage is deprecated. Please change to \"fast_file\"");
	c->storage_memory = strcasecmp(storage, "MEMORY") == 0;
	if (!c->storage_memory && strcasecmp(storage, "FAST_FILE") != 0)
		return err_set(l->e, ERR_CONFIG, "ELECTRIC_STORAGE: storage must be one of: MEMORY, FAST_FILE");
	if (strcasecmp(state, "MEMORY") != 0 && strcasecmp(state, "FILE") != 0)
		return err_set(l->e, ERR_CONFIG, "ELECTRIC_PERSISTENT_STATE must be one of: MEMORY, FILE");
	return load_limits(l, c);
}

/* What these switch on in Electric always is. */
static bool is_needless_flag(const char *p, size_t n)
{
	return (n == 16 && memcmp(p, "allow_subqueries", n) == 0) || (n == 17 && memcmp(p, "tagged_subqueries", n) == 0);
}

/* COMPAT: Electric's text; a flag that it once knew may still be set. */
static void warn_feature_flags(struct loader *l)
{
	static const char first[] = "Unknown feature flags specified: [";
	const char *p = l->text[V_ELECTRIC_FEATURE_FLAGS], *sep = first;
	if (p == NULL || l->warnings == NULL)
		return;
	for (size_t n; *(p += strspn(p, ", ")) != '\0'; p += n) {
		n = strcspn(p, ", ");
		if (is_needless_flag(p, n))
			continue;
		fprintf(l->warnings, "%s\"%.*s\"", sep, (int)n, p);
		sep = ", ";
	}
	if (sep != first)
		fputs("]. Known feature flags: [\"allow_subqueries\", \"tagged_subqueries\"]\n", l->warnings);
}

static char *text_or_null(const struct loader *l, enum var v)
{
	return l->text[v] != NULL && l->text[v][0] != '\0' ? mem_strdup(l->text[v]) : NULL;
}

static int load_rest(struct loader *l, struct config *c)
{
	c->prometheus_port = (int)num_or(l, V_ELECTRIC_PROMETHEUS_PORT, 0);
	c->admin_port = (int)num_or(l, V_BUSBAR_ADMIN_PORT, 0);
	c->admin_address = mem_strdup(l->text[V_BUSBAR_ADMIN_ADDRESS]);
	unsigned char ip[sizeof(struct in6_addr)];
	if (inet_pton(AF_INET, c->admin_address, ip) != 1 && inet_pton(AF_INET6, c->admin_address, ip) != 1) {
		err_set(l->e, ERR_CONFIG, "BUSBAR_ADMIN_ADDRESS: must be an IP address, such as 127.0.0.1, 0.0.0.0 or ::1");
		return bad(l, V_BUSBAR_ADMIN_ADDRESS);
	}
	c->statsd_host = text_or_null(l, V_ELECTRIC_STATSD_HOST);
	c->instance_id = text_or_null(l, V_ELECTRIC_INSTANCE_ID);
	c->system_metrics_poll_ms = l->num[V_ELECTRIC_SYSTEM_METRICS_POLL_INTERVAL];
	c->heartbeat_ms = num_or(l, V_BUSBAR_HEARTBEAT_INTERVAL, 0);
	if (l->set[V_BUSBAR_HEARTBEAT_INTERVAL] && c->heartbeat_ms < 1000) {
		err_set(l->e, ERR_CONFIG, "BUSBAR_HEARTBEAT_INTERVAL: must be at least 1s");
		return bad(l, V_BUSBAR_HEARTBEAT_INTERVAL);
	}
	if (!log_level_parse(l->text[V_ELECTRIC_LOG_LEVEL], &c->log_level)) {
		err_set(l->e, ERR_CONFIG, /* COMPAT: more levels are accepted than the text says */
		        "ELECTRIC_LOG_LEVEL: Must be one of [\"error\", \"warning\", \"info\", \"debug\"]");
		return bad(l, V_ELECTRIC_LOG_LEVEL);
	}
	if (!log_format_parse(l->text[V_BUSBAR_LOG_FORMAT], &c->log_format)) {
		err_set(l->e, ERR_CONFIG, "BUSBAR_LOG_FORMAT: must be text or json, not \"%s\"", l->text[V_BUSBAR_LOG_FORMAT]);
		return bad(l, V_BUSBAR_LOG_FORMAT);
	}
	c->settings_file = text_or_null(l, V_BUSBAR_SETTINGS_FILE);
	warn_feature_flags(l);
	for (int v = 0; v < V_COUNT; v++)
		if (l->set[v] && infos[v].state == S_LATER)
			warn(l, "%s is ignored: %s", infos[v].name, infos[v].text);
	return 0;
}

int config_load(struct config *c, FILE *warnings, struct err *e)
{
	*c = (struct config){0};
	struct loader l = {.e = e, .warnings = warnings};
	int rc = -1;
	if (read_file(&l) == 0 && read_all(&l) == 0 && load_database(&l, c) == 0 && load_replication(&l, c) == 0 && load_http(&l, c) == 0 &&
	    load_storage(&l, c) == 0 && load_rest(&l, c) == 0)
		rc = 0;
	else
		config_clear(c);
	settings_clear(&l.file);
	return rc;
}

void config_clear(struct config *c)
{
	config_url_clear(&c->database);
	config_url_clear(&c->pooled_database);
	config_forget_secrets(c);
	char *const texts[] = {c->ca_certificate_file, c->replication_stream_id, c->slot_name, c->publication_name,
	                       c->subquery_tables, c->storage_dir, c->settings_file, c->admin_address, c->statsd_host, c->instance_id};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		free(texts[i]);
	*c = (struct config){0};
}

/* ---- help ---- */

static void help_row(FILE *out, enum var v)
{
	const struct var_info *i = &infos[v];
	if (i->state == S_OLD) {
		fprintf(out, i->text[0] != '\0' ? "  %s (now %s)\n" : "  %s\n", i->name, i->text);
		return;
	}
	fprintf(out, "  %s (%s", i->name, type_names[i->type]);
	if (i->def != NULL)
		fprintf(out, ", default %s", i->def);
	fprintf(out, ")\n      %s%s\n", i->state == S_USED ? "" : "Accepted, no effect: ", i->text);
}

void config_help(FILE *out)
{
#define CONFIG_GROUP(title) fprintf(out, "\n%s:\n", title);
#define X(name, type, def, state, text) help_row(out, V_##name);
#include "base/config_table.h"
	fputs("\nbool: false, 0 or empty is false, anything else is true. time: a number with ms, s or min (default ms);\n"
	      "of BUSBAR_ variables with h or d, too. size: a number with KB, KiB, MB, MiB, GB or GiB (default bytes). Other\n"
	      "variables are ignored; of those that begin with ELECTRIC_ or BUSBAR_ a line at start says so.\n",
	      out);
}
