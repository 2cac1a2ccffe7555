/* test_codec_scan_own.c - the shorter way through the scanner, for the envelopes of our own writer. */
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

int main(void)
{
    Suite *suite = suite_create("codec_scan, own");
    TCase *tests = unit_case(suite, "own");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, both_ways_agree, 0, SHAPES);
    return unit_run(suite);
}
