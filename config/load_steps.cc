// [[step]]: what happens to a record before it is reduced.
#include <algorithm>
#include <iterator>

#include "config/loading.h"

namespace sluice::config {

namespace {

class StepsLoader {
 public:
    explicit StepsLoader(Loading& loading)
        : loading_(loading),
          reading_(loading.reading),
          pipeline_(loading.pipeline),
          texts_(loading.texts) {}

    void load(Section& top) {
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

 private:
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
            step.filter = loading_.compile_at(*node, "`filter`", true);
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
            programs.push_back(loading_.compile_at(*member.node, ticked(member.name)));
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

    Loading& loading_;
    Reading& reading_;
    Pipeline& pipeline_;
    InputTexts& texts_;
};

}  // namespace

void load_steps(Loading& loading, Section& top) { StepsLoader(loading).load(top); }

}  // namespace sluice::config
