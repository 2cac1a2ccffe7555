/* config_dump.c - the settings as text, with where each came from. The user's thread. */
#include "alloc.h"
#include "buf.h"
#include "config.h"
#include "err.h"
#include <string.h>

/* As a settings file would need it. */
static char *dump_value(const char *text)
{
    size_t length = strlen(text);
    bool plain = !length || (text[0] != '\'' && text[0] != '#' && text[0] != ' ' &&
                             text[length - 1] != ' ' && !strstr(text, " #"));

    return plain ? evb_strdup(text) : evbus_quote(text);
}

char *evbus_config_dump(const evbus_config *config)
{
    struct evb_buf out;

    if (!config) {
        evb_fail(EVBUS_EINVAL, "evbus_config_dump: config is NULL");
        return NULL;
    }
    evb_buf_init(&out);
    for (int i = 0; i < EVB_CFG_COUNT; i++) {
        const char *key = evbus_config_key(i);
        char *value = dump_value(evbus_config_get(config, key));

        evb_buf_printf(&out, "%-22s = %-24s  # ", key, value ? value : "");
        for (const char *p = evb_config_origin(config, (enum evb_cfg)i); *p; p++)
            evb_buf_char(&out, (unsigned char)*p < 0x20 ? '?' : *p);
        evb_buf_char(&out, '\n');
        out.failed |= !value;
        evb_free(value);
    }
    char *text = evb_buf_take(&out);
    if (!text)
        evb_fail_memory();
    return text;
}
