/* count.cc - count.c as C++ has it: a lambda for handler, owners that give back. */
#include <evbus.h>
#include <cstdio>
#include <memory>

int main()
{
    const int events = 100;
    int count = 0;
    std::unique_ptr<evbus, void (*)(evbus *)> bus(evbus_open(nullptr), evbus_free);
    evbus_sub *sub = evbus_subscribe(
        bus.get(), "count.*", nullptr,
        [](evbus_sub *, evbus_event *, void *user) -> int {
            ++*static_cast<int *>(user);
            return 0;
        },
        &count);
    for (int i = 0; i < events; i++)
        evbus_publish(bus.get(), "count.one", "{}");
    evbus_close(bus.get(), 10000);
    evbus_unsubscribe(sub);
    std::printf("%d by %s\n", count, evbus_version());
    return count != events || evbus_version_number() != EVBUS_VERSION_NUMBER;
}
