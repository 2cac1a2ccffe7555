/* config.h - settings: one table (config_table.h) drives set, environment, URL, file, dump and
 * manual. */
#ifndef EVB_CONFIG_H
#define EVB_CONFIG_H
#include <evbus.h>
#include <stdbool.h>
#include <stdint.h>

#define X(id, key, kind, choices, min, max, def, secret, aliases, help) EVB_CFG_##id,
enum evb_cfg {
#include "config_table.h"
    EVB_CFG_COUNT
};
#undef X

enum { EVB_MODE_AUTO, EVB_MODE_HYBRID, EVB_MODE_LOCAL, EVB_MODE_REDIS }; /* bus.mode */
enum { EVB_CHECK_REMOTE, EVB_CHECK_ALWAYS, EVB_CHECK_NEVER };            /* event.check */
enum { EVB_FULL_DROP_OLDEST, EVB_FULL_DROP_NEWEST, EVB_FULL_REJECT, EVB_FULL_OFF }; /* *.full */
enum { EVB_AWAY_RUN, EVB_AWAY_SKIP, EVB_AWAY_WAIT };                                /* claim.away */
enum { EVB_FULL_LAG = EVB_FULL_REJECT }; /* queue.full has this in the place of reject */

/* The resolved value, default included. Text is the config's, never NULL; numbers in the table's
 * unit (bytes, milliseconds, count, index of the choice). */
const char *evb_config_text(const evbus_config *config, enum evb_cfg id);
int64_t evb_config_number(const evbus_config *config, enum evb_cfg id);
bool evb_config_is_set(const evbus_config *config,
                       enum evb_cfg id); /* by anyone, not the default */
const char *evb_config_origin(const evbus_config *config, enum evb_cfg id); /* "default", "set" */
int evb_config_layer(const evbus_config *config, enum evb_cfg id); /* EVB_LAYER_*; 0: nobody's */
/* Do the settings fit together? 0, or EVBUS_EINVAL with a sentence. */
int evb_config_check(const evbus_config *config);
bool evb_config_wants_redis(const evbus_config *config); /* bus.mode resolved: any redis.* set */
/* key.prefix stands behind channel.prefix's default: the resolved prefix of channels; caller frees
 */
char *evb_config_channel_prefix(const evbus_config *config);
evbus_config *evb_config_copy(const evbus_config *config); /* NULL: all defaults */
/* A sentence for the index-th set key that has no effect in this library; NULL: no more. */
const char *evb_config_ignored(const evbus_config *config, int index);

/* ---- for config_load.c: where values come from ---- */

/* from low to high; what a higher layer has said stays */
enum evb_cfg_layer {
    EVB_LAYER_FILE = 1,
    EVB_LAYER_ALIAS,
    EVB_LAYER_PREFIX,
    EVB_LAYER_ENV,
    EVB_LAYER_CODE
};
struct evb_cfg_source {
    enum evb_cfg_layer layer;
    const char *label;  /* begins an error's sentence */
    const char *origin; /* for the dump */
};

/* The key's id, or EVBUS_EINVAL; `label` ("" or "file:3: ") begins the sentence. */
int evb_config_find(const char *label, const char *key);
const char *evb_config_aliases(enum evb_cfg id); /* separated by spaces */
/* Reads one value into `draft`, a copy to be thrown away on an error; a value that a higher layer
 * has already is not even looked at. */
int evb_config_assign(evbus_config *draft, enum evb_cfg id, const struct evb_cfg_source *source,
                      const char *text);
void evb_config_replace(evbus_config *config, evbus_config *draft); /* frees the draft */

#endif
