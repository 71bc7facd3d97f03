/*
 * pools.c - edge values of every type, from which rows and literals are taken: few enough that equal ones
 * meet, strange enough to hit the limits.
 */
#include "gen.h"

#define POOL(name, ...) static const char *const name[] = {__VA_ARGS__, NULL}

POOL(bools, "t", "f", "true", "false", "yes", "no", "on", "off", "1", "0", " TRUE ", "y", "tru", "of");
POOL(int2s, "0", "1", "-1", "2", "3", "7", "10", "100", "32767", "-32768", " 5 ", "+4", "-0");
POOL(int4s, "0", "1", "-1", "2", "3", "4", "5", "7", "10", "42", "100", "-100", "1000", "65536", "2147483647",
     "-2147483648", "2147483646", " 12 ", "+6", "007");
POOL(int8s, "0", "1", "-1", "2", "3", "5", "10", "42", "1000000", "2147483648", "-2147483649", "9223372036854775807",
     "-9223372036854775808", "9007199254740993", "4294967296", " 8 ");
POOL(numerics, "0", "1", "-1", "2", "0.5", "-0.5", "1.0", "1.00", "1.5", "2.5", "-2.5", "0.1", "3.14159", "100",
     "99.995", "1e3", "1E-3", "12345678901234567890.123456789", "-99999999999999999999", "0.000000000000000001", ".5",
     "5.", "NaN", "Infinity", "-Infinity", "0.00", " 7.25 ", "1e20", "123456.789", "-0.0", "9.9999", "10000", "9999",
     "99999999", "1e-20");
POOL(float4s, "0", "1", "-1", "0.1", "1.5", "-2.5", "3.4028235e+38", "1e-45", "1.17549435e-38", "NaN", "Infinity",
     "-Infinity", "-0", "16777217", "1e10", "0.333333343", "123456.789");
POOL(float8s, "0", "1", "-1", "0.1", "0.2", "0.30000000000000004", "1.5", "2.5", "-2.5", "0.5", "1e15", "1e16",
     "123456789.123456789", "1.7976931348623157e308", "5e-324", "2.2250738585072014e-308", "NaN", "Infinity",
     "-infinity", "-0", "9007199254740993", "1e-5", "1e22", "100", "42", " 3 ", "inf", "1e-4", "12345.678");
POOL(texts, "", "a", "A", "abc", "ABC", "Abc", "abcd", "ab", "b", "xyz", "hello world", "Hello World",
     "\xc3\xa4\xc3\xb6\xc3\xbc", "\xc3\x84\xc3\x96\xc3\x9c",
     "stra\xc3\x9f"
     "e",
     "\xef\xac\x81n", "\xc4\xb0stanbul", "\xc4\xb1", "\xce\xa3\xcf\x83\xcf\x82", "\xf0\x9f\x98\x80",
     "a\xf0\x9f\x98\x80"
     "b",
     "e\xcc\x81", "\xe6\x97\xa5\xe6\x9c\xac", "a%b", "a_b", "a\\b", "\\", "%", "_", "a%", " ", "a ", "  a", "\t",
     "a\nb", "100", "-5", "1e3", "1.5", "true", "NaN", "2024-01-01", "x'y", "\"", "{1,2}", "{}", "foo.bar",
     "foo,bar,,baz", "aaaa", "abab", "0", "null", "NULL", "a.b.c", "\x01", "\x7f", "\xc2\xa0", "\xe2\x80\x83x", "zzz",
     "Zz", "[1]", "{\"a\":1}", "12:30", "P1D", "\\x41", "ab cd ef", "a-b_c d");
POOL(chars, "", "a", "b", "abc", "A", "ab ", "\xc3\xa4", " ", "x", "  b");
POOL(names, "a", "abc", "ABC", "pg_class", "", "\xc3\xa4", "b");
POOL(one_chars, "a", "b", "", "A", "z", "\\101", "\\377", " ");
POOL(byteas, "\\x", "\\x00", "\\x00ff", "\\x61", "\\x616263", "\\xdeadbeef", "abc", "\\\\", "a\\000b", "\\x5c",
     "\\xC3A4", "\\x ff 00", "\\x0001020304050607", "\\377");
