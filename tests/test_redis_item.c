/* test_redis_item.c - the PUBLISH command of an event, byte by byte, and the memory it is said to
 * take. */
#include "codec.h"
#include "pool.h"
#include "redis_item.h"
#include "unit.h"
#include <stdio.h>

static const char node[] = "0123456789abcdef";

static evbus_event *frozen(const char *type, const char *data, const char *attr)
{
    evbus_event *event = evb_event_make(type, strlen(type), data, strlen(data), true);
    ck_assert_ptr_nonnull(event);
    if (attr)
        ck_assert_int_eq(evbus_event_set_attr(event, "a", attr), 0);
    ck_assert_int_eq(evb_event_freeze(event, node, "test"), 0);
    return event;
}

/* "$n\r\n" at *p: n, and *p behind it. */
static size_t bulk(const char **p)
{
    char *end;
    ck_assert_int_eq(**p, '$');
    size_t n = strtoul(*p + 1, &end, 10);
    ck_assert_int_eq(memcmp(end, "\r\n", 2), 0);
    *p = end + 2;
    return n;
}

static void check_command(const struct evb_item *item, const char *channel,
                          const evbus_event *event)
{
    const char *p = item->bytes, *end = item->bytes + item->length;
    ck_assert_int_eq(memcmp(p, "*3\r\n$7\r\nPUBLISH\r\n", 17), 0);
    p += 17;
    ck_assert_uint_eq(bulk(&p), strlen(channel));
    ck_assert_int_eq(memcmp(p, channel, strlen(channel)), 0);
    p += strlen(channel) + 2;
    size_t length;
    ck_assert_int_eq(memcmp(evb_item_channel(item, &length), channel, strlen(channel)), 0);
    ck_assert_uint_eq(length, strlen(channel));
    size_t payload = bulk(&p);
    ck_assert_ptr_eq(p + payload + 2, end);
    ck_assert_int_eq(memcmp(end - 2, "\r\n", 2), 0);
    ck_assert(item->seq_slot > p && item->seq_slot + EVB_SEQ_WIDTH < end);
    evb_codec_write_seq(item->seq_slot, 1234567);
    evbus_event *back = NULL;
    const char *why = "", *type = strrchr(channel, ':') + 1;
    ck_assert_int_eq(
        evb_codec_read(p, payload, type, strlen(type), 1 << 20, EVB_READ_CHECK, &back, &why), 0);
    ck_assert_uint_eq(back->seq, 1234567);
    ck_assert_str_eq(evbus_event_id(back), evbus_event_id(event));
    ck_assert_str_eq(evbus_event_data(back, NULL), evbus_event_data(event, NULL));
    evbus_event_unref(back);
}

START_TEST(a_command)
{
    char data[5000] = "\"";
    static const size_t lengths[] = {1, 10, 100, 128, 1000, 4990};
    for (size_t i = 0; i < EVB_COUNT(lengths); i++) {
        memset(data + 1, 'x', lengths[i]);
        memcpy(data + 1 + lengths[i], "\"", 2);
        evbus_event *event = frozen("task.created", data, NULL);
        struct evb_item *item = evb_item_encode("evbus:events:", 13, event, true);
        ck_assert_ptr_nonnull(item);
        check_command(item, "evbus:events:task.created", event);
        ck_assert(item->bytes + item->length <= (char *)item + evb_item_size(13, event));
        ck_assert_int_eq(item->expires_ms, INT64_MAX);
        ck_assert_uint_eq(item->seq, 0);
        evb_item_free(item);
        evbus_event_unref(event);
    }
}
END_TEST

