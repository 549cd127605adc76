#include "state/tools/json_tree.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace sluice::state {
namespace {

constexpr std::size_t kMostDepth = 32;
constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// nlohmann's parser tells it what it meets.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
    bool null() override { return add({}); }
    bool boolean(bool v) override {
        JsonTree tree;
        tree.kind = JsonTree::Kind::boolean;
        tree.boolean = v;
        return add(std::move(tree));
    }
    bool number_integer(number_integer_t v) override { return number(std::to_string(v)); }
    bool number_unsigned(number_unsigned_t v) override { return number(std::to_string(v)); }
    bool number_float(number_float_t, const string_t& digits) override { return number(digits); }
    bool string(string_t& v) override {
        JsonTree tree;
        tree.kind = JsonTree::Kind::text;
        tree.text = std::move(v);
        return add(std::move(tree));
    }
    bool binary(binary_t&) override { return false; }
    bool start_object(std::size_t) override { return begin(JsonTree::Kind::object); }
    bool start_array(std::size_t) override { return begin(JsonTree::Kind::list); }
    bool end_object() override { return end(); }
    bool end_array() override { return end(); }
    bool key(string_t& name) override {
        if (open_.back()->member(name) != nullptr) {
            error_ = "the member " + name + " is there twice";
            return false;
        }
        name_ = std::move(name);
        return true;
    }
    bool parse_error(std::size_t position, const std::string&,
                     const nlohmann::detail::exception&) override {
        error_ = "not JSON, at byte " + std::to_string(position);
        return false;
    }

    JsonTree root_;
    std::string error_;

 private:
    bool number(std::string digits) {
        JsonTree tree;
        tree.kind = JsonTree::Kind::number;
        tree.text = std::move(digits);
        return add(std::move(tree));
    }
    JsonTree* place(JsonTree tree) {
        if (open_.empty()) {
            root_ = std::move(tree);
            return &root_;
        }
        JsonTree& parent = *open_.back();
        if (parent.kind == JsonTree::Kind::list) {
            parent.list.push_back(std::move(tree));
            return &parent.list.back();
        }
        parent.members.emplace_back(std::move(name_), std::move(tree));
        return &parent.members.back().second;
    }
    bool add(JsonTree tree) {
        place(std::move(tree));
        return true;
    }
    bool begin(JsonTree::Kind kind) {
        if (open_.size() == kMostDepth) {
            error_ = "nested too deeply";
            return false;
        }
        JsonTree tree;
        tree.kind = kind;
        open_.push_back(place(std::move(tree)));
        return true;
    }
    bool end() {
        open_.pop_back();
        return true;
    }

    // A parent's vector does not grow while a child of it is open.
    std::vector<JsonTree*> open_;
    std::string name_;
};

// The length of the UTF-8 sequence at the front and its code point; 0: none.
std::size_t code_point(std::string_view text, std::uint32_t& point) {
    const auto byte = [&](std::size_t i) {
        return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
    };
    const std::uint32_t first = byte(0);
    const std::size_t size = first < 0x80                     ? 1
                             : first >= 0xc2 && first < 0xe0  ? 2
                             : first >= 0xe0 && first < 0xf0  ? 3
                             : first >= 0xf0 && first <= 0xf4 ? 4
                                                              : 0;
    if (size == 0 || size > text.size()) {
        return 0;
    }
    point = size == 1 ? first : first & (0xffU >> (size + 1));
    for (std::size_t i = 1; i < size; ++i) {
        if ((byte(i) & 0xc0U) != 0x80U) {
            return 0;
        }
        point = (point << 6) | (byte(i) & 0x3fU);
    }
    constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kLeast[size] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
        return 0;
    }
    return size;
}

void append_escape(std::string& out, std::uint32_t unit) {
    char text[8];
    std::snprintf(text, sizeof text, "\\u%04x", unit);
    out.append(text);
}

void append_base64(std::string& out, std::string_view bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::uint32_t group = 0;
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
        for (std::size_t i = 0; i < 3; ++i) {
            group = (group << 8) | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0U);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            out.push_back(i <= count ? kBase64[(group >> (18 - 6 * i)) & 63U] : '=');
        }
    }
}

}  // namespace

const JsonTree* JsonTree::member(std::string_view name) const {
    for (const auto& [key, value] : members) {
        if (key == name) {
            return &value;
        }
    }
    return nullptr;
}

model::Result<JsonTree> parse_json(std::string_view text) {
    Builder builder;
    if (!nlohmann::json::sax_parse(text, &builder)) {
        return model::invalid(builder.error_.empty() ? "not JSON" : builder.error_);
    }
    return std::move(builder.root_);
}

void append_json_text(std::string& out, std::string_view text) {
    const std::size_t begin = out.size();
    out.push_back('"');
    for (std::size_t at = 0; at < text.size();) {
        const char c = text[at];
        if (c >= ' ' && c < 0x7f && c != '"' && c != '\\') {
            out.push_back(c);
            ++at;
            continue;
        }
        std::uint32_t point = 0;
        const std::size_t size = code_point(text.substr(at), point);
        if (size == 0) {
            out.resize(begin);
            out.append("{\"base64\":\"");
            append_base64(out, text);
            out.append("\"}");
            return;
        }
        at += size;
        constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
        constexpr std::string_view kLetters = "\"\\bfnrt";
        if (const auto found =
                point < 0x80 ? kShort.find(static_cast<char>(point)) : std::string_view::npos;
            found != std::string_view::npos) {
            out.push_back('\\');
            out.push_back(kLetters[found]);
        } else if (point < 0x10000) {
            append_escape(out, point);
        } else {
            append_escape(out, 0xd800 + ((point - 0x10000) >> 10));
            append_escape(out, 0xdc00 + ((point - 0x10000) & 0x3ff));
        }
    }
    out.push_back('"');
}

model::Result<std::string> from_base64(std::string_view text) {
    std::string bytes;
    if (text.size() % 4 != 0) {
        return model::invalid("not base64");
    }
    for (std::size_t at = 0; at < text.size(); at += 4) {
        std::uint32_t group = 0;
        std::size_t count = 3;
        for (std::size_t i = 0; i < 4; ++i) {
            const char c = text[at + i];
            const auto digit = kBase64.find(c);
            if (c == '=' && at + 4 == text.size() && i >= 2) {
                count = std::min(count, i - 1);
                group <<= 6;
            } else if (digit == std::string_view::npos || count < 3) {
                return model::invalid("not base64");
            } else {
                group = (group << 6) | static_cast<std::uint32_t>(digit);
            }
        }
        for (std::size_t i = 0; i < count; ++i) {
            bytes.push_back(static_cast<char>((group >> (16 - 8 * i)) & 0xff));
        }
    }
    return bytes;
}

}  // namespace sluice::state
