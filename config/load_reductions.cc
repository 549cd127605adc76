// [reduce.ID]: keys, windows, values and the commands that write them.
#include <algorithm>
#include <array>
#include <vector>

#include "config/loading.h"
#include "config/units.h"

namespace sluice::config {

namespace {

constexpr model::DurationMs kLeastProcessingWindow = 100;

// Names that templates give a meaning of their own.
constexpr std::array<std::string_view, 7> kTemplateNames{"pipeline", "reduce", "window", "final",
                                                         "complete", "rev",    "share"};

bool share_key(const Reduction& a, const Reduction& b, const std::string& name) {
    for (const CommandTemplate& command_a : a.write) {
        for (const CommandTemplate& command_b : b.write) {
            if (may_share_key(command_a, a.id, command_b, b.id, name)) {
                return true;
            }
        }
    }
    return false;
}

class ReductionsLoader {
 public:
    explicit ReductionsLoader(Loading& loading)
        : loading_(loading),
          reading_(loading.reading),
          pipeline_(loading.pipeline),
          texts_(loading.texts) {}

    void load(Section& top) {
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
        check_shared_keys();
    }

 private:
    void load_reduction(Section& section, const std::string& id, const TomlNode& table) {
        Reduction reduction;
        InputTexts::Reduction texts;
        reduction.id = id;
        if (const TomlNode* node = section.find("filter")) {
            reduction.filter = loading_.compile_at(*node, "`filter`", true);
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
        auto program = loading_.compile_at(expression, ticked(name));
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
                loading_.report(expression, program.error());
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
                loading_.report(*command, parsed.error());
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
                if (share_key(reductions[a], reductions[b], pipeline_.name)) {
                    reading_.error(write_spots_[b],
                                   "[reduce." + reductions[b].id +
                                       "] can write the same Redis key as [reduce." +
                                       reductions[a].id + "]",
                                   "begin the keys with {reduce}: or another text of their own");
                }
            }
        }
    }

    Loading& loading_;
    Reading& reading_;
    Pipeline& pipeline_;
    InputTexts& texts_;
    std::vector<Spot> write_spots_;  // beside the reductions
};
}  // namespace

void load_reductions(Loading& loading, Section& top) { ReductionsLoader(loading).load(top); }

}  // namespace sluice::config
