// The demo's proof: what Redis must hold, what it holds, and every difference between the two.
//
// The exact answer comes from the records alone and from the journal, which decides where windows
// of processing time begin: a record belongs to the window of the last tick at or before its
// offset. Beside that stands a sum that needs no journal: over all windows, each user's clicks and
// spend are what was produced for that user.
#pragma once

#include <hiredis/hiredis.h>

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/demo_traffic.h"
#include "state/model/barrier.h"
#include "state/model/result.h"
#include "state/model/time.h"

namespace sluice::daemon {

// What the job counts and sums.
struct DemoTotal {
    std::uint64_t clicks = 0;
    std::int64_t cents = 0;
    auto operator<=>(const DemoTotal&) const = default;
};

struct DemoPlace {
    model::EventTime window_start = 0;
    std::uint32_t user = 0;
    auto operator<=>(const DemoPlace&) const = default;
};

using DemoAnswer = std::map<DemoPlace, DemoTotal>;

// `barriers`: the whole journal, ascending. Errors: corrupt (a record before the first tick).
model::Result<DemoAnswer> exact_answer(const DemoClicks& clicks, const std::string& topic,
                                       const std::vector<model::Barrier>& barriers,
                                       model::DurationMs window_ms);

// A key of Redis: its fields, sorted, as "name value" words, and whether it expires.
struct DemoEntry {
    std::string fields;
    bool expires = false;
};
using DemoDatabase = std::map<std::string, DemoEntry>;

// What a result looks like there: HSET spend:u17:1714521600000 clicks 3 spend 59.7
std::string key_of(const DemoPlace& place);
std::string fields_of(const DemoTotal& total);

// Every key but the control keys of `pipeline`. Blocks. Errors: unavailable.
model::Result<DemoDatabase> read_demo_database(redisContext* redis, const std::string& pipeline);

struct DemoWindow {
    model::EventTime start = 0;
    std::uint64_t users = 0;  // of the exact answer
    DemoTotal exact;
    DemoTotal redis;  // what can be read as a result
    std::uint64_t differences = 0;
};

struct DemoVerdict {
    std::vector<DemoWindow> windows;  // by start; also those that only Redis knows
    DemoTotal produced, exact, redis;
    std::uint64_t expected = 0;  // (user, window) results
    std::uint64_t found = 0;     // keys
    std::uint64_t missing = 0, surplus = 0, different = 0;
    std::uint64_t wrong_users = 0;      // whose sum over all windows is not what was produced
    std::vector<std::string> examples;  // of differences, a few, in words

    bool holds() const {
        return missing == 0 && surplus == 0 && different == 0 && wrong_users == 0 &&
               produced == redis && expected > 0;
    }
};

DemoVerdict compare_demo(const DemoClicks& clicks, const DemoAnswer& answer,
                         const DemoDatabase& database);

// 1230 cents: "12.3".
std::string money(std::int64_t cents);

}  // namespace sluice::daemon
