#include "daemon/demo_proof.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "state/model/window.h"

namespace sluice::daemon {
namespace {

constexpr std::size_t kExamples = 10;

void add(DemoTotal& to, const DemoTotal& what) {
    to.clicks += what.clicks;
    to.cents += what.cents;
}

template <class Number>
std::optional<Number> number_in(std::string_view text) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return number;
}

// "spend:u17:1714521600000"
std::optional<DemoPlace> place_in(std::string_view key) {
    if (!key.starts_with("spend:u")) {
        return std::nullopt;
    }
    key.remove_prefix(7);
    const std::size_t colon = key.find(':');
    if (colon == std::string_view::npos) {
        return std::nullopt;
    }
    const auto user = number_in<std::uint32_t>(key.substr(0, colon));
    const auto start = number_in<model::EventTime>(key.substr(colon + 1));
    return user && start ? std::optional(DemoPlace{*start, *user}) : std::nullopt;
}

// "clicks 3 spend 59.7", as far as it can be read: a sum that is wrong shall be seen in the sums,
// too.
DemoTotal total_in(std::string_view fields) {
    DemoTotal total;
    constexpr std::string_view kClicks = "clicks ", kSpend = " spend ";
    const std::size_t spend = fields.find(kSpend);
    if (!fields.starts_with(kClicks) || spend == std::string_view::npos) {
        return total;
    }
    const auto clicks =
        number_in<std::uint64_t>(fields.substr(kClicks.size(), spend - kClicks.size()));
    const std::string_view text = fields.substr(spend + kSpend.size());
    const std::size_t point = std::min(text.find('.'), text.size());
    std::string digits(text.substr(0, point));
    digits += text.substr(std::min(point + 1, text.size()));
    digits.append(2 - std::min<std::size_t>(2, text.size() - std::min(point + 1, text.size())),
                  '0');
    const auto cents = number_in<std::int64_t>(digits);
    return clicks && cents ? DemoTotal{*clicks, *cents} : total;
}

using Reply = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

model::Result<Reply> next_reply(redisContext* redis) {
    void* reply = nullptr;
    if (redisGetReply(redis, &reply) != REDIS_OK) {
        return model::unavailable(std::string("Redis: ") + redis->errstr);
    }
    return Reply(static_cast<redisReply*>(reply), &freeReplyObject);
}

std::string text_of(const redisReply& reply) {
    return reply.str == nullptr ? std::string() : std::string(reply.str, reply.len);
}

std::string fields_in(const redisReply& reply) {
    if (reply.type != REDIS_REPLY_ARRAY) {
        return text_of(reply);  // no hash: Redis says so
    }
    std::vector<std::pair<std::string, std::string>> fields;
    for (std::size_t i = 0; i + 1 < reply.elements; i += 2) {
        fields.emplace_back(text_of(*reply.element[i]), text_of(*reply.element[i + 1]));
    }
    std::ranges::sort(fields);
    std::string text;
    for (const auto& [name, value] : fields) {
        text += (text.empty() ? "" : " ") + name + " " + value;
    }
    return text;
}

// Reads `keys` in one round trip.
model::Status read_entries(redisContext* redis, const std::vector<std::string>& keys,
                           DemoDatabase& database) {
    for (const std::string& key : keys) {
        redisAppendCommand(redis, "HGETALL %b", key.data(), key.size());
        redisAppendCommand(redis, "PTTL %b", key.data(), key.size());
    }
    for (const std::string& key : keys) {
        TRY(fields, next_reply(redis));
        TRY(expiry, next_reply(redis));
        database[key] = {fields_in(*fields), expiry->integer > 0};
    }
    return {};
}

}  // namespace

std::string money(std::int64_t cents) {
    std::string text = std::to_string(cents / 100);
    if (cents % 100 != 0) {
        text += '.';
        text += static_cast<char>('0' + cents % 100 / 10);
        if (cents % 10 != 0) {
            text += static_cast<char>('0' + cents % 10);
        }
    }
    return text;
}

std::string key_of(const DemoPlace& place) {
    return "spend:u" + std::to_string(place.user) + ":" + std::to_string(place.window_start);
}

std::string fields_of(const DemoTotal& total) {
    return "clicks " + std::to_string(total.clicks) + " spend " + money(total.cents);
}

