/*
 * fuzz_config_url.c - any bytes as DATABASE_URL, time or size: parsed or refused, never more.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_strndup((const char *)data, size);
	struct config_url u;
	struct err e = {0};
	int64_t v;
	if (config_parse_url(text, &u, &e) == 0) {
		REQUIRE(u.user[0] != '\0' && u.host[0] != '\0' && u.database != NULL && u.port >= 1 && u.port <= 65535);
		config_url_clear(&u);
	} else {
		REQUIRE(u.user == NULL && u.password == NULL && e.kind == ERR_CONFIG && e.text[0] != '\0');
	}
	if (config_parse_time_ms(text, &v, &e) == 0)
		REQUIRE(v >= 1 && v <= INT32_MAX);
	if (config_parse_size(text, &v, &e) == 0)
		REQUIRE(v >= 1);
	config_parse_bool(text);
	free(text);
	return 0;
}
