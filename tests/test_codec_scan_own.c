/* test_codec_scan_own.c - the shorter way of the scanner, for what our own writer makes. */
#include "codec_fixture.h"
#include "unit.h"

/* Our own writer's envelopes take a shorter way through the reader: a space in front of the first
 * key sends them the long one, and nothing else may change. */
START_TEST(both_ways_agree)
{
    evbus_event *event = shape(_i), *own, *general;
    struct evb_buf out, spaced;
    write_event(&out, event, true, 17);
    evb_buf_init(&spaced);
    evb_buf_text(&spaced, "{ ");
    evb_buf_add(&spaced, out.data + 1, out.length - 1);
    for (size_t cut = 0; cut <= out.length; cut++) {
        int error = read_bytes(out.data, cut, EVB_READ_CHECK, &own);
        ck_assert_int_eq(read_bytes(spaced.data, cut ? cut + 1 : 0, EVB_READ_CHECK, &general),
                         error);
        ck_assert_int_eq(error, cut == 0 || cut == out.length ? 0 : EVBUS_EPARSE);
        evbus_event_unref(own == general ? NULL : general);
        evbus_event_unref(own);
    }
    evb_buf_text(&out, "x");
    ck_assert_int_eq(read_bytes(out.data, out.length, EVB_READ_CHECK, &own), EVBUS_EPARSE);
    out.data[out.length - 1] = ' ';
    ck_assert_int_eq(read_bytes(out.data, out.length, EVB_READ_CHECK, &own), 0);
    ck_assert_int_eq(read_bytes(spaced.data, spaced.length, EVB_READ_CHECK, &general), 0);
    event_equal(own, general);
    ck_assert_uint_eq(own->seq, general->seq);
    text_equal(own->node, general->node);
    evbus_event_unref(own);
    evbus_event_unref(general);
    evb_buf_fini(&out);
    evb_buf_fini(&spaced);
    evbus_event_unref(event);
}
END_TEST

#define SEQ   HEAD "               7"
#define IDS   ",\"eventId\":\"e\",\"type\":\"t\",\"version\":\"1.0\",\"timestamp\":\"noon\""
#define PLACE ",\"position\":\"5-7\""

static const char *const short_way[] = {
    SEQ IDS ",\"data\":1}",
    SEQ IDS ",\"data\":{\"a\":[1,\"}\"]}}",
    SEQ IDS ",\"data\":\"a\\n\"" PLACE "}",
    HEAD "1234567890123456" IDS ",\"data\":1}",
    HEAD "7" IDS ",\"data\":1}",
    HEAD "0" IDS ",\"data\":1}",
    "{\"node\":\"x\",\"local\":false,\"seq\":               7" IDS ",\"data\":1}",
    "{\"node\":\"\",\"local\":true,\"seq\":               7" IDS ",\"data\":1}",
    SEQ IDS ",\"source\":\"s\",\"data\":1}",
    SEQ IDS ",\"correlationId\":\"c\",\"data\":1}",
    SEQ IDS ",\"source\":\"s\",\"correlationId\":\"c\",\"replyTo\":\"r\",\"data\":1}",
    SEQ IDS ",\"replyTo\":\"r\",\"deadline\":1734863400123,\"data\":1" PLACE "}",
    SEQ IDS ",\"inReplyTo\":\"i\",\"data\":1}",
};

/* It notes what the long way notes, but for `local` and the spelling. */
START_TEST(short_way_taken)
{
    struct evb_scan own, general;
    for (int check = 0; check <= 1; check++) {
        scan_open(&own, short_way[_i], check);
        scan_open(&general, short_way[_i], check);
        ck_assert(evb_scan_own(&own));
        ck_assert_int_eq(evb_scan_object(&general), 0);
        for (int i = 0; i < EVB_SLOT_COUNT; i++) {
            const struct evb_scan_value *a = &own.slots[i], *b = &general.slots[i];
            if (i == EVB_SLOT_LOCAL)
                continue;
            ck_assert_int_eq(a->kind, b->kind);
            ck_assert_uint_eq(a->length, b->length);
            ck_assert_int_eq(a->escaped, b->escaped);
            ck_assert(!a->kind || a->ptr - own.begin == b->ptr - general.begin);
        }
        ck_assert_ptr_eq(own.p, own.end);
        scan_close(&own);
        scan_close(&general);
    }
}
END_TEST

