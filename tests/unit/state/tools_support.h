// Snapshots with every kind of accumulator, for the tests of the tools.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "state/store/checksum.h"
#include "state/tools/import_lines.h"
#include "state/tools/lines.h"
#include "state/tools/portable_file.h"
#include "state/tools/shapes.h"
#include "state/tools/snapshot.h"
#include "tests/simulation/simulated_disk.h"
#include "tests/unit/state/store_support.h"

namespace sluice::state {

// As config::canonical_inputs() writes them, without what no tool asks for. The names of values
// with calls of every kind are those of the kinds.
inline const std::string& tool_inputs() {
    static const std::string kText = R"json({
 "name": "clicks",
 "reductions": {
  "all": {
   "key": [["country", "country"], ["user", "user"]],
   "window": {"offset_ms": 0, "tumbling_ms": 15000},
   "values": [["n", "count()"], ["total", "sum(price)"], ["average", "mean(price)"],
              ["least", "min(x)"], ["most", "max(x)"], ["begin", "first(x)"], ["end", "last(x)"]]
  },
  "short": {
   "key": [["user", "user"]],
   "window": {"offset_ms": 0, "tumbling_ms": 1000},
   "values": [["n", "count()"], ["share", "sum(price) / count()"]]
  }
 },
 "version": 1
}
)json";
    return kText;
}

inline CheckpointMeta tool_meta(std::uint64_t number = 7) {
    auto meta = meta_of(number);
    meta.kind = SnapshotKind::savepoint;
    meta.taken = "2023-11-14T22:13:20.007Z";
    meta.reductions = {{"short", 1, Family::brief, "v1;count();sum(price)", 1, 1000, 1000, 2000},
                       {"all",
                        2,
                        Family::standard,
                        "v1;count();sum(price);mean(price);min(x);max(x);first(x);last(x)",
                        2,
                        {},
                        {},
                        {}}};
    meta.inputs = checksum_hex(tool_inputs());
    return meta;
}

// Draws what a row can hold. The seed is in every failure: SLUICE_SEED repeats it.
class RandomLines {
 public:
    explicit RandomLines(std::uint64_t seed) : random_(seed) {}

    std::string line() {
        std::string text;
        if (pick(3) == 0) {
            text = R"({"reduction":"short","window":{"end":)" +
                   std::to_string(2000 + 1000 * pick(3)) + R"(},"key":[)" + key_part() +
                   R"(],"rev":)" + std::to_string(pick(3)) + R"(,"state":[{"count":)" + count() +
                   R"(},{"sum":)" + sum() + "}]}";
        } else {
            text = R"({"reduction":"all","window":{"end":)" +
                   std::to_string(15000 * (static_cast<std::int64_t>(pick(4)) - 1)) +
                   R"(},"key":[)" + key_part() + "," + key_part() + R"(],"rev":)" +
                   std::to_string(pick(300)) + R"(,"state":[{"count":)" + count() + R"(},{"sum":)" +
                   sum() + R"(},{"mean":)" + mean() + R"(},{"min":)" + extreme() + R"(},{"max":)" +
                   extreme() + R"(},{"first":)" + ordered() + R"(},{"last":)" + ordered() + "}]}";
        }
        return text;
    }
    std::uint64_t pick(std::uint64_t below) { return random_() % below; }

