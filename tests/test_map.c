/* test_map.c - 100,000 keys, removal while walking, keys of any bytes, memory that runs out. */
#include "map.h"
#include "unit.h"
#include <evbus.h>
#include <stdio.h>

enum { MANY = 100000 };

static int values[MANY], walked[MANY], freed;

static size_t key_of(int i, char key[32])
{
    return (size_t)snprintf(key, 32, "task.%d.%c", i, 'a' + i % 26);
}

static void put(struct evb_map *map, int i)
{
    char key[32];
    size_t length = key_of(i, key);
    ck_assert_int_eq(evb_map_put(map, key, length, &values[i]), 0);
}

static void *get(struct evb_map *map, int i)
{
    char key[32];
    size_t length = key_of(i, key);
    return evb_map_get(map, key, length);
}

static void count_freed(void *value)
{
    ck_assert_ptr_nonnull(value);
    freed++;
}

static void walk(const char *key, size_t length, void *value, void *map)
{
    char want[32];
    int i = (int)((int *)value - values);
    ck_assert_uint_eq(length, key_of(i, want));
    ck_assert_mem_eq(key, want, length);
    walked[i]++;
    if (map && i % 3) {
        char copy[32];
        memcpy(copy, key, length);
        ck_assert_ptr_eq(evb_map_remove(map, copy, length), value);
    }
}

START_TEST(many_keys)
{
    struct evb_map map;
    long before = atomic_load(&memory_live);
    evb_map_init(&map);
    ck_assert_ptr_null(get(&map, 0));
    for (int i = 0; i < MANY; i++)
        put(&map, i);
    ck_assert_uint_eq(map.count, MANY);
    ck_assert_uint_ge(map.bucket_count, MANY / 2);
    for (int i = 0; i < MANY; i++)
        ck_assert_ptr_eq(get(&map, i), &values[i]);
    evb_map_each(&map, walk, NULL);
    evb_map_each(&map, walk, &map); /* removes two of three as it goes */
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(walked[i], 2);
        ck_assert_ptr_eq(get(&map, i), i % 3 ? NULL : &values[i]);
    }
    ck_assert_uint_eq(map.count, MANY / 3 + 1);
    evb_map_fini(&map, count_freed);
    ck_assert_int_eq(freed, MANY / 3 + 1);
    ck_assert_int_eq(atomic_load(&memory_live), before);
    ck_assert_ptr_null(get(&map, 0));
}
END_TEST

static const struct {
    const char *key;
    size_t length;
} odd[] = {
    {"", 0},
    {"\0", 1},
    {"\0\0", 2},
    {"a", 1},
    {"a\0", 2},
    {"a\0b", 3},
    {"a\0c", 3},
    {"12345678", 8},
    {"12345678\0", 9},
    {"1234567812345678", 16},
    {"12345678\0\0\0\0\0\0\0\0", 16},
    {"\xff\xfe", 2},
};

START_TEST(keys_of_any_bytes)
{
    struct evb_map map;
    evb_map_init(&map);
    for (size_t i = 0; i < EVB_COUNT(odd); i++)
        ck_assert_int_eq(evb_map_put(&map, odd[i].key, odd[i].length, &values[i]), 0);
    ck_assert_uint_eq(map.count, EVB_COUNT(odd));
    for (size_t i = 0; i < EVB_COUNT(odd); i++)
        ck_assert_ptr_eq(evb_map_get(&map, odd[i].key, odd[i].length), &values[i]);
    for (size_t i = 0; i < EVB_COUNT(odd); i++) {
        ck_assert_ptr_eq(evb_map_remove(&map, odd[i].key, odd[i].length), &values[i]);
        ck_assert_ptr_null(evb_map_remove(&map, odd[i].key, odd[i].length));
    }
    ck_assert_uint_eq(map.count, 0);
    evb_map_fini(&map, NULL);
}
END_TEST

START_TEST(put_again_replaces)
{
    struct evb_map map;
    char key[] = "own";
    evb_map_init(&map);
    ck_assert_int_eq(evb_map_put(&map, key, 3, &values[1]), 0);
    ck_assert_int_eq(evb_map_put(&map, key, 3, &values[2]), 0);
    key[0] = 'X'; /* the map has its own copy */
    ck_assert_uint_eq(map.count, 1);
    ck_assert_ptr_eq(evb_map_get(&map, "own", 3), &values[2]);
    evb_map_fini(&map, NULL);
}
END_TEST

/* Against an array, with keys that come and go. */
START_TEST(as_an_array_would)
{
    enum { KEYS = 700 };
    void *model[KEYS] = {0};
    struct evb_map map;
    size_t count = 0;
    uint32_t dice = 20240229;
    char key[32];
    evb_map_init(&map);
    for (int step = 0; step < 200000; step++) {
        int i = (int)(roll(&dice) % KEYS);
        size_t length = key_of(i, key);
        if (roll(&dice) % 2) {
            void *value = &values[roll(&dice) % MANY];
            ck_assert_int_eq(evb_map_put(&map, key, length, value), 0);
            count += !model[i];
            model[i] = value;
        } else {
            ck_assert_ptr_eq(evb_map_remove(&map, key, length), model[i]);
            count -= model[i] != NULL;
            model[i] = NULL;
        }
        ck_assert_uint_eq(map.count, count);
        int other = (int)(roll(&dice) % KEYS);
        ck_assert_ptr_eq(get(&map, other), model[other]);
    }
    evb_map_fini(&map, NULL);
}
END_TEST

/* As many buckets as keys: with a good hash the fullest holds 8 or 9. */
START_TEST(hash_spreads)
{
    enum { BUCKETS = 1 << 16 };
    static unsigned char low[BUCKETS], high[BUCKETS];
    char key[32];
    for (int i = 0; i < BUCKETS; i++) {
        size_t length = key_of(i, key);
        uint64_t hash = evb_hash(key, length);
        ck_assert_uint_eq(evb_hash(key, length), hash);
        low[hash % BUCKETS]++;
        high[hash >> 48]++;
    }
    for (int i = 0; i < BUCKETS; i++) {
        ck_assert_uint_lt(low[i], 20);
        ck_assert_uint_lt(high[i], 20);
    }
}
END_TEST

static void fill(bool fails)
{
    struct evb_map map;
    char key[32];
    size_t done = 0;
    evb_map_init(&map);
    for (int i = 0; i < 200; i++) {
        size_t length = key_of(i, key);
        if (evb_map_put(&map, key, length, &values[i]) == 0) {
            done++;
            continue;
        }
        ck_assert(fails && evbus_last_code() == EVBUS_ENOMEM);
        ck_assert_ptr_null(get(&map, i));
        for (int j = 0; j < i; j++)
            ck_assert_ptr_eq(get(&map, j), &values[j]);
    }
    ck_assert_uint_eq(map.count, done);
    ck_assert_uint_eq(done, fails && memory_failed() ? 199 : 200);
    evb_map_fini(&map, NULL);
}

START_TEST(memory_runs_out)
{
    ck_assert_int_ge(memory_fail_each(fill), 200);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("map");
    TCase *tests = unit_case(suite, "map");
    tcase_add_test(tests, many_keys);
    tcase_add_test(tests, keys_of_any_bytes);
    tcase_add_test(tests, put_again_replaces);
    tcase_add_test(tests, as_an_array_would);
    tcase_add_test(tests, hash_spreads);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
