// [source]: where records come from and when they happened.
#include <algorithm>
#include <array>
#include <span>

#include "config/loading.h"
#include "config/units.h"
#include "state/model/ascii.h"

namespace sluice::config {

namespace {

// What can be read as an event time.
constexpr TypeSet kTimeTypes = type_set(model::Type::integer) | type_set(model::Type::decimal) |
                               type_set(model::Type::real) | type_set(model::Type::text);

bool is_alphanumeric(char c) { return model::is_letter(c) || model::is_digit(c); }

// What Kafka allows.
bool is_topic(std::string_view name) {
    return !name.empty() && name.size() <= 249 && name != "." && name != ".." &&
           std::ranges::all_of(
               name, [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

// "0-7,12" as sorted, joined ranges; none where it cannot be read.
std::optional<std::vector<PartitionRange>> read_share(std::string_view text) {
    std::vector<PartitionRange> ranges;
    const auto number = [&text](std::int32_t& value) {
        std::size_t digits = 0;
        value = 0;
        while (digits < text.size() && model::is_digit(text[digits]) && digits < 9) {
            value = value * 10 + (text[digits] - '0');
            ++digits;
        }
        text.remove_prefix(digits);
        return digits > 0;
    };
    const auto skip_blanks = [&text] {
        while (text.starts_with(' ')) {
            text.remove_prefix(1);
        }
    };
    while (true) {
        PartitionRange range;
        skip_blanks();
        if (!number(range.first)) {
            return std::nullopt;
        }
        range.last = range.first;
        if (text.starts_with('-')) {
            text.remove_prefix(1);
            if (!number(range.last) || range.last < range.first) {
                return std::nullopt;
            }
        }
        ranges.push_back(range);
        skip_blanks();
        if (text.empty()) {
            break;
        }
        if (!text.starts_with(',')) {
            return std::nullopt;
        }
        text.remove_prefix(1);
    }
    std::ranges::sort(ranges, {}, &PartitionRange::first);
    std::vector<PartitionRange> joined;
    for (const PartitionRange& range : ranges) {
        if (!joined.empty() && range.first <= joined.back().last + 1) {
            joined.back().last = std::max(joined.back().last, range.last);
        } else {
            joined.push_back(range);
        }
    }
    return joined;
}

std::string print_share(const std::vector<PartitionRange>& ranges) {
    std::string text;
    for (const PartitionRange& range : ranges) {
        text += (text.empty() ? "" : ",") + std::to_string(range.first);
        if (range.last != range.first) {
            text += "-" + std::to_string(range.last);
        }
    }
    return text;
}

class SourceLoader {
 public:
    explicit SourceLoader(Loading& loading)
        : loading_(loading),
          reading_(loading.reading),
          pipeline_(loading.pipeline),
          texts_(loading.texts) {}

    void load(Section& top) {
        Section section = top.table("source");
        Source& source = pipeline_.source;
        if (!top.has("source")) {
            return;  // reported as missing; its required keys would only repeat that
        }
        const auto brokers = section.text("brokers");
        source.brokers = brokers.value_or("");
        if (brokers && brokers->find_first_not_of(" ,") == std::string::npos) {
            reading_.error(section.value_spot("brokers"), "`brokers` is empty",
                           "for instance \"localhost:9092\"");
        }
        load_topics(section);
        load_start(section);
        section.choice("reader");
        section.choice("format");
        load_share(section);
        if (const TomlNode* node = section.find("timestamp")) {
            source.timestamp_from_kafka = text_of(*node) == "kafka";
            if (!source.timestamp_from_kafka) {
                source.timestamp = loading_.compile_at(*node, "`timestamp`");
                if (source.timestamp && (source.timestamp->types() & kTimeTypes) == 0) {
                    reading_.error(node->value, "`timestamp` can never be a number or text");
                }
                texts_.timestamp = recorded(text_of(*node).value_or(""));
            }
        }
        const std::string unit = section.choice("timestamp_unit");
        source.timestamp_unit = unit == "s"    ? TimestampUnit::s
                                : unit == "us" ? TimestampUnit::us
                                : unit == "ns" ? TimestampUnit::ns
                                : unit == "ms" ? TimestampUnit::ms
                                               : TimestampUnit::rfc3339;
        if (source.timestamp_from_kafka && section.has("timestamp_unit")) {
            reading_.warning(section.value_spot("timestamp_unit"),
                             "`timestamp_unit` has no effect: Kafka's timestamps are milliseconds",
                             "it goes with `timestamp`");
        }
        source.out_of_order_ms = *section.duration("out_of_order");
        source.idle_after_ms = section.duration("idle_after");
        source.max_future_skew_ms = section.duration("max_future_skew");
        const auto reaction = [](const std::string& word) {
            return word == "drop" ? OnError::drop
                                  : (word == "stop" ? OnError::stop : OnError::dead_letter);
        };
        source.on_error = reaction(section.choice("on_error"));
        source.on_null = reaction(section.choice("on_null"));
        source.max_bytes = *section.size("max_bytes");
        source.max_depth = static_cast<std::uint32_t>(section.integer("max_depth"));
        source.username = section.text("username").value_or("");
        source.password = loading_.secret(section, "password");
        loading_.check_credentials(section, source.username, source.password, true);
        load_rdkafka(section);
    }

 private:
    void load_topics(Section& section) {
        std::vector<std::string>& topics = pipeline_.source.topics;
        const bool one = section.has("topic");
        const TomlNode* several = section.find("topics");
        const auto take = [&](const std::string& topic, const Spot& spot) {
            if (!is_topic(topic)) {
                reading_.error(spot, ticked(topic) + " is not a topic's name",
                               "letters, digits, '.', '_' and '-', at most 249");
            } else if (std::ranges::find(topics, topic) != topics.end()) {
                reading_.error(spot, "the topic " + ticked(topic) + " is named twice");
            } else {
                topics.push_back(topic);
            }
        };
        if (one && several != nullptr) {
            reading_.error(several->key, "either `topic` or `topics`, not both");
        } else if (several != nullptr) {
            if (several->kind != TomlNode::Kind::array || several->items.empty()) {
                reading_.error(several->value, "`topics` must be a list of names",
                               "for instance topics = [\"a\", \"b\"]");
                return;
            }
            for (const TomlNode& item : several->items) {
                take(text_of(item).value_or(""), item.value);
            }
        } else if (const auto topic = section.text("topic")) {
            take(*topic, section.value_spot("topic"));
            reading_.places["source.topics"] = reading_.places["source.topic"];
        } else if (!one && !section.meant("topic") && !section.meant("topics")) {
            reading_.error(section.header(), "`topic` is missing in [source]",
                           "for instance topic = \"clicks\"");
        }
    }

    void load_start(Section& section) {
        const TomlNode* node = section.find("start");
        if (node == nullptr) {
            return;
        }
        Start& start = pipeline_.source.start;
        const std::string text =
            node->kind == TomlNode::Kind::time ? node->text : text_of(*node).value_or("");
        if (text == "earliest") {
            start.kind = Start::Kind::earliest;
        } else if (text == "latest") {
            start.kind = Start::Kind::latest;
        } else if (const auto time = read_time(text)) {
            start = {Start::Kind::time, *time};
        } else {
            const std::array<std::string_view, 2> words{"earliest", "latest"};
            const std::string near = nearest(text, std::span<const std::string_view>(words));
            reading_.error(node->value, "`start` must be \"earliest\", \"latest\" or a time",
                           near.empty()
                               ? "a time is written \"2024-05-01T00:00:00Z\"; " + time.error()
                               : "did you mean \"" + near + "\"?");
        }
    }

    void load_share(Section& section) {
        const auto text = section.text("partitions");
        if (!text || *text == "all") {
            return;
        }
        const auto share = read_share(*text);
        if (!share) {
            reading_.error(section.value_spot("partitions"),
                           "`partitions` must be \"all\" or numbers and ranges",
                           "for instance \"0-7,12\"");
            return;
        }
        pipeline_.source.share = *share;
        pipeline_.source.partitions = print_share(*share);
        reading_.warning(section.value_spot("partitions"),
                         "with a share of the partitions results are partial, unless keys follow "
                         "partitions");
    }

    void load_rdkafka(Section& section) {
        if (const TomlNode* node = section.find("rdkafka")) {
            if (node->kind != TomlNode::Kind::table) {
                reading_.error(node->value, "[source.rdkafka] must be a table");
            } else {
                flatten_properties(*node, "");
            }
        }
    }

    // Unquoted dots made nested tables of the names; they are joined again.
    void flatten_properties(const TomlNode& table, const std::string& prefix) {
        for (const auto& [key, node] : table.members) {
            const std::string name = prefix.empty() ? key : prefix + "." + key;
            reading_.places["source.rdkafka." + name] = node.key;
            if (node.kind == TomlNode::Kind::table) {
                flatten_properties(node, name);
            } else if (node.kind == TomlNode::Kind::array || node.kind == TomlNode::Kind::time) {
                reading_.error(node.value,
                               ticked(name) + " must be text, a number, or true or false");
            } else if (!pipeline_.source.rdkafka.emplace(name, node.text).second) {
                reading_.error(node.key, ticked(name) + " is written twice");
            }
        }
    }

    Loading& loading_;
    Reading& reading_;
    Pipeline& pipeline_;
    InputTexts& texts_;
};

}  // namespace

void load_source(Loading& loading, Section& top) { SourceLoader(loading).load(top); }

}  // namespace sluice::config