static const char *const long_way[] = {
    "{\"data\":1}",
    "{\"node\":\"x\"" IDS ",\"data\":1}",
    "{\"node\":\"x\\n\",\"local\":true,\"seq\":7" IDS ",\"data\":1}",
    "{\"node\":\"x\x01,\"local\":true,\"seq\":7" IDS ",\"data\":1}",
    "{\"node\":\"x\",\"local\":null,\"seq\":7" IDS ",\"data\":1}",
    " " SEQ IDS ",\"data\":1}",
    HEAD "" IDS ",\"data\":1}",
    HEAD "-7" IDS ",\"data\":1}",
    HEAD "07" IDS ",\"data\":1}",
    HEAD "7a" IDS ",\"data\":1}",
    HEAD "7.5" IDS ",\"data\":1}",
    HEAD "7 " IDS ",\"data\":1}",
    SEQ ",\"type\":\"t\",\"version\":\"1\",\"timestamp\":\"noon\",\"data\":1}",
    SEQ ",\"eventId\":\"e\",\"version\":\"1\",\"timestamp\":\"noon\",\"data\":1}",
    SEQ ",\"eventId\":\"e\",\"type\":\"t\",\"timestamp\":\"noon\",\"data\":1}",
    SEQ ",\"eventId\":\"e\",\"type\":\"t\",\"version\":\"1\",\"data\":1}",
    SEQ ",\"eventId\":\"e\",\"type\":\"t\",\"version\":\"1\",\"timestamp\":7,\"data\":1}",
    SEQ IDS ",\"source\":\"caf\xc3\xa9\",\"data\":1}",
    SEQ IDS ",\"correlationId\":\"c\",\"source\":\"s\",\"data\":1}",
    SEQ IDS ",\"ttl\":5,\"data\":1}",
    SEQ IDS ",\"attrs\":{},\"data\":1}",
    SEQ IDS ",\"dataBase64\":\"AAEC\"}",
    SEQ IDS ",\"replyTo\":\"r\",\"deadline\":,\"data\":1}",
    SEQ IDS ",\"replyTo\":\"r\",\"deadline\":05,\"data\":1}",
    SEQ IDS ",\"replyTo\":\"r\",\"deadline\":5.5,\"data\":1}",
    SEQ IDS ",\"replyTo\":\"r\",\"inReplyTo\":\"i\",\"data\":1}",
    SEQ IDS ",\"deadline\":5,\"data\":1}",
    SEQ IDS ",\"inReplyTo\":\"i\",\"error\":\"no\",\"data\":1}",
    SEQ IDS ",\"data\": 1}",
    SEQ IDS ",\"data\":1} ",
    SEQ IDS ",\"data\":1" PLACE ",\"sig\":\"s\"}",
    SEQ IDS ",\"data\":nul}",
    SEQ IDS ",\"data\":1",
    SEQ IDS ",\"data\":}",
    SEQ IDS ",\"data\":",
    SEQ IDS "}",
    SEQ IDS ",\"source\":\"s",
};

START_TEST(short_way_left)
{
    struct evb_scan scan;
    scan_open(&scan, long_way[_i], true);
    ck_assert(!evb_scan_own(&scan));
    scan_close(&scan);
}
END_TEST

/* Data that is looked at ends where it ends; else, only the last brace counts. */
START_TEST(short_way_unseen)
{
    static const struct {
        const char *text, *data; /* NULL: not taken */
    } rows[] = {{SEQ IDS ",\"data\":nul}", "nul"},
                {SEQ IDS ",\"data\":1,\"a\":2}", "1,\"a\":2"},
                {SEQ IDS ",\"data\":[}" PLACE "}", "[}"},
                {SEQ IDS ",\"data\":1", NULL},
                {SEQ IDS ",\"data\":}", NULL},
                {SEQ IDS ",\"data\":1} ", NULL}};
    for (size_t i = 0; i < EVB_COUNT(rows); i++) {
        struct evb_scan scan;
        scan_open(&scan, rows[i].text, false);
        ck_assert_int_eq(evb_scan_own(&scan), rows[i].data != NULL);
        if (rows[i].data)
            value_is(&scan.slots[EVB_SLOT_DATA], EVB_KIND_OBJECT, rows[i].data);
        scan_close(&scan);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_scan, own");
    TCase *tests = unit_case(suite, "own");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, both_ways_agree, 0, SHAPES);
    tcase_add_loop_test(tests, short_way_taken, 0, (int)EVB_COUNT(short_way));
    tcase_add_loop_test(tests, short_way_left, 0, (int)EVB_COUNT(long_way));
    tcase_add_test(tests, short_way_unseen);
    return unit_run(suite);
}