 private:
    std::string digits(std::size_t most) {
        std::string text(1 + pick(most), '0');
        for (char& c : text) {
            c = static_cast<char>('0' + pick(10));
        }
        return text;
    }
    std::string trimmed(std::string text) {
        const auto first = text.find_first_not_of('0');
        return first == std::string::npos ? "0" : text.substr(first);
    }
    std::string sign() { return pick(2) == 0 ? "-" : ""; }
    std::string count() { return std::to_string(pick(4) == 0 ? random_() >> 12 : pick(1000)); }
    std::string key_part() {
        switch (pick(6)) {
            case 0:
                return R"("")";
            case 1:
                return R"("\u00fc\ud83d\ude00\u0000\"\\\n")";
            case 2:
                return R"({"base64":"/wA="})";
            case 3:
                return "\"" + std::string(pick(400), 'k') + digits(3) + "\"";
            default:
                return "\"u" + digits(4) + "\"";
        }
    }
    std::string floats() {
        std::string mantissa = "1";
        for (std::uint64_t i = pick(30); i > 0; --i) {
            mantissa.push_back("0123456789abcdef"[pick(16)]);
        }
        mantissa.push_back("13579bdf"[pick(8)]);
        const auto exponent = static_cast<std::int64_t>(pick(1900)) - 1074;
        return pick(5) == 0 ? "0" : sign() + "0x" + mantissa + "*2^" + std::to_string(exponent);
    }
    std::string decimal(std::size_t whole) {
        return sign() + trimmed(digits(whole)) + "." + digits(17) + "1";
    }
    std::string total(std::string& types) {
        std::string text = R"(,"total":")";
        switch (pick(4)) {
            case 0:
                types = "";
                return text + "0\"";
            case 1:
                types = R"("integer")";
                return text + trimmed(digits(30)) + "\"";
            case 2:
                types = R"("decimal")";
                return text + decimal(20) + "\"";
            default:
                types = R"("integer","decimal")";
                return text + decimal(36) + "\"";
        }
    }
    std::string exact(bool mean) {
        std::string types;
        std::string text = total(types);
        if (pick(2) == 0) {
            types += types.empty() ? R"("float")" : R"(,"float")";
            text += R"(,"floats":")" + floats() + "\"";
        }
        if (mean) {
            text += R"(,"count":)" + (types.empty() ? "0" : std::to_string(1 + pick(1000)));
        }
        return R"({"types":[)" + types + "]" + text + "}";
    }
    std::string sum() { return exact(false); }
    std::string mean() { return exact(true); }
    std::string scalar() {
        switch (pick(7)) {
            case 0:
                return pick(2) == 0 ? "true" : "false";
            case 1:
                return sign() + std::to_string(1 + (random_() >> 1));
            case 2:
                return R"({"decimal":")" + decimal(18) + "\"}";
            case 3:
                return R"({"float":)" + sign() + "1." + digits(15) + "e" + sign() + digits(2) + "}";
            case 4:
                return R"({"base64":"gA=="})";
            case 5:
                return R"("\u001b[31m")";
            default:
                return "\"" + digits(9) + "\"";
        }
    }
    std::string extreme() {
        const auto kind = pick(8);
        return kind == 0 ? "null" : kind == 1 ? R"({"mixed":true})" : scalar();
    }
    std::string ordered() {
        if (pick(5) == 0) {
            return "null";
        }
        return R"({"timestamp":)" + sign() + std::to_string(pick(1u << 30)) +
               R"(,"topic":"clicks","partition":)" + std::to_string(pick(1000)) + R"(,"offset":)" +
               std::to_string(random_() >> 1) + R"(,"element":)" + std::to_string(pick(3)) +
               R"(,"value":)" + scalar() + "}";
    }

    std::mt19937_64 random_;
};

inline std::uint64_t test_seed() {
    const char* const given = std::getenv("SLUICE_SEED");
    return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

inline model::Result<CheckpointMeta> import_text(Disk& disk, const std::string& path,
                                                 const std::string& text) {
    TRY(lines, LineImport::begin(disk, path, std::nullopt));
    for (std::size_t at = 0; at < text.size();) {
        const auto end = text.find('\n', at);
        TRY(lines->add(std::string_view(text).substr(at, end - at)));
        at = end == std::string::npos ? text.size() : end + 1;
    }
    return lines->commit();
}

inline model::Result<std::string> dump_text(const CheckpointMeta& meta, const std::string& inputs,
                                            RowSource& rows) {
    auto text = header_line(meta, inputs);
    const Shapes shapes(meta, inputs);
    LineWriter writer(shapes);
    while (true) {
        TRY(rows.next());
        if (!rows.valid()) {
            break;
        }
        TRY(writer.add(rows.key(), rows.row(), text));
    }
    TRY(writer.finish(text));
    return text;
}

inline model::Result<std::string> dump_text(Disk& disk, const std::string& path) {
    TRY(snapshot, Snapshot::open(disk, path));
    TRY(rows, snapshot->rows());
    return dump_text(snapshot->meta(), snapshot->inputs_text(), *rows);
}

inline std::string some_lines(std::uint64_t seed, int count) {
    auto text = header_line(tool_meta(), tool_inputs());
    RandomLines lines(seed);
    for (int i = 0; i < count; ++i) {
        text += lines.line() + "\n";
    }
    return text;
}

class TextSink final : public ByteSink {
 public:
    model::Status write(std::string_view bytes) override {
        text.append(bytes);
        return {};
    }
    std::string text;
};

class TextSource final : public ByteSource {
 public:
    explicit TextSource(std::string_view text) : rest_(text) {}
    model::Result<std::size_t> read(char* to, std::size_t bytes) override {
        most = std::max(most, bytes);
        const auto part = std::min(bytes, rest_.size());
        std::copy_n(rest_.data(), part, to);
        rest_.remove_prefix(part);
        return part;
    }
    std::size_t most = 0;  // asked for at once

 private:
    std::string_view rest_;
};

}  // namespace sluice::state