POOL(uuids, "00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
     "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
     "a0eebc999c0b4ef8bb6d6bb9bd380a11", "ffffffff-ffff-ffff-ffff-ffffffffffff",
     "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a12", "12345678-1234-1234-1234-123456789abc");
POOL(dates, "2024-01-01", "2024-02-29", "2023-12-31", "2000-01-01", "1999-12-31", "1970-01-01", "1900-02-28",
     "0001-01-01", "0001-12-31 BC", "4713-01-01 BC", "5874897-12-31", "infinity", "-infinity", "epoch", "20240615",
     "June 15, 2024", "15/06/2024", "2024-06-15", "2024-166", "J2451545", "15-Jun-2024", "2024-01-31", "2024-03-31",
     "2021-01-03", "2020-12-31", "1582-10-15");
POOL(times, "00:00:00", "12:30:00", "23:59:59.999999", "24:00:00", "12:30", "00:00:00.000001", "11:59 PM", "12 am",
     "040506", "T040506", "04:05:06.789", "12:00:00", "01:02:03.5", "23:59:60", "allballs");
POOL(timetzs, "00:00:00+00", "12:30:00+02", "12:30:00-05:30", "24:00:00+00", "23:59:59.999999-15:59", "12:30 Z",
     "10:30+00", "04:05:06 PST", "00:00:00+15:59:59", "12:30:00+00");
POOL(timestamps, "2024-01-01 00:00:00", "2024-02-29 12:30:45.123456", "2023-12-31 23:59:59.999999",
     "2000-01-01 00:00:00", "1970-01-01 00:00:00", "1969-12-31 23:59:59.5", "0001-01-01 00:00:00 BC",
     "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "infinity", "-infinity", "epoch", "2024-06-15T04:05:06",
     "2024-06-15", "20240615T040506", "Sat Jun 15 04:05:06 2024", "15/06/2024 16:05", "2024-06-15 04:05 PM",
     "2024-03-31 02:30:00", "2024-10-27 02:30:00", "2024-01-31 10:00:00", "2021-01-03 00:00:00",
     "0044-03-15 12:00:00 BC", "1901-01-01 00:00:00", "2040-07-01 00:00:00");
POOL(timestamptzs, "2024-01-01 00:00:00+00", "2024-02-29 12:30:45.123456+02", "2023-12-31 23:59:59.999999-05",
     "2000-01-01 00:00:00Z", "1970-01-01 00:00:00", "1969-12-31 23:59:59.5+00", "0001-01-01 00:00:00+00 BC",
     "4713-01-01 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "infinity", "-infinity", "epoch",
     "2024-06-15T04:05:06Z", "2024-06-15", "2024-06-15 04:05:06 America/New_York", "2024-06-15 04:05:06 PST",
     "2024-06-15 04:05:06+05:45", "2024-03-31 02:30:00 Europe/Berlin", "2024-10-27 02:30:00 Europe/Berlin",
     "2024-01-31 10:00:00+00", "1901-01-01 00:00:00+00", "2024-06-15 04:05:06 EDT", "20240615T040506+0100");
POOL(intervals, "PT0S", "1 day", "-1 day", "24 hours", "1 month", "30 days", "1 year", "12 mons", "P1Y2M3DT4H5M6.789S",
     "1 year 2 mons", "-1 year -2 mons +3 days -04:05:06", "1 day ago", "01:02:03", "1:02", "@ 1 minute", "1.5 days",
     "2 weeks", "1-2", "1 2:03:04", "178000000 years", "-178000000 years", "0.000001 s", "P0001-02-03T04:05:06",
     "PT36H", "1.5 months", "100 millennium", "1 hour", "-00:00:01", "5 years -3 mons", "999999 hours", "1 mon -1 day",
     "10", "P-1Y", "3 decades", "1.25 years");
