// Reads typed values out of a document by the table of settings, and collects what is wrong.
//
// Internal to config: load() is what others use.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/diagnostic.h"
#include "config/document.h"
#include "config/settings_table.h"
#include "state/model/time.h"

namespace sluice::config {

struct Problem {
    Spot spot;
    Severity severity = Severity::error;
    std::string message;
    std::string hint;
};

// What all sections of one load share. Outlives them.
struct Reading {
    std::vector<std::string> sources;  // by origin
    std::vector<Problem> problems;
    std::map<std::string, Spot> places;
    std::vector<std::string> lost_keys;  // written, but with a syntax error
    bool lost_header = false;

    void error(const Spot& spot, std::string message, std::string hint = "");
    void warning(const Spot& spot, std::string message, std::string hint = "");
    // Where a stretch of the content of text node `node` stands.
    Spot spot_in(const TomlNode& node, std::size_t offset, std::size_t length) const;
};

// One table of the file. Looking at it reports unknown keys and those of later versions, once.
// A value that is missing is its default; one that is wrong is reported and read as its default.
class Section {
 public:
    // `pattern` names the section in the table of settings ("reduce.*"), `path` in this file
    // ("reduce.spend"). `node` may be null: the table was not written. `header` is where a missing
    // key is reported.
    Section(Reading& reading, const TomlNode* node, std::string pattern, std::string path,
            Spot header);

    // The value as written, or null when it is missing or not available in this version. A missing
    // required key is reported.
    const TomlNode* find(std::string_view key);
    bool has(std::string_view key) const;
    // A key that is not there, but was written in a way that has been reported: misspelt, or in a
    // statement that could not be read. To say that it is missing would only repeat that.
    bool meant(std::string_view key) const;
    Spot value_spot(std::string_view key) const;  // of the value, else the header
    const Spot& header() const { return header_; }
    const std::string& path() const { return path_; }

    // A table inside; `key` names it.
    Section table(std::string_view key);

    std::optional<std::string> text(std::string_view key);
    std::string choice(std::string_view key);
    std::int64_t integer(std::string_view key);
    bool boolean(std::string_view key);
    // None: "none" was written or is the default.
    std::optional<model::DurationMs> duration(std::string_view key);
    std::optional<std::uint64_t> size(std::string_view key);

    const std::vector<std::pair<std::string, TomlNode>>& members() const;

 private:
    struct Found {
        const Setting* setting = nullptr;
        const TomlNode* node = nullptr;
    };
    Found look(std::string_view key);
    void wrong(const TomlNode& node, const Setting& setting, const std::string& why);

    Reading& reading_;
    const TomlNode* node_;
    std::string pattern_;
    std::string path_;
    Spot header_;
};

// The text of a node where one was written: quoted, or any scalar of the command line.
std::optional<std::string> text_of(const TomlNode& node);

// "[source]", "[[step]]".
std::string label_of(std::string_view path);
// "in [source]", "at the top level".
std::string place_of(std::string_view path);

}  // namespace sluice::config
