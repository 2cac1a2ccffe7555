/* test_config_memory.c - settings when memory runs out, and freed memory without secrets in it. */
#include "config.h"
#include "list.h"
#include "harness/check.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CANARY "s3cr3t-CANARY"

static char path[] = "/tmp/evbus-test-XXXXXX";
static int allocations_left;

static void setup(void)
{
    static const char text[] = "redis.password = '" CANARY "'\nkey.prefix = file:\n"
                               "redis.url = redis://:" CANARY "@h:1\n";
    int fd = mkstemp(path);

    clearenv();
    setenv("REDIS_URL", "redis://u:" CANARY "@h:7/1", 1);
    setenv("EVBUS_KEY_PREFIX", "env:", 1);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq((int)write(fd, text, sizeof text - 1), (int)sizeof text - 1);
    close(fd);
}

static void teardown(void)
{
    unlink(path);
}

static int set_url(evbus_config *c)
{
    return evbus_config_set(c, "redis.url", "redis://u:" CANARY "@h:7/1");
}

static int set_password(evbus_config *c)
{
    return evbus_config_set(c, "redis.password", CANARY);
}

static int set_prefix(evbus_config *c)
{
    return evbus_config_set(c, "key.prefix", "new:");
}

static int set_choice(evbus_config *c)
{
    return evbus_config_set(c, "log.level", "debug");
}

static int load_env(evbus_config *c)
{
    return evbus_config_load_env(c, "APP_");
}

static int load_file(evbus_config *c)
{
    return evbus_config_load_file(c, path);
}

static int (*const steps[])(evbus_config *) = {load_file,  load_env,   set_url,
                                               set_choice, set_prefix, set_password};

static void *alloc_some(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

static void *resize_some(void *old, size_t size)
{
    return allocations_left-- > 0 ? realloc(old, size) : NULL;
}

START_TEST(nothing_changes_without_memory)
{
    int error = EVBUS_ENOMEM, tries;

    ck_assert_int_eq(evbus_set_allocator(alloc_some, resize_some, free), 0);
    allocations_left = 1000000;
    evbus_config *config = evbus_config_new();
    ck_assert_int_eq(evbus_config_set(config, "redis.db", "9"), 0);
    char *before = evbus_config_dump(config);
    for (tries = 0; error; tries++) {
        ck_assert_int_lt(tries, 1000);
        allocations_left = tries;
        error = steps[_i](config);
        ck_assert(error == 0 || (error == EVBUS_ENOMEM && evbus_last_code() == EVBUS_ENOMEM));
        allocations_left = 1000000;
        char *after = evbus_config_dump(config);
        ck_assert_int_eq(strcmp(before, after) == 0, error != 0);
        evbus_string_free(after);
    }
    ck_assert_int_gt(tries, 3);
    evbus_string_free(before);
    evbus_config_free(config);
}
END_TEST

START_TEST(results_without_memory)
{
    evbus_config *config, *copy = NULL;
    char *dump = NULL;

    ck_assert_int_eq(evbus_set_allocator(alloc_some, resize_some, free), 0);
    allocations_left = 1000000;
    config = evbus_config_new();
    ck_assert_int_eq(load_file(config), 0);
    for (int n = 0; !copy || !dump; n++) {
        ck_assert_int_lt(n, 1000);
        allocations_left = n;
        copy = evb_config_copy(config);
        ck_assert(copy || evbus_last_code() == EVBUS_ENOMEM);
        allocations_left = n;
        dump = evbus_config_dump(config);
        ck_assert(dump || evbus_last_code() == EVBUS_ENOMEM);
        if (copy && dump)
            break;
        evbus_config_free(copy);
        evbus_string_free(dump);
        copy = NULL;
        dump = NULL;
    }
    evbus_config_free(copy);
    evbus_string_free(dump);
    evbus_config_free(config);
}
END_TEST

/* An allocator that knows the sizes, so that it can look into what it is given back. */
static void release_looking(void *memory)
{
    size_t *block = memory;

    if (!memory)
        return;
    ck_assert_ptr_null(memmem(memory, block[-2], CANARY, strlen(CANARY)));
    free(block - 2);
}

static void *alloc_sized(size_t size)
{
    size_t *block = calloc(1, size + 2 * sizeof *block);

    if (!block)
        return NULL;
    block[0] = size;
    return block + 2;
}

static void *resize_sized(void *old, size_t size)
{
    void *next = alloc_sized(size);
    size_t keep = old ? ((size_t *)old)[-2] : 0;

    if (!next)
        return NULL;
    if (old)
        memcpy(next, old, keep < size ? keep : size);
    release_looking(old);
    return next;
}

START_TEST(secrets_are_wiped)
{
    evbus_config *config;

    ck_assert_int_eq(evbus_set_allocator(alloc_sized, resize_sized, release_looking), 0);
    config = evbus_config_new();
    for (size_t i = 0; i < EVB_COUNT(steps); i++) {
        ck_assert_int_eq(steps[i](config), 0);
        ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD), CANARY);
    }
    ck_assert_int_lt(evbus_config_set(config, "redis.url", "redis://u:" CANARY "@h:x"), 0);
    ck_assert_int_lt(evbus_config_set(config, "redis.url", "redis://u:" CANARY "%zz@h"), 0);
    ck_assert_int_eq(evbus_config_set(config, "redis.password", "other"), 0);
    evbus_config_free(evb_config_copy(config));
    evbus_string_free(evbus_config_dump(config));
    evbus_config_free(config);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config memory");
    TCase *tests = tcase_create("config memory");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, nothing_changes_without_memory, 0, (int)EVB_COUNT(steps));
    tcase_add_test(tests, results_without_memory);
    tcase_add_test(tests, secrets_are_wiped);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
