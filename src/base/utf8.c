/* utf8.c - whether bytes are UTF-8. */
#include "base/utf8.h"

bool utf8_valid(const char *p, size_t len)
{
	const unsigned char *s = (const unsigned char *)p, *end = s + len;
	while (s < end) {
		if (*s < 0x80) {
			s++;
			continue;
		}
		int more = *s >= 0xF0 ? 3 : *s >= 0xE0 ? 2 : 1;
		if (*s < 0xC2 || *s > 0xF4 || end - s <= more)
			return false;
		/* Overlong forms, surrogates and what is beyond U+10FFFF show in the second byte. */
		unsigned char low = *s == 0xE0 ? 0xA0 : *s == 0xF0 ? 0x90 : 0x80;
		unsigned char high = *s == 0xED ? 0x9F : *s == 0xF4 ? 0x8F : 0xBF;
		if (s[1] < low || s[1] > high)
			return false;
		for (int i = 2; i <= more; i++)
			if ((s[i] & 0xC0) != 0x80)
				return false;
		s += more + 1;
	}
	return true;
}
