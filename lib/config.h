/* config.h - settings: one table (config_table.h) drives set, environment, URL, file, dump and manual. */
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

/* The resolved value, default included. Text is the config's, never NULL; numbers in the table's unit
 * (bytes, milliseconds, count, index of the choice). */
const char *evb_config_text(const evbus_config *config, enum evb_cfg id);
int64_t evb_config_number(const evbus_config *config, enum evb_cfg id);
bool evb_config_is_set(const evbus_config *config, enum evb_cfg id); /* by anyone, not the default */
bool evb_config_wants_redis(const evbus_config *config); /* bus.mode resolved: any redis.* set */
/* key.prefix stands behind channel.prefix's default: the resolved prefix of channels; caller frees */
char *evb_config_channel_prefix(const evbus_config *config);
evbus_config *evb_config_copy(const evbus_config *config); /* NULL: all defaults */

#endif
