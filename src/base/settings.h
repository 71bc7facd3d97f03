/*
 * settings.h - taking over what has changed of the settings while we run: the environment is read again with
 * BUSBAR_SETTINGS_FILE (settings_file.h), which is what can have changed.
 */
#ifndef BUSBAR_BASE_SETTINGS_H
#define BUSBAR_BASE_SETTINGS_H

#include <stdio.h>

#include "base/err.h"

struct config;

/*
 * Reads the environment and the file again, and takes over what may change (struct config_live, the secrets, level and format of
 * the log); a line for each that differs goes to `changes`, without secrets. -1: nothing has changed. One thread, any time.
 */
int settings_reload(struct config *c, FILE *changes, struct err *e) MUST_USE;

#endif