/* What quoting makes six times as long was not guessed; it is taken all the same. */
/* Its length may have a digit less. */
START_TEST(words_without_the_last_brace)
{
    static const char head[] = "$4\r\nch:t\r\n";
    char data[1024];
    bool below = false, above = false;
    for (int pad = 1; pad < 1000; pad++) {
        snprintf(data, sizeof data, "{\"x\":%0*d}", pad, 0);
        memset(data + 5, '1', (size_t)pad);
        evbus_event *event = frozen("t", data, NULL);
        struct evb_item *item = evb_item_encode("ch:", 3, event, true);
        struct evb_buf words;
        evb_buf_init(&words);
        evb_item_words(item, &words);
        ck_assert_int_eq(strncmp(words.data, head, sizeof head - 1), 0);
        const char *word = words.data + sizeof head - 1;
        size_t length = bulk(&word);
        ck_assert_ptr_eq(word + length + 2, words.data + words.length);
        ck_assert_str_eq(word + length, "\r\n");
        ck_assert_int_eq(memcmp(word, item->bytes + item->length - length - 3, length), 0);
        ck_assert_int_eq(*word, '{');
        below = below || length == 999;
        above = above || length == 1000;
        evb_buf_fini(&words);
        evb_item_free(item);
        evbus_event_unref(event);
    }
    ck_assert(below && above);
}
END_TEST

START_TEST(quoting_needs_more_than_was_guessed)
{
    char attr[4001];
    memset(attr, '\x01', 4000);
    attr[4000] = '\0';
    evbus_event *event = frozen("a", "{}", attr);
    struct evb_item *item = evb_item_encode("p:", 2, event, false);
    ck_assert_ptr_nonnull(item);
    ck_assert_uint_gt(item->length, 24000);
    check_command(item, "p:a", event);
    evb_item_free(item);
    evbus_event_unref(event);
}
END_TEST

START_TEST(to_a_channel)
{
    char channel[EVB_TEXT_MAX + 1];
    memset(channel, 'c', sizeof channel - 1);
    channel[EVB_TEXT_MAX - 9] = ':';
    channel[EVB_TEXT_MAX] = '\0';
    evbus_event *event = frozen("task.created", "{}", NULL);
    struct evb_item *item =
        evb_item_encode_to((struct evb_text){channel, EVB_TEXT_MAX}, event, false);
    ck_assert_ptr_nonnull(item);
    check_command(item, channel, event);
    ck_assert(item->bytes + item->length <= (char *)item + evb_item_size(EVB_TEXT_MAX, event));
    size_t length;
    ck_assert_int_eq(strncmp(evb_item_channel(item, &length), channel, EVB_TEXT_MAX), 0);
    ck_assert_uint_eq(length, EVB_TEXT_MAX);
    evb_item_free(item);
    evbus_event_unref(event);
}
END_TEST

START_TEST(its_event_goes_with_it)
{
    evbus_event *event = frozen("a", "{}", NULL);
    struct evb_item *item = evb_item_encode("p:", 2, event, true);
    item->event = evbus_event_ref(event);
    ck_assert_int_eq(atomic_load(&event->refs), 2);
    evb_item_free(item);
    ck_assert_int_eq(atomic_load(&event->refs), 1);
    evbus_event_unref(event);
}
END_TEST

static evbus_event *shared;

static void encode_once(bool fails)
{
    struct evb_item *item = evb_item_encode("p:", 2, shared, true);
    ck_assert(item || fails);
    if (item)
        evb_item_free(item);
}

START_TEST(without_memory)
{
    shared = frozen("a", "{\"b\":1}", NULL);
    evbus_event_id(shared);
    ck_assert_int_ge(memory_fail_each(encode_once), 1);
    evbus_event_unref(shared);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis item");
    TCase *tests = unit_case(suite, "item");
    tcase_add_test(tests, a_command);
    tcase_add_test(tests, words_without_the_last_brace);
    tcase_add_test(tests, quoting_needs_more_than_was_guessed);
    tcase_add_test(tests, to_a_channel);
    tcase_add_test(tests, its_event_goes_with_it);
    tcase_add_test(tests, without_memory);
    return unit_run(suite);
}
