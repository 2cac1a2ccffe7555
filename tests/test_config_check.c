/* test_config_check.c - settings that contradict each other, and those that do not. */
#include "config.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>

static const struct {
    const char *text; /* key=value pairs, set in code; what stands behind a ';' is the file's */
    const char *says; /* NULL: it fits */
} cases[] = {
    {"redis.host=h", NULL},
    {"redis.host=h tls.enabled=yes", NULL},
    {"redis.url=rediss://h", NULL},
    {"redis.url=rediss://h tls.enabled=yes tls.ca.file=/ca tls.cert.file=/c tls.key.file=/k", NULL},
    {"redis.url=rediss://h tls.cert.file=/both", NULL},
    {"redis.url=rediss://h tls.enabled=no",
     "redis.url says rediss:// and tls.enabled says no (set)"},
    {"tls.enabled=no;redis.url=rediss://h", NULL},
    {"redis.url=redis://h;redis.url=rediss://g", NULL},
    {"redis.url=rediss://h;tls.enabled=no", NULL},
    {"redis.path=/s tls.enabled=yes", "tls.enabled with redis.path"},
    {"redis.url=unix:///s;tls.enabled=yes", "tls.enabled with redis.path"},
    {"redis.path=/s;redis.url=rediss://h", "tls.enabled with redis.path"},
    {"redis.host=h tls.ca.file=/ca", "tls.ca.file is set (set), but TLS is off"},
    {"redis.host=h;tls.verify=none", "tls.verify is set (file), but TLS is off"},
    {"redis.host=h tls.ca.file=/ca tls.enabled=no", NULL},
    {"tls.ca.file=/ca", NULL},
    {"redis.host=h tls.enabled=yes tls.key.file=/k", "tls.key.file without tls.cert.file"},
};

static void set(evbus_config *config, char *pairs, enum evb_cfg_layer layer, const char *origin)
{
    char *rest;
    for (char *pair = strtok_r(pairs, " ", &rest); pair; pair = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(pair, '=');
        *value++ = '\0';
        struct evb_cfg_source source = {layer, pair, origin};
        int id = evb_config_find("", pair);
        ck_assert_int_ge(id, 0);
        ck_assert_int_eq(evb_config_assign(config, (enum evb_cfg)id, &source, value), 0);
    }
}

START_TEST(fits_together)
{
    evbus_config *config = evbus_config_new();
    char text[256];
    snprintf(text, sizeof text, "%s", cases[_i].text);
    char *file = strchr(text, ';');
    if (file) {
        *file++ = '\0';
        set(config, file, EVB_LAYER_FILE, "file");
    }
    set(config, text, EVB_LAYER_CODE, "set");
    int rc = evb_config_check(config);
    ck_assert_msg(rc == (cases[_i].says ? EVBUS_EINVAL : 0), "%s: %s", cases[_i].text,
                  evbus_last_error());
    if (cases[_i].says)
        ck_assert_msg(strstr(evbus_last_error(), cases[_i].says) == evbus_last_error(), "%s: %s",
                      cases[_i].text, evbus_last_error());
    evbus_config_free(config);
}
END_TEST

static const struct {
    const char *patterns;
    bool redis;
    const char *says;
} excludes[] = {
    {"", true, NULL},
    {" audit.>  task.* glob:x* ", true, NULL},
    {"audit.>, task.*", true, "history.exclude (here): "},
    {"task..a", true, "history.exclude (here): "},
    {"task..a", false, "history.exclude (here): "}, /* wrong is wrong, used or not */
};

START_TEST(exclude)
{
    evbus_config *config = evbus_config_new();
    struct evb_cfg_source here = {EVB_LAYER_CODE, "history.exclude", "here"};
    ck_assert_int_eq(
        evb_config_assign(config, EVB_CFG_HISTORY_EXCLUDE, &here, excludes[_i].patterns), 0);
    if (excludes[_i].redis)
        ck_assert_int_eq(evbus_config_set(config, "redis.host", "h"), 0);
    int rc = evb_config_check(config);
    ck_assert_int_eq(rc, excludes[_i].says ? EVBUS_EINVAL : 0);
    if (excludes[_i].says) {
        const char *error = evbus_last_error();
        size_t length = strlen(excludes[_i].says);
        ck_assert_msg(!strncmp(error, excludes[_i].says, length), "%s", error);
        ck_assert_msg(!strncmp(error + length, "pattern", 7), "%s", error);
    }
    evbus_config_free(config);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_check");
    TCase *tests = unit_case(suite, "config_check");
    tcase_add_loop_test(tests, fits_together, 0, (int)EVB_COUNT(cases));
    tcase_add_loop_test(tests, exclude, 0, (int)EVB_COUNT(excludes));
    return unit_run(suite);
}
