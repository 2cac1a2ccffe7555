/* test_config_dump.c - the settings as text: every key, its value, where it came from; and it can be
 * read back as a file. */
#include "alloc.h"
#include "config.h"
#include "unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *dump_of(const evbus_config *config)
{
    char *text = evbus_config_dump(config);
    ck_assert_ptr_nonnull(text);
    return text;
}

START_TEST(names_every_key)
{
    evbus_config *config = evbus_config_new();
    char *text = dump_of(config), *line = text;
    for (int i = 0; i < evbus_config_count(); i++) {
        size_t length = strlen(evbus_config_key(i));
        ck_assert_msg(strncmp(line, evbus_config_key(i), length) == 0 && line[length] == ' ',
                      "no %s", evbus_config_key(i));
        char *end = strchr(line, '\n');
        ck_assert_ptr_nonnull(end);
        *end = '\0';
        ck_assert_msg(strstr(line, "# default"), "%s", line);
        line = end + 1;
    }
    ck_assert_str_eq(line, "");
    evbus_string_free(text);
    evbus_config_free(config);
}
END_TEST

START_TEST(can_be_read_back)
{
    static const char *const values[][2] = {{"bus.name", "it's # mine"},
                                            {"redis.host", "'h"},
                                            {"redis.password.file", "/run/a b"},
                                            {"outbox.age", "90s"},
                                            {"redis.password", "CANARY"}};
    char path[] = "/tmp/evbus-dump-XXXXXX";
    evbus_config *config = evbus_config_new(), *again = evbus_config_new();
    for (size_t i = 0; i < EVB_COUNT(values); i++)
        ck_assert_int_eq(evbus_config_set(config, values[i][0], values[i][1]), 0);
    char *text = dump_of(config);
    ck_assert_ptr_null(strstr(text, "CANARY"));
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    FILE *file = fdopen(fd, "w");
    fputs(text, file);
    fclose(file);
    ck_assert_msg(evbus_config_load_file(again, path) == 0, "%s", evbus_last_error());
    remove(path);
    for (int i = 0; i < evbus_config_count(); i++) {
        const char *key = evbus_config_key(i);
        ck_assert_msg(!strcmp(evbus_config_get(again, key), evbus_config_get(config, key)), "%s",
                      key);
    }
    evbus_string_free(text);
    evbus_config_free(again);
    evbus_config_free(config);
}
END_TEST

static void dump_once(bool fails)
{
    evbus_config *config = evbus_config_new();
    char *text = config ? evbus_config_dump(config) : NULL;
    ck_assert(text || (fails && evbus_last_code() == EVBUS_ENOMEM));
    evbus_string_free(text);
    evbus_config_free(config);
}

START_TEST(memory_runs_out)
{
    ck_assert_int_ge(memory_fail_each(dump_once), 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_dump");
    TCase *tests = unit_case(suite, "config_dump");
    tcase_add_test(tests, names_every_key);
    tcase_add_test(tests, can_be_read_back);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
