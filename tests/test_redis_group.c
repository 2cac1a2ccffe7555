/* test_redis_group.c - names, the command that reads, entries as they come. */
#include "redis_group.h"
#include "err.h"
#include "list.h"
#include "harness/check.h"
#include <evbus.h>
#include <stdlib.h>
#include <string.h>

static struct evb_stream stream;
static struct evb_link link_down;
static struct evb_asks asks;
static struct evb_group_wire wire;
static uint64_t written;

static void setup(void)
{
    struct evb_stream_settings set = {.key_prefix = "p:", .node = "n1", .ttl_ms = 1000};
    ck_assert_int_eq(evb_stream_init(&stream, &set, NULL), 0);
    evb_asks_init(&asks, &link_down, &written);
    wire = (struct evb_group_wire){.consumer = "c", .control = "p:inbox:groups"};
    ck_assert_int_eq(evb_group_wire_init(&wire, &stream, &asks, "n1"), 0);
}

static void teardown(void)
{
    evb_group_wire_fini(&wire);
    evb_stream_fini(&stream);
}

START_TEST(names)
{
    struct evb_group_name name;
    ck_assert_int_eq(evb_group_name_init(&name, &wire, "p:events:job", "g"), 0);
    ck_assert_str_eq(name.key, "p:group:{0}:g:p:events:job");
    ck_assert_str_eq(name.channel, "p:events:job");
    ck_assert_str_eq(name.group, "g");
    ck_assert_str_eq(wire.bell, "p:group:{0}@n1");
    evb_group_name_fini(&name);
    ck_assert_ptr_null(name.key);
}
END_TEST

START_TEST(reads)
{
    const char *keys[] = {"k1", "k2"};
    struct evb_buf out;
    evb_buf_init(&out);
    evb_group_read(&wire, &out, keys, 2, 7, 5000);
    ck_assert_str_eq(out.data,
                     "*15\r\n$10\r\nXREADGROUP\r\n$5\r\nGROUP\r\n$5\r\nevbus\r\n$1\r\nc\r\n"
                     "$5\r\nCOUNT\r\n$1\r\n7\r\n$5\r\nBLOCK\r\n$4\r\n5000\r\n"
                     "$7\r\nSTREAMS\r\n$2\r\nk1\r\n$2\r\nk2\r\n$14\r\np:group:{0}@n1\r\n"
                     "$1\r\n>\r\n$1\r\n>\r\n$1\r\n>\r\n");
    evb_buf_fini(&out);
}
END_TEST

static void never(const struct evb_reply *reply, void *user)
{
    (void)reply;
    (void)user;
    ck_abort_msg("nothing was asked");
}

START_TEST(nobody_to_ask)
{
    struct evb_group_name name;
    const char *entry[] = {"1-1"};
    int more[] = {1};
    ck_assert_int_eq(evb_group_name_init(&name, &wire, "c", "g"), 0);
    ck_assert(!evb_group_announce(&wire, &name, never, NULL));
    ck_assert(!evb_group_settle(&wire, "k", entry, 1, never, NULL));
    ck_assert(!evb_group_requeue(&wire, "k", entry, more, 1, never, NULL));
    ck_assert(!evb_group_takeover(&wire, "k", 1, 1, true, never, NULL));
    ck_assert(!evb_group_renew(&wire, "k", entry, 1, never, NULL));
    ck_assert(!evb_group_own(&wire, "k", 1, never, NULL));
    ck_assert(!evb_group_ring(&wire, never, NULL));
    ck_assert(!evb_group_unbell(&wire, never, NULL));
    evb_group_name_fini(&name);
}
END_TEST

/* An entry with these fields, up to a NULL. */
static struct evb_reply *entry_of(const char *id, const char *const *fields)
{
    static struct evb_reply texts[6], list, id_reply, both;
    static struct evb_reply *items[6], *pair[2] = {&id_reply, &list};
    list = (struct evb_reply){.kind = EVB_REPLY_ARRAY, .item = items};
    for (; fields[list.count]; list.count++) {
        items[list.count] = &texts[list.count];
        texts[list.count] = (struct evb_reply){.kind = EVB_REPLY_STRING,
                                               .text = fields[list.count],
                                               .length = strlen(fields[list.count])};
    }
    id_reply = (struct evb_reply){.kind = EVB_REPLY_STRING, .text = id, .length = strlen(id)};
    both = (struct evb_reply){.kind = EVB_REPLY_ARRAY, .count = 2, .item = pair};
    return &both;
}

static const struct {
    const char *fields[6];
    bool good;
    int attempts;
} entries[] = {
    {{"e", "{}"}, true, 0},
    {{"e", "{}", "a", "3"}, true, 3},
    {{"e", "{}", "a", "-3"}, true, 0},
    {{"e", "{}", "a", "x"}, true, 0},
    {{"f", "{}"}, false, 0},
    {{"e"}, false, 0},
    {{NULL}, false, 0},
};

START_TEST(entries_as_they_come)
{
    struct evb_group_entry entry;
    struct evb_reply *reply = entry_of("1-2", entries[_i].fields);
    ck_assert_int_eq(evb_group_entry_read(&entry, reply), entries[_i].good);
    ck_assert_str_eq(entry.id, "1-2");
    ck_assert_int_eq(entry.attempts, entries[_i].attempts);
    reply->item[1]->kind = EVB_REPLY_NIL; /* it was deleted meanwhile */
    ck_assert(!evb_group_entry_read(&entry, reply));
    ck_assert_str_eq(entry.id, "1-2");
    reply->count = 1;
    ck_assert(!evb_group_entry_read(&entry, reply));
    ck_assert_ptr_null(entry.id);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis group");
    TCase *all = tcase_create("group");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, names);
    tcase_add_test(all, reads);
    tcase_add_test(all, nobody_to_ask);
    tcase_add_loop_test(all, entries_as_they_come, 0, (int)EVB_COUNT(entries));
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
