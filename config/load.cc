#include "config/load.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include "config/address.h"
#include "config/document.h"
#include "config/inputs.h"
#include "config/reader.h"
#include "config/units.h"
#include "state/model/ascii.h"

namespace sluice::config {
namespace {

constexpr model::DurationMs kLeastProcessingWindow = 100;

// What can be read as an event time.
constexpr TypeSet kTimeTypes = type_set(model::Type::integer) | type_set(model::Type::decimal) |
                               type_set(model::Type::real) | type_set(model::Type::text);

// Names that templates give a meaning of their own.
constexpr std::array<std::string_view, 7> kTemplateNames{"pipeline", "reduce", "window", "final",
                                                         "complete", "rev",    "share"};

bool is_alphanumeric(char c) { return model::is_letter(c) || model::is_digit(c); }

// [a-z0-9][a-z0-9-]{0,62}
bool is_pipeline_name(std::string_view name) {
    return !name.empty() && name.size() <= 63 && name.front() != '-' &&
           std::ranges::all_of(
               name, [](char c) { return model::is_lower(c) || model::is_digit(c) || c == '-'; });
}

// [a-z_][A-Za-z0-9_]{0,62}, ids also '-'
bool is_name(std::string_view name, bool dash) {
    return !name.empty() && name.size() <= 63 &&
           (model::is_lower(name.front()) || name.front() == '_') &&
           std::ranges::all_of(name, [dash](char c) {
               return is_alphanumeric(c) || c == '_' || (dash && c == '-');
           });
}

// What Kafka allows.
bool is_topic(std::string_view name) {
    return !name.empty() && name.size() <= 249 && name != "." && name != ".." &&
           std::ranges::all_of(
               name, [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

std::string hash_of(std::string_view bytes) {
    std::array<char, 17> buffer{};
    std::snprintf(buffer.data(), buffer.size(), "%016llx",
                  static_cast<unsigned long long>(XXH3_64bits(bytes.data(), bytes.size())));
    return std::string(buffer.data(), 16);
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

// What is recorded of an expression; of a wrong one, what was written.
std::string recorded(std::string_view expression) {
    return canonical(expression).value_or(std::string(expression));
}

class Loader {
 public:
    Loader(Reading& reading, const std::string& path, const Environment& environment)
        : reading_(reading), environment_(environment) {
        std::error_code error;
        folder_ = std::filesystem::absolute(path, error).parent_path();
        pipeline_.path = path;
    }

    Pipeline load(const TomlNode& root) {
        Section top(reading_, &root, "", "", Spot{});
        load_name(top);
        load_source(top);
        load_steps(top);
        load_reductions(top);
        load_sink(top);
        load_state(top);
        load_savepoint(top);
        load_dead_letter(top);
        load_http(top);
        pipeline_.workers = static_cast<int>(top.table("threads").integer("workers"));
        Section log = top.table("log");
        pipeline_.log.level = log.choice("level");
        pipeline_.log.format = log.choice("format");
        check_shared_keys();
        return std::move(pipeline_);
    }

    const InputTexts& texts() const { return texts_; }

 private:
    void load_name(Section& top) {
        const auto name = top.text("name");
        if (name && !is_pipeline_name(*name)) {
            reading_.error(top.value_spot("name"),
                           "`name` may hold a-z, 0-9 and '-', at most 63, and begins with a letter "
                           "or a digit");
        }
        pipeline_.name = name.value_or("");
    }

    // Compiles the expression that `node` holds; reports at the character that is wrong.
    std::optional<Program> compile_at(const TomlNode& node, const std::string& what,
                                      bool filter = false) {
        const auto text = text_of(node);
        if (!text) {
            reading_.error(node.value, what + " must be an expression in quotes, not " +
                                           std::string(kind_name(node.kind)));
            return std::nullopt;
        }
        auto program =
            filter ? compile_filter(*text, pipeline_.fields) : compile(*text, pipeline_.fields);
        if (!program) {
            report(node, program.error());
            return std::nullopt;
        }
        return std::move(*program);
    }

    void report(const TomlNode& node, const ExpressionError& error) {
        reading_.error(reading_.spot_in(node, error.column, error.length), error.message,
                       error.hint);
    }

    void load_source(Section& top) {
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
                source.timestamp = compile_at(*node, "`timestamp`");
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
        source.password = load_secret(section, "password");
        check_credentials(section, source.username, source.password, true);
        load_rdkafka(section);
    }

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

    Secret load_secret(Section& section, std::string_view key) {
        constexpr std::array<std::string_view, 3> kKinds{"credential", "file", "env"};
        Secret secret;
        const TomlNode* node = section.find(key);
        if (node == nullptr) {
            return secret;
        }
        const std::string forms = "{ credential = \"…\" }, { file = \"…\" } or { env = \"…\" }";
        if (node->kind != TomlNode::Kind::table) {
            reading_.error(node->value, "a secret is a reference, never written into the file",
                           ticked(key) + " = " + forms);
            // The line itself must not be shown: it holds the secret.
            hidden_lines_.insert({node->value.origin, node->value.line});
            return secret;
        }
        if (node->members.size() != 1) {
            reading_.error(node->value, ticked(key) + " takes exactly one of " + forms);
            return secret;
        }
        const auto& [kind, value] = node->members.front();
        const auto text = text_of(value);
        const auto found = std::ranges::find(kKinds, kind);
        if (found == kKinds.end()) {
            const std::string near = nearest(kind, std::span<const std::string_view>(kKinds));
            reading_.error(value.key, "unknown kind of secret " + ticked(kind),
                           near.empty() ? forms : "did you mean `" + near + "`?");
            return secret;
        }
        if (!text || text->empty()) {
            reading_.error(value.value, ticked(kind) + " must be text in quotes");
            return secret;
        }
        secret.name = *text;
        if (*found == "file") {
            secret.kind = Secret::Kind::file;
            secret.name = (folder_ / *text).lexically_normal().string();
        } else if (*found == "credential") {
            secret.kind = Secret::Kind::credential;
            if (text->find('/') != std::string::npos || *text == "..") {
                reading_.error(value.value, "a credential's name holds no '/'",
                               "for a path write { file = \"…\" }");
            }
        } else {
            secret.kind = Secret::Kind::environment;
        }
        return secret;
    }

    void check_credentials(Section& section, const std::string& username, const Secret& password,
                           bool both) {
        if (!username.empty() && !section.has("password")) {
            reading_.error(section.value_spot("username"), "`username` without `password`",
                           "add password = { credential = \"…\" }");
        }
        if (both && username.empty() && password.kind != Secret::Kind::none) {
            reading_.error(section.value_spot("password"), "`password` without `username`");
        }
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

    void load_steps(Section& top) {
        const TomlNode* steps = top.find("step");
        if (steps == nullptr) {
            return;
        }
        if (steps->kind != TomlNode::Kind::array ||
            !std::ranges::all_of(steps->items, [](const TomlNode& item) {
                return item.kind == TomlNode::Kind::table;
            })) {
            reading_.error(steps->value, "steps are written as [[step]], with two brackets");
            return;
        }
        for (const TomlNode& item : steps->items) {
            load_step(item);
        }
    }

    void load_step(const TomlNode& item) {
        Section section(reading_, &item, "step", "step", item.value);
        if (item.members.size() != 1) {
            // A key that was lost to a syntax error has been reported.
            if (!item.members.empty() || reading_.lost_keys.empty()) {
                reading_.error(
                    item.value,
                    item.members.empty()
                        ? "an empty [[step]]"
                        : "each [[step]] has exactly one key: steps go on in order",
                    "write filter = \"…\" or set = { … }, each under a [[step]] of its own");
            }
        }
        Step step;
        InputTexts::Step texts;
        reading_.places["step." + std::to_string(pipeline_.steps.size() + 1)] =
            item.members.empty() ? item.key : item.members.front().second.key;
        if (const TomlNode* node = section.find("filter")) {
            step.filter = compile_at(*node, "`filter`", true);
            step.text = text_of(*node).value_or("");
            texts.filter = recorded(step.text);
        }
        if (const TomlNode* node = section.find("set")) {
            load_set(*node, step, texts);
        }
        pipeline_.steps.push_back(std::move(step));
        texts_.steps.push_back(std::move(texts));
    }

    struct SetMember {
        std::vector<FieldSource::Segment> path;
        std::string name;
        const TomlNode* node;
    };

    // Unquoted dots made nested tables of a path; a quoted name may hold a path as well.
    void collect_set(const TomlNode& table, const SetMember& above,
                     std::vector<SetMember>& members) {
        for (const auto& [key, node] : table.members) {
            SetMember member = above;
            member.name += (member.name.empty() ? "" : ".") + key;
            member.node = &node;
            const auto path = parse_path(key);
            if (!path) {
                reading_.error(node.key,
                               ticked(key) + " is not a field's path: " + path.error().message,
                               path.error().hint);
                continue;
            }
            std::ranges::copy(*path, std::back_inserter(member.path));
            if (node.kind == TomlNode::Kind::table) {
                collect_set(node, member, members);
            } else {
                members.push_back(std::move(member));
            }
        }
    }

    // All members are computed from the record before the step, so all are compiled before the
    // first path gets its new meaning.
    void load_set(const TomlNode& table, Step& step, InputTexts::Step& texts) {
        if (table.kind != TomlNode::Kind::table || table.members.empty()) {
            reading_.error(table.value, "`set` must be a table of expressions",
                           "for instance set = { amount = \"price * quantity\" }");
            return;
        }
        std::vector<SetMember> members;
        collect_set(table, {}, members);
        std::vector<std::optional<Program>> programs;
        for (const SetMember& member : members) {
            programs.push_back(compile_at(*member.node, ticked(member.name)));
            const std::string text = text_of(*member.node).value_or("");
            step.text += (step.text.empty() ? "" : ", ") + member.name + " = " + text;
            texts.set.emplace_back(member.name, recorded(text));
        }
        for (std::size_t i = 0; i < members.size(); ++i) {
            const std::uint32_t column = pipeline_.fields.assign(
                members[i].path, programs[i] ? programs[i]->types() : kAnyType);
            if (programs[i]) {
                step.set.push_back({column, std::move(*programs[i]), members[i].name});
            }
        }
    }

    void load_reductions(Section& top) {
        const TomlNode* node = top.find("reduce");
        if (node == nullptr) {
            return;
        }
        if (node->kind != TomlNode::Kind::table) {
            reading_.error(node->value, "reductions are written as [reduce.ID]");
            return;
        }
        if (node->members.empty()) {
            reading_.error(node->value, "there is no reduction", "write [reduce.ID] with an id");
        }
        for (const auto& [id, table] : node->members) {
            if (table.kind != TomlNode::Kind::table) {
                reading_.error(table.key, "reductions are written as [reduce.ID]",
                               "the id is missing: [reduce.spend]");
                break;
            }
            if (!is_name(id, true)) {
                reading_.error(table.key, ticked(id) + " cannot be the id of a reduction",
                               "a-z or _ first, then letters, digits, _ and -, at most 63");
            }
            reading_.places["reduce." + id] = table.key;
            Section section(reading_, &table, "reduce.*", "reduce." + id, table.value);
            load_reduction(section, id, table);
        }
    }

    void load_reduction(Section& section, const std::string& id, const TomlNode& table) {
        Reduction reduction;
        InputTexts::Reduction texts;
        reduction.id = id;
        if (const TomlNode* node = section.find("filter")) {
            reduction.filter = compile_at(*node, "`filter`", true);
            texts.filter = recorded(text_of(*node).value_or(""));
        }
        load_key(section, reduction, texts);
        reduction.time =
            section.choice("time") == "processing" ? TimeKind::processing : TimeKind::event;
        load_window(section, reduction);
        reduction.allowed_lateness_ms = *section.duration("allowed_lateness");
        section.choice("late");
        section.integer("max_keys");
        load_emit(section);
        load_values(section, reduction);
        reduction.ttl_ms = section.duration("ttl");
        reduction.ttl_from =
            section.choice("ttl_from") == "window" ? TtlFrom::window : TtlFrom::write;
        reduction.null_key = section.choice("null_key") == "keep" ? NullKey::keep : NullKey::drop;
        reduction.suppress_incomplete = section.boolean("suppress_incomplete");
        load_write(section, reduction, texts);
        check_reduction(section, reduction);
        write_spots_.push_back(section.has("write") ? section.value_spot("write") : table.value);
        pipeline_.reductions.push_back(std::move(reduction));
        texts_.reductions.push_back(std::move(texts));
    }

    void load_key(Section& section, Reduction& reduction, InputTexts::Reduction& texts) {
        const TomlNode* node = section.find("key");
        if (node == nullptr) {
            return;
        }
        if (node->kind == TomlNode::Kind::table) {
            for (const auto& [name, expression] : node->members) {
                take_key_part(name, expression.key, expression, reduction, texts);
            }
            return;
        }
        if (node->kind != TomlNode::Kind::array) {
            const auto text = text_of(*node);
            reading_.error(node->value, "`key` must be a list",
                           "write key = [\"" + text.value_or("user_id") + "\"]");
            // It goes on under the name that was meant, so that templates are judged by it.
            reduction.key.push_back({text.value_or(""), Program()});
            texts.key.emplace_back();
            return;
        }
        for (const TomlNode& item : node->items) {
            if (item.kind == TomlNode::Kind::table) {
                for (const auto& [name, expression] : item.members) {
                    take_key_part(name, expression.key, expression, reduction, texts);
                }
            } else if (const auto text = text_of(item)) {
                if (is_name(*text, false)) {
                    take_key_part(*text, item.value, item, reduction, texts);
                } else {
                    std::string last = text->substr(text->rfind('.') + 1);
                    reading_.error(item.value, ticked(*text) + " is not the name of a field",
                                   "give it one: { " + (is_name(last, false) ? last : "name") +
                                       " = \"" + *text + "\" }");
                    reduction.key.push_back({last, Program()});
                    texts.key.emplace_back();
                }
            } else {
                reading_.error(item.value,
                               "a part of the key is a field's name or { name = \"expression\" }");
            }
        }
    }

    void take_key_part(const std::string& name, const Spot& spot, const TomlNode& expression,
                       Reduction& reduction, InputTexts::Reduction& texts) {
        check_template_name(name, spot);
        if (std::ranges::find(reduction.key, name, &KeyPart::name) != reduction.key.end()) {
            reading_.error(spot, "the key has two parts named " + ticked(name));
        }
        auto program = compile_at(expression, ticked(name));
        reduction.key.push_back({name, program ? std::move(*program) : Program()});
        texts.key.push_back(recorded(text_of(expression).value_or("")));
    }

    void check_template_name(const std::string& name, const Spot& spot) {
        if (!is_name(name, false)) {
            reading_.error(spot, ticked(name) + " is not a name",
                           "a-z or _ first, then letters, digits and _, at most 63");
        } else if (std::ranges::find(kTemplateNames, name) != kTemplateNames.end()) {
            reading_.error(spot, ticked(name) + " has a meaning of its own in templates",
                           "choose another name");
        }
    }

    void load_window(Section& section, Reduction& reduction) {
        const TomlNode* node = section.find("window");
        if (node == nullptr) {
            return;
        }
        if (node->kind != TomlNode::Kind::table) {
            const bool none = text_of(*node) == "none";
            reading_.error(node->value,
                           none ? "`window` = \"none\" is not available in this version"
                                : "`window` must be a table",
                           none ? "this version has { tumbling = \"15s\" }"
                                : "for instance window = { tumbling = \"15s\" }");
            return;
        }
        const std::size_t before = reading_.problems.size();
        Section window(reading_, node, "reduce.*.window", section.path() + ".window", node->value);
        const bool reported = reading_.problems.size() > before;
        if (!window.has("tumbling")) {
            if (!reported) {
                reading_.error(node->value, "the window has no length",
                               "write window = { tumbling = \"15s\" }");
            }
            return;
        }
        reduction.window_ms = window.duration("tumbling").value_or(0);
        reduction.offset_ms = *window.duration("offset");
        if (reduction.window_ms > 0 && reduction.offset_ms >= reduction.window_ms) {
            reading_.error(window.value_spot("offset"),
                           "`offset` must be shorter than the window (" +
                               print_duration(reduction.window_ms) + ")",
                           "the same grid: \"" +
                               print_duration(reduction.offset_ms % reduction.window_ms) + "\"");
        }
    }

    void load_emit(Section& section) {
        const TomlNode* node = section.find("emit");
        if (node == nullptr || text_of(*node) == "final") {
            return;
        }
        if (node->kind == TomlNode::Kind::table && node->find("every") != nullptr) {
            reading_.error(node->value, "`emit` = { every = … } is not available in this version",
                           "this version has \"final\"");
            return;
        }
        reading_.error(node->value, "`emit` must be \"final\"", "the default is \"final\"");
    }

    void load_values(Section& section, Reduction& reduction) {
        const TomlNode* node = section.find("values");
        if (node == nullptr) {
            return;
        }
        if (node->kind != TomlNode::Kind::table || node->members.empty()) {
            reading_.error(node->value, "`values` must be a table of results",
                           "for instance values = { clicks = \"count()\" }");
            return;
        }
        for (const auto& [name, expression] : node->members) {
            reading_.places[section.path() + ".values." + name] = expression.key;
            check_template_name(name, expression.key);
            if (std::ranges::find(reduction.key, name, &KeyPart::name) != reduction.key.end()) {
                reading_.error(expression.key,
                               ticked(name) + " names a part of the key and a value",
                               "templates tell them apart by name; rename one");
            }
            const auto text = text_of(expression);
            if (!text) {
                reading_.error(expression.value, ticked(name) +
                                                     " must be an expression in quotes, not " +
                                                     std::string(kind_name(expression.kind)));
                continue;
            }
            auto program = compile_value(*text, pipeline_.fields, reduction.calls);
            if (!program) {
                report(expression, program.error());
                // Templates may still name it.
                reduction.values.push_back({name, ValueProgram{}, *text});
                continue;
            }
            reduction.values.push_back({name, std::move(*program), recorded(*text)});
        }
    }

    void load_write(Section& section, Reduction& reduction, InputTexts::Reduction& texts) {
        TemplateNames names;
        for (const KeyPart& part : reduction.key) {
            names.key.push_back(part.name);
        }
        for (const ResultValue& value : reduction.values) {
            names.values.push_back(value.name);
        }
        names.share = pipeline_.source.partitions;
        const TomlNode* node = section.find("write");
        if (node == nullptr) {
            reduction.write.push_back(default_command(names));
            return;
        }
        std::vector<const TomlNode*> commands;
        if (node->kind == TomlNode::Kind::array) {
            for (const TomlNode& item : node->items) {
                commands.push_back(&item);
            }
        } else {
            commands.push_back(node);
        }
        if (commands.empty()) {
            reading_.error(node->value, "`write` is empty", "leave it out to have the default");
        }
        for (const TomlNode* command : commands) {
            const auto text = text_of(*command);
            if (!text) {
                reading_.error(command->value, "a command is text in quotes",
                               "for instance \"SET spend:{user_id} {spend}\"");
                continue;
            }
            auto parsed = parse_command(*text, names);
            if (!parsed) {
                report(*command, parsed.error());
                continue;
            }
            if (!names_window(*parsed)) {
                reading_.warning(command->value,
                                 "no key of this command names the window: each window overwrites "
                                 "the one before",
                                 "add {window.start} to the key");
            }
            if (!parsed->idempotent && reduction.allowed_lateness_ms > 0) {
                reading_.error(command->value,
                               "a command whose repetition changes the result cannot be combined "
                               "with `allowed_lateness`",
                               "write absolute values, for instance with HSET or SET");
            }
            texts.write.push_back(*text);
            reduction.write.push_back(std::move(*parsed));
        }
    }

    void check_reduction(Section& section, const Reduction& reduction) {
        if (reduction.time == TimeKind::processing) {
            if (reduction.allowed_lateness_ms > 0) {
                reading_.error(section.value_spot("allowed_lateness"),
                               "nothing is late in processing time: `allowed_lateness` must be 0s",
                               "leave it out, or use time = \"event\"");
            }
            if (reduction.window_ms > 0 && reduction.window_ms < kLeastProcessingWindow) {
                reading_.error(section.value_spot("window"),
                               "a window in processing time must be at least 100ms long");
            }
        } else if (reduction.ttl_ms && reduction.ttl_from == TtlFrom::window &&
                   *reduction.ttl_ms <=
                       reduction.allowed_lateness_ms + pipeline_.source.out_of_order_ms) {
            reading_.warning(section.value_spot("ttl"),
                             "results expire before they are written: they come " +
                                 print_duration(reduction.allowed_lateness_ms +
                                                pipeline_.source.out_of_order_ms) +
                                 " after the window's end",
                             "a longer ttl, or ttl_from = \"write\"");
        }
    }

    void check_shared_keys() {
        const std::vector<Reduction>& reductions = pipeline_.reductions;
        for (std::size_t b = 1; b < reductions.size(); ++b) {
            for (std::size_t a = 0; a < b; ++a) {
                if (share_key(reductions[a], reductions[b])) {
                    reading_.error(write_spots_[b],
                                   "[reduce." + reductions[b].id +
                                       "] can write the same Redis key as [reduce." +
                                       reductions[a].id + "]",
                                   "begin the keys with {reduce}: or another text of their own");
                }
            }
        }
    }

    bool share_key(const Reduction& a, const Reduction& b) const {
        for (const CommandTemplate& command_a : a.write) {
            for (const CommandTemplate& command_b : b.write) {
                if (may_share_key(command_a, a.id, command_b, b.id, pipeline_.name)) {
                    return true;
                }
            }
        }
        return false;
    }

    void load_sink(Section& top) {
        Section section = top.table("sink");
        if (!top.has("sink")) {
            return;
        }
        Sink& sink = pipeline_.sink;
        if (const auto url = section.text("redis")) {
            auto address = read_redis_address(*url);
            if (!address) {
                reading_.error(section.value_spot("redis"), "`redis`: " + address.error().message,
                               address.error().hint);
                if (url->find('@') != std::string::npos) {
                    const Spot spot = section.value_spot("redis");
                    hidden_lines_.insert({spot.origin, spot.line});
                }
            } else {
                sink.url = *url;
                sink.host = address->host;
                sink.port = address->port;
                sink.unix_path = address->unix_path;
                sink.database = address->database;
            }
        }
        sink.username = section.text("username").value_or("");
        sink.password = load_secret(section, "password");
        check_credentials(section, sink.username, sink.password, false);
        sink.connections = static_cast<int>(section.integer("connections"));
        sink.result_retention_ms = *section.duration("result_retention");
        sink.result_retention_bytes = *section.size("result_retention_bytes");
        section.integer("replicas");
    }

    void load_state(Section& top) {
        Section section = top.table("state");
        State& state = pipeline_.state;
        if (section.has("directory")) {
            if (const auto directory = section.text("directory")) {
                state.directory = (folder_ / *directory).lexically_normal().string();
                if (directory->empty()) {
                    reading_.error(section.value_spot("directory"), "`directory` is empty");
                }
            }
        } else {
            state.directory = default_directory(section);
        }
        while (state.directory.size() > 1 && state.directory.ends_with('/')) {
            state.directory.pop_back();
        }
        Section checkpoint = section.table("checkpoint");
        state.checkpoint_every_ms = *checkpoint.duration("every");
        state.checkpoint_keep = static_cast<int>(checkpoint.integer("keep"));
        state.checkpoint_max_bytes = checkpoint.size("max_bytes");
        state.verify_full = section.choice("verify") == "full";
        load_memory(section);
        state.reserve_bytes = *section.size("reserve");
        const std::string io = section.choice("io");
        state.io = io == "io_uring"  ? IoBackend::io_uring
                   : io == "threads" ? IoBackend::threads
                                     : IoBackend::automatic;
    }

    void load_savepoint(Section& top) {
        Section section = top.table("savepoint");
        Savepoint& savepoint = pipeline_.savepoint;
        if (const auto directory = section.text("directory")) {
            if (directory->empty()) {
                reading_.error(section.value_spot("directory"), "`directory` is empty");
            }
            auto path = (std::filesystem::path(pipeline_.state.directory) / *directory)
                            .lexically_normal()
                            .string();
            while (path.size() > 1 && path.ends_with('/')) {
                path.pop_back();
            }
            if (path != pipeline_.state.directory + "/savepoints") {
                savepoint.directory = std::move(path);
            }
        }
        savepoint.on_stop = section.boolean("on_stop");
        savepoint.copy = section.boolean("copy");
        savepoint.bytes_per_second = section.size("rate");
        savepoint.timeout_ms = *section.duration("timeout");
    }

    std::string default_directory(Section& section) {
        if (const auto given = environment_.variable("STATE_DIRECTORY"); given && !given->empty()) {
            return given->substr(0, given->find(':'));
        }
        const auto home = environment_.variable("HOME");
        if (!home || home->empty()) {
            reading_.error(section.header(), "there is no place for state: $HOME is not set",
                           "write [state] directory = \"…\"");
            return "";
        }
        return *home + "/.local/state/sluice/" + pipeline_.name;
    }

    void load_memory(Section& section) {
        constexpr std::uint64_t kLeastMemory = 16ULL << 20;
        std::uint64_t& memory = pipeline_.state.memory_bytes;
        const TomlNode* node = section.find("memory");
        std::string text(find_setting("state", "memory")->standard);
        if (node != nullptr) {
            text = node->kind == TomlNode::Kind::integer ? node->text : text_of(*node).value_or("");
        }
        if (const auto share = read_percentage(text)) {
            memory = static_cast<std::uint64_t>(
                static_cast<double>(environment_.memory_limit_bytes) * *share / 100);
        } else if (const auto size = read_size(text); size && !text.ends_with('%')) {
            memory = *size;
        } else {
            reading_.error(section.value_spot("memory"),
                           "`memory`: " + (text.ends_with('%') ? share.error() : size.error()),
                           "for instance \"70%\" or \"2GiB\"");
            return;
        }
        if (node != nullptr && memory < kLeastMemory) {
            reading_.error(node->value, "`memory` must be at least " + print_size(kLeastMemory));
        } else if (memory > environment_.memory_limit_bytes &&
                   environment_.memory_limit_bytes > 0) {
            reading_.warning(section.value_spot("memory"),
                             "more memory than there is: the limit is " +
                                 print_size(environment_.memory_limit_bytes));
        }
    }

    void load_dead_letter(Section& top) {
        Section section = top.table("dead_letter");
        DeadLetter& dead_letter = pipeline_.dead_letter;
        const auto file = section.text("file");
        if (file && file->empty()) {
            reading_.error(section.value_spot("file"), "`file` is empty");
        }
        dead_letter.file = (std::filesystem::path(pipeline_.state.directory) / file.value_or(""))
                               .lexically_normal()
                               .string();
        dead_letter.max_bytes = *section.size("max_bytes");
        dead_letter.drop_when_full = section.choice("on_full") == "drop";
    }

    void load_http(Section& top) {
        Section section = top.table("http");
        const auto listen = section.text("listen");
        Http& http = pipeline_.http;
        if (!listen) {
            return;
        }
        if (*listen == "off") {
            http.host.reset();
            return;
        }
        auto address = read_listen_address(*listen);
        if (!address) {
            reading_.error(section.value_spot("listen"), "`listen`: " + address.error().message,
                           address.error().hint);
            return;
        }
        http.host = address->host;
        http.port = address->port;
    }

 public:
    const std::set<std::pair<std::uint32_t, std::uint32_t>>& hidden_lines() const {
        return hidden_lines_;
    }

 private:
    Reading& reading_;
    const Environment& environment_;
    std::filesystem::path folder_;
    Pipeline pipeline_;
    InputTexts texts_;
    std::vector<Spot> write_spots_;                                   // beside reductions
    std::set<std::pair<std::uint32_t, std::uint32_t>> hidden_lines_;  // they may hold a secret
};

Diagnostic to_diagnostic(const Loaded& loaded, const Problem& problem, bool show_line) {
    Diagnostic diagnostic;
    const Spot& spot = problem.spot;
    diagnostic.file = spot.origin == 0 ? loaded.file : "--set";
    // There are as many lines as overrides, so to speak: the n-th is line n.
    diagnostic.line = spot.origin == 0 ? spot.line : spot.origin;
    diagnostic.column = spot.column;
    diagnostic.length = spot.length;
    diagnostic.severity = problem.severity;
    diagnostic.message = problem.message;
    diagnostic.hint = problem.hint;
    if (show_line && spot.origin < loaded.sources.size()) {
        diagnostic.source_line = std::string(line_of(loaded.sources[spot.origin], spot.line));
    }
    return diagnostic;
}

}  // namespace

Diagnostic Loaded::at(std::string_view key, Severity severity, std::string message,
                      std::string hint) const {
    Problem problem{Spot{}, severity, std::move(message), std::move(hint)};
    std::string name(key);
    while (true) {
        if (const auto found = places.find(name); found != places.end()) {
            problem.spot = found->second;
            break;
        }
        const std::size_t dot = name.rfind('.');
        if (dot == std::string::npos) {
            break;
        }
        name.resize(dot);
    }
    return to_diagnostic(*this, problem, true);
}

Loaded load_text(std::string_view text, const std::string& path,
                 const std::vector<std::string>& overrides, const Environment& environment) {
    Loaded loaded;
    loaded.file = path;
    Reading reading;
    reading.sources.emplace_back(text);
    Document document = parse_document(text, 0);
    std::uint32_t origin = 0;
    for (const std::string& override_text : overrides) {
        ++origin;
        reading.sources.push_back(override_text);
        Document over = parse_override(override_text, origin);
        apply_override(document.root, over.root);
        std::ranges::move(over.errors, std::back_inserter(document.errors));
    }
    for (SyntaxError& error : document.errors) {
        reading.error(error.spot, std::move(error.message), std::move(error.hint));
    }
    reading.lost_keys = std::move(document.lost_keys);
    reading.lost_header = document.lost_header;

    Loader loader(reading, path, environment);
    Pipeline pipeline = loader.load(document.root);
    pipeline.config_hash = hash_of(text);

    std::ranges::stable_sort(reading.problems, {}, [](const Problem& problem) {
        return std::tuple(problem.spot.origin, problem.spot.line, problem.spot.column);
    });
    loaded.sources = std::move(reading.sources);
    loaded.places = std::move(reading.places);
    loaded.rdkafka = pipeline.source.rdkafka;
    loaded.username = pipeline.source.username;
    for (const Problem& problem : reading.problems) {
        const bool hidden =
            loader.hidden_lines().contains({problem.spot.origin, problem.spot.line});
        loaded.diagnostics.push_back(to_diagnostic(loaded, problem, !hidden));
    }
    if (has_error(loaded.diagnostics)) {
        loaded.outcome = Outcome::invalid;
    } else {
        pipeline.inputs = canonical_inputs(pipeline, loader.texts());
        loaded.pipeline = std::move(pipeline);
    }
    return loaded;
}

namespace {

// The bytes of a regular file, or errno.
std::expected<std::string, int> read_file(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return std::unexpected(errno);
    }
    std::string text;
    std::array<char, 16384> buffer{};
    while (true) {
        const ssize_t count = read(file, buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            const int error = errno;
            close(file);
            return std::unexpected(error);
        }
        if (count == 0) {
            break;
        }
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() > 16U << 20) {
            close(file);
            return std::unexpected(EFBIG);
        }
    }
    close(file);
    return text;
}

}  // namespace

Loaded load(const std::string& path, const std::vector<std::string>& overrides,
            const Environment& environment) {
    const auto text = read_file(path);
    if (text) {
        return load_text(*text, path, overrides, environment);
    }
    Loaded loaded;
    loaded.file = path;
    const bool missing = text.error() == ENOENT || text.error() == ENOTDIR;
    loaded.outcome = missing ? Outcome::missing : Outcome::unreadable;
    loaded.diagnostics.push_back(
        to_diagnostic(loaded,
                      {Spot{}, Severity::error,
                       missing ? "there is no such file"
                               : std::string("cannot be read: ") + std::strerror(text.error()),
                       missing ? "`sluice init > " + path + "` writes an example" : ""},
                      false));
    return loaded;
}

std::optional<std::string> file_hash(const std::string& path) {
    const auto text = read_file(path);
    return text ? std::optional(hash_of(*text)) : std::nullopt;
}

}  // namespace sluice::config
