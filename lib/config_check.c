/* config_check.c - do the settings fit together? Called when a bus is opened, on its thread. */
#include "config.h"
#include "err.h"
#include "match.h"
#include <stdio.h>
#include <string.h>

/* Nobody may believe in TLS that is not there. */
static int tls_check(const evbus_config *config)
{
    bool on = evb_config_number(config, EVB_CFG_TLS_ENABLED);
    bool said = evb_config_is_set(config, EVB_CFG_TLS_ENABLED);
    const char *url = evb_config_text(config, EVB_CFG_REDIS_URL);

    if (on && evb_config_text(config, EVB_CFG_REDIS_PATH)[0])
        return evb_fail(EVBUS_EINVAL, "tls.enabled with redis.path: Redis has no TLS on a Unix "
                                      "socket; name a host, or set tls.enabled=no");
    if (!on && strncmp(url, "rediss:", 7) == 0 &&
        evb_config_layer(config, EVB_CFG_TLS_ENABLED) ==
            evb_config_layer(config, EVB_CFG_REDIS_URL))
        return evb_fail(EVBUS_EINVAL,
                        "redis.url says rediss:// and tls.enabled says no (%s): drop one of them",
                        evb_config_origin(config, EVB_CFG_TLS_ENABLED));
    for (int i = EVB_CFG_TLS_ENABLED + 1; i <= EVB_CFG_TLS_MIN_VERSION && !said; i++)
        if (evb_config_is_set(config, (enum evb_cfg)i))
            return evb_fail(EVBUS_EINVAL,
                            "%s is set (%s), but TLS is off: say tls.enabled=yes (or no, if that "
                            "is meant)",
                            evbus_config_key(i), evb_config_origin(config, (enum evb_cfg)i));
    if (!evb_config_text(config, EVB_CFG_TLS_CERT_FILE)[0] &&
        evb_config_text(config, EVB_CFG_TLS_KEY_FILE)[0])
        return evb_fail(EVBUS_EINVAL, "tls.key.file without tls.cert.file: the certificate that "
                                      "the key belongs to is missing");
    return 0;
}

static int exclude_check(const evbus_config *config)
{
    char why[300];

    if (evb_patterns_check(evb_config_text(config, EVB_CFG_HISTORY_EXCLUDE)) == 0)
        return 0;
    snprintf(why, sizeof why, "%s", evbus_last_error());
    return evb_fail(EVBUS_EINVAL, "history.exclude (%s): %s",
                    evb_config_origin(config, EVB_CFG_HISTORY_EXCLUDE), why);
}

int evb_config_check(const evbus_config *config)
{
    int rc = exclude_check(config);
    return rc == 0 && evb_config_wants_redis(config) ? tls_check(config) : rc;
}
