/*
 * syntax.h - the syntax tree of a client's text, as libpg_query gives it in JSON: parsing, and looking at its nodes. Private
 * to src/where.
 *
 * What nodes there are and what is in them says Postgres's parsenodes.h. Trees are jansson's, owned by who parsed; what is
 * returned of one belongs to it. Any thread.
 */
#ifndef BUSBAR_WHERE_SYNTAX_H
#define BUSBAR_WHERE_SYNTAX_H

#include <jansson.h>

#include "where/build.h"

/* Parses `prefix` and the text, and keeps both in the builder. The JSON of the only statement's SELECT, a reference of the
 * caller's, or NULL with the message; `split` is that for more than one statement. */
json_t *syntax_parse(struct builder *b, const char *prefix, const char *text, size_t len, const char *split);
/* Nothing is there but the one column of the prefix and this clause. */
bool syntax_only(const json_t *select, const char *clause);

/* A node is an object of one member: its kind ("" if it isn't a node) and its fields. */
const char *syntax_kind(const json_t *j, const json_t **fields);
const json_t *syntax_field(const json_t *fields, const char *name); /* NULL: not there, which is how a default is written */
const char *syntax_text(const json_t *fields, const char *name);    /* "": not there */
/* Byte in the statement; -1: unknown. */
int syntax_location(const json_t *fields);
int syntax_location_below(const json_t *node);

/* The i-th String of a list of names; NULL: another node. */
const char *syntax_name(const json_t *list, size_t i);
/* Two parts with pg_catalog before them, or one: the last one; else NULL. */
const char *syntax_catalog_name(const json_t *list);
/* A dotted name as messages print it, in the arena. */
const char *syntax_dotted(struct builder *b, const json_t *list);

#endif