model::Result<DemoAnswer> exact_answer(const DemoClicks& clicks, const std::string& topic,
                                       const std::vector<model::Barrier>& barriers,
                                       model::DurationMs window_ms) {
    DemoAnswer answer;
    for (std::size_t p = 0; p < clicks.size(); ++p) {
        const model::Partition partition{topic, static_cast<std::int32_t>(p)};
        std::optional<model::EventTime> tick;
        auto barrier = barriers.begin();
        for (std::size_t offset = 0; offset < clicks[p].size(); ++offset) {
            for (; barrier != barriers.end(); ++barrier) {
                const auto place = barrier->next_offsets.find(partition);
                if (place != barrier->next_offsets.end() &&
                    place->second > static_cast<model::Offset>(offset)) {
                    break;
                }
                if (barrier->kind == model::BarrierKind::tick) {
                    tick = barrier->time;
                }
            }
            if (!tick) {
                return model::corrupt(to_string(partition) +
                                      ": no tick in the journal before offset " +
                                      std::to_string(offset));
            }
            const DemoClick& click = clicks[p][offset];
            const auto window = model::tumbling_window(*tick, window_ms, 0);
            add(answer[{window.start, click.user}],
                {1, std::int64_t{click.cents} * click.quantity});
        }
    }
    return answer;
}

model::Result<DemoDatabase> read_demo_database(redisContext* redis, const std::string& pipeline) {
    DemoDatabase database;
    const std::string control = "sluice:" + pipeline;
    std::string cursor = "0";
    do {
        redisAppendCommand(redis, "SCAN %s COUNT 1000", cursor.c_str());
        TRY(page, next_reply(redis));
        if (page->type != REDIS_REPLY_ARRAY || page->elements != 2) {
            return model::unavailable("Redis: " + text_of(*page));
        }
        cursor = text_of(*page->element[0]);
        std::vector<std::string> keys;
        for (std::size_t i = 0; i < page->element[1]->elements; ++i) {
            std::string key = text_of(*page->element[1]->element[i]);
            if (key != control && !key.starts_with(control + ":")) {
                keys.push_back(std::move(key));
            }
        }
        TRY(read_entries(redis, keys, database));
    } while (cursor != "0");
    return database;
}

DemoVerdict compare_demo(const DemoClicks& clicks, const DemoAnswer& answer,
                         const DemoDatabase& database) {
    DemoVerdict verdict;
    std::map<model::EventTime, DemoWindow> windows;
    std::map<std::uint32_t, DemoTotal> users;  // produced minus what Redis holds
    const auto differs = [&](DemoWindow* window, std::uint64_t& counter, std::string what) {
        ++counter;
        if (window != nullptr) {
            ++window->differences;
        }
        if (verdict.examples.size() < kExamples) {
            verdict.examples.push_back(std::move(what));
        }
    };
    for (const auto& partition : clicks) {
        for (const DemoClick& click : partition) {
            const DemoTotal one{1, std::int64_t{click.cents} * click.quantity};
            add(verdict.produced, one);
            add(users[click.user], one);
        }
    }
    for (const auto& [place, total] : answer) {
        DemoWindow& window = windows[place.window_start];
        ++window.users;
        add(window.exact, total);
        add(verdict.exact, total);
        const std::string key = key_of(place), fields = fields_of(total);
        const auto entry = database.find(key);
        if (entry == database.end()) {
            differs(&window, verdict.missing, key + ": not in Redis; exact: " + fields);
        } else if (entry->second.fields != fields) {
            differs(&window, verdict.different,
                    key + ": " + entry->second.fields + "; exact: " + fields);
        } else if (!entry->second.expires) {
            differs(&window, verdict.different, key + ": has no expiry");
        }
    }
    for (const auto& [key, entry] : database) {
        const auto place = place_in(key);
        DemoWindow* window = place ? &windows[place->window_start] : nullptr;
        if (place) {
            const DemoTotal total = total_in(entry.fields);
            add(window->redis, total);
            add(verdict.redis, total);
            DemoTotal& rest = users[place->user];
            rest.clicks -= total.clicks;  // may wrap: not zero then either
            rest.cents -= total.cents;
        }
        if (!place || !answer.contains(*place) || key != key_of(*place)) {
            differs(window, verdict.surplus, key + ": in Redis only: " + entry.fields);
        }
    }
    for (auto& [start, window] : windows) {
        window.start = start;
        verdict.windows.push_back(window);
    }
    for (const auto& [user, rest] : users) {
        if (rest != DemoTotal{}) {
            differs(
                nullptr, verdict.wrong_users,
                "u" + std::to_string(user) + ": the sum over all windows is not what was produced");
        }
    }
    verdict.expected = answer.size();
    verdict.found = database.size();
    return verdict;
}

}  // namespace sluice::daemon
