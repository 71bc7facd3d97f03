/*
 * regex_class.c - which characters are letters, digits, blanks …, and their other case, as Postgres's regular
 * expressions ask the collation's ctype: ASCII alone for C, libc's tables for libc. ICU and the builtin provider
 * have tables of their own: answered is where these are known to say what libc's do.
 */
#include <string.h>
#include <wctype.h>

#include "base/require.h"
#include "where/regex_class_table.h"
#include "where/regex_private.h"

static bool ascii_in_class(enum regex_class class, uint32_t c)
{
	bool digit = c >= '0' && c <= '9', lower = c >= 'a' && c <= 'z', upper = c >= 'A' && c <= 'Z';
	bool graph = c > ' ' && c < 0x7F, alnum = digit || lower || upper;
	switch (class) {
	case CLASS_ALNUM: return alnum;
	case CLASS_ALPHA: return lower || upper;
	case CLASS_ASCII: return true;
	case CLASS_BLANK: return c == ' ' || c == '\t';
	case CLASS_CNTRL: return c < 0x20 || c == 0x7F;
	case CLASS_DIGIT: return digit;
	case CLASS_GRAPH: return graph;
	case CLASS_LOWER: return lower;
	case CLASS_PRINT: return graph || c == ' ';
	case CLASS_PUNCT: return graph && !alnum;
	case CLASS_SPACE: return c == ' ' || (c >= '\t' && c <= '\r');
	case CLASS_UPPER: return upper;
	case CLASS_XDIGIT: return digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
	case CLASS_WORD: return alnum || c == '_';
	case CLASS_COUNT: break;
	}
	return false;
}

static bool wide_in_class(enum regex_class class, wint_t c, locale_t ctype)
{
	switch (class) {
	case CLASS_ALNUM: case CLASS_WORD: return iswalnum_l(c, ctype);
	case CLASS_ALPHA: return iswalpha_l(c, ctype);
	case CLASS_DIGIT: return iswdigit_l(c, ctype);
	case CLASS_GRAPH: return iswgraph_l(c, ctype);
	case CLASS_LOWER: return iswlower_l(c, ctype);
	case CLASS_PRINT: return iswprint_l(c, ctype);
	case CLASS_PUNCT: return iswpunct_l(c, ctype);
	case CLASS_SPACE: return iswspace_l(c, ctype);
	case CLASS_UPPER: return iswupper_l(c, ctype);
	default: return false;
	}
}

static bool in_table(const struct regex_range *r, size_t n, uint32_t c)
{
	size_t low = 0, high = n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (c > r[mid].to)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n && c >= r[low].from;
}

/* Do all providers say what libc says? */
static bool is_common(char provider, enum regex_class class, uint32_t c)
{
	if (in_table(class_known, ARRAY_LEN(class_known), c))
		return true;
	return (class != CLASS_PUNCT || provider == 'b') && in_table(class_known_symbols, ARRAY_LEN(class_known_symbols), c);
}

int regex_in_class(const struct where_collation *collation, enum regex_class class, uint32_t c)
{
	if (c < 0x80) {
		bool icu_differs = (class == CLASS_PUNCT && c != 0 && strchr("$+<=>^`|~", (int)c) != NULL) ||
		                   (class == CLASS_SPACE && c >= 0x1C && c <= 0x1F);
		return collation->provider == 'i' && icu_differs ? -1 : ascii_in_class(class, c);
	}
	if (class == CLASS_CNTRL)
		return c <= 0x9F;
	if (collation->ascii_case || class == CLASS_ASCII || class == CLASS_BLANK || class == CLASS_XDIGIT)
		return 0;
	if (collation->ctype == (locale_t)0 || (collation->provider != 'c' && !is_common(collation->provider, class, c)))
		return -1;
	return wide_in_class(class, (wint_t)c, collation->ctype);
}

bool regex_cases(const struct where_collation *collation, uint32_t c, uint32_t *lower, uint32_t *upper)
{
	/* Under the database's own locale Postgres maps ASCII as everywhere, in Turkish too; so does ICU. */
	bool plain = collation->ascii_known || collation->provider != 'c' || strcmp(collation->name, "default") == 0;
	*lower = *upper = c;
	if (c < 0x80 && plain) {
		if (c >= 'A' && c <= 'Z')
			*lower = c | 0x20;
		else if (c >= 'a' && c <= 'z')
			*upper = c & ~0x20u;
		return true;
	}
	if (collation->ascii_case)
		return true;
	if (collation->ctype == (locale_t)0)
		return false;
	*lower = (uint32_t)towlower_l((wint_t)c, collation->ctype);
	*upper = (uint32_t)towupper_l((wint_t)c, collation->ctype);
	return true;
}
