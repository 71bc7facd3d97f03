/*
 * config_names.h - names of variables: which there are, and which one is meant by a name that is none. Private to the reading of
 * settings (config.c, settings_file.c). Pure, any thread.
 */
#ifndef BUSBAR_BASE_CONFIG_NAMES_H
#define BUSBAR_BASE_CONFIG_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_OWN_PREFIX "BUSBAR_"

/* The length of its prefix, of a name that should be one of ours or of Electric's; 0: it may be anybody's. Terminated, or up to =. */
size_t config_prefix(const char *name);
/* The name as the table has it, NULL if it has none. */
const char *config_known(const char *name, size_t len);
/* Whether the settings file may have it: each is taken over by settings.c. */
bool config_changeable(const char *name);
/* The name that is read and looks most like this one, NULL if none does. The name has a prefix. */
const char *config_nearest(const char *name, size_t len);

#endif