POOL(jsons, "1", "null", "true", "\"a\"", "\"\"", "[]", "{}", "{\"a\":1}", "{\"a\": {\"b\": [1,2,{\"c\":null}]}}",
     "[1, 2, 3]", "[1,\"a\",null,true]", "{\"a\":1,\"a\":2}", " {\"b\" : 1.50 , \"a\":\"x\"} ", "1.0", "1e5", "-0",
     "\"\\u00e4\\n\\\"\"", "12345678901234567890.5", "[[1,2],[3]]", "{\"a\":\"b\",\"c\":\"d\"}", "[\"a\",\"b\"]",
     "{\"\":0}", "{\"a\":[1,2]}", "{\"a\":null}", "false", "{\"aa\":1,\"b\":2,\"a\":3}", "\"1\"", "[1.0]",
     "{\"x\":{\"y\":{\"z\":[10,20]}}}");
POOL(oids, "0", "1", "16", "4294967295", "100");
POOL(cstrings, "1", "a", "", "2024-01-01", "t", "1.5", "12:30");

#define B(oid, sql, pool, category)                                                                                    \
	{                                                                                                                  \
		oid, sql, pool, 0, category                                                                                    \
	}
#define A(oid, sql, elem)                                                                                              \
	{                                                                                                                  \
		oid, sql, NULL, elem, 'A'                                                                                      \
	}
const struct gen_type gen_builtin_types[] = {
	B(OID_BOOL, "boolean", bools, 'B'),
	B(OID_INT2, "smallint", int2s, 'N'),
	B(OID_INT4, "int", int4s, 'N'),
	B(OID_INT8, "bigint", int8s, 'N'),
	B(OID_NUMERIC, "numeric", numerics, 'N'),
	B(OID_FLOAT4, "real", float4s, 'N'),
	B(OID_FLOAT8, "double precision", float8s, 'N'),
	B(OID_TEXT, "text", texts, 'S'),
	B(OID_VARCHAR, "varchar", texts, 'S'),
	B(OID_BPCHAR, "bpchar", chars, 'S'),
	B(OID_NAME, "name", names, 'S'),
	B(OID_CHAR, "\"char\"", one_chars, 'Z'),
	B(OID_BYTEA, "bytea", byteas, 'U'),
	B(OID_UUID, "uuid", uuids, 'U'),
	B(OID_DATE, "date", dates, 'D'),
	B(OID_TIME, "time", times, 'D'),
	B(OID_TIMETZ, "timetz", timetzs, 'D'),
	B(OID_TIMESTAMP, "timestamp", timestamps, 'D'),
	B(OID_TIMESTAMPTZ, "timestamptz", timestamptzs, 'D'),
	B(OID_INTERVAL, "interval", intervals, 'T'),
	B(OID_JSON, "json", jsons, 'U'),
	B(OID_JSONB, "jsonb", jsons, 'U'),
	B(OID_OID, "oid", oids, 'N'),
	B(2275, "cstring", cstrings, 'P'),
	A(1000, "bool[]", OID_BOOL),
	A(1005, "int2[]", OID_INT2),
	A(1007, "int4[]", OID_INT4),
	A(1016, "int8[]", OID_INT8),
	A(1231, "numeric[]", OID_NUMERIC),
	A(1021, "float4[]", OID_FLOAT4),
	A(1022, "float8[]", OID_FLOAT8),
	A(1009, "text[]", OID_TEXT),
	A(1015, "varchar[]", OID_VARCHAR),
	A(1014, "bpchar[]", OID_BPCHAR),
	A(1001, "bytea[]", OID_BYTEA),
	A(2951, "uuid[]", OID_UUID),
	A(1182, "date[]", OID_DATE),
	A(1183, "time[]", OID_TIME),
	A(1115, "timestamp[]", OID_TIMESTAMP),
	A(1185, "timestamptz[]", OID_TIMESTAMPTZ),
	A(1187, "interval[]", OID_INTERVAL),
	A(3807, "jsonb[]", OID_JSONB),
	A(199, "json[]", OID_JSON),
};
const size_t gen_nbuiltin_types = sizeof gen_builtin_types / sizeof *gen_builtin_types;
