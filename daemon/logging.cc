#include "daemon/logging.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <mutex>
#include <vector>

namespace sluice::daemon {
namespace {

// A record on its way to the sink: message, then name and value of each field, each ended by a unit
// separator. Escaping has removed it from everything else.
constexpr char kSeparator = '\x1f';

enum class Format { text, logfmt, journald, json };

void append_hex(std::string& out, unsigned char byte) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    out += "\\x";
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
}

// The length of the UTF-8 sequence at text[i], or 0 if there is none. C1 control characters
// (U+0080 to U+009F), which some terminals obey, do not count as one.
std::size_t sequence_length(std::string_view text, std::size_t i) {
    const auto byte = [&](std::size_t at) {
        return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
    };
    const auto follows = [&](std::size_t at) { return (byte(at) & 0xC0U) == 0x80U; };
    const unsigned lead = byte(i);
    if (lead >= 0xC2 && lead <= 0xDF && follows(i + 1)) {
        return lead == 0xC2 && byte(i + 1) < 0xA0 ? 0 : 2;
    }
    if (lead >= 0xE0 && lead <= 0xEF && follows(i + 1) && follows(i + 2)) {
        const bool overlong = lead == 0xE0 && byte(i + 1) < 0xA0;
        const bool surrogate = lead == 0xED && byte(i + 1) >= 0xA0;
        return overlong || surrogate ? 0 : 3;
    }
    if (lead >= 0xF0 && lead <= 0xF4 && follows(i + 1) && follows(i + 2) && follows(i + 3)) {
        const bool outside =
            (lead == 0xF0 && byte(i + 1) < 0x90) || (lead == 0xF4 && byte(i + 1) >= 0x90);
        return outside ? 0 : 4;
    }
    return 0;
}

std::string escaped(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if (byte >= 0x80) {
            const std::size_t length = sequence_length(text, i);
            if (length == 0) {
                append_hex(out, byte);
                ++i;
            } else {
                out += text.substr(i, length);
                i += length;
            }
            continue;
        }
        if (byte == '\n') {
            out += "\\n";
        } else if (byte == '\t') {
            out += "\\t";
        } else if (byte == '\r') {
            out += "\\r";
        } else if (byte < 0x20 || byte == 0x7F) {
            append_hex(out, byte);
        } else {
            out += text[i];
        }
        ++i;
    }
    return out;
}

bool needs_quotes(std::string_view value) {
    return value.empty() || value.find_first_of(" \"=\\") != std::string_view::npos;
}

void append_quoted(std::string& out, std::string_view text) {
    out += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
        }
        out += c;
    }
    out += '"';
}

struct Parts {
    std::string_view message;
    std::vector<std::pair<std::string_view, std::string_view>> fields;
};

Parts split(std::string_view payload) {
    const auto next = [&payload] {
        const std::size_t end = payload.find(kSeparator);
        const std::string_view part = payload.substr(0, end);
        payload.remove_prefix(end == std::string_view::npos ? payload.size() : end + 1);
        return part;
    };
    Parts parts;
    parts.message = next();
    while (!payload.empty()) {
        const std::string_view name = next();
        parts.fields.emplace_back(name, next());
    }
    return parts;
}

std::string_view level_name(spdlog::level::level_enum level) {
    switch (level) {
        case spdlog::level::debug:
            return "debug";
        case spdlog::level::warn:
            return "warning";
        case spdlog::level::err:
            return "error";
        default:
            return "info";
    }
}

std::tm broken_down(spdlog::log_clock::time_point time, bool local, int& ms) {
    const std::time_t seconds = spdlog::log_clock::to_time_t(time);
    ms = static_cast<int>(
        std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count() %
        1000);
    std::tm parts{};
    if (local) {
        localtime_r(&seconds, &parts);
    } else {
        gmtime_r(&seconds, &parts);
    }
    return parts;
}

std::string utc_time(spdlog::log_clock::time_point time) {
    int ms = 0;
    const std::tm parts = broken_down(time, false, ms);
    std::array<char, 40> buffer{};
    const std::size_t length =
        std::strftime(buffer.data(), buffer.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    std::array<char, 8> fraction{};
    std::snprintf(fraction.data(), fraction.size(), ".%03dZ", ms);
    return std::string(buffer.data(), length) + fraction.data();
}

std::string text_line(const spdlog::details::log_msg& record, const Parts& parts, bool colour) {
    int ms = 0;
    const std::tm time = broken_down(record.time, true, ms);
    std::array<char, 16> clock{};
    std::strftime(clock.data(), clock.size(), "%H:%M:%S", &time);
    std::string level(level_name(record.level));
    for (char& c : level) {
        c = static_cast<char>(c - 'a' + 'A');
    }
    level.resize(7, ' ');
    if (colour && record.level >= spdlog::level::warn) {
        level = (record.level == spdlog::level::warn ? "\x1b[33m" : "\x1b[31m") + level + "\x1b[0m";
    }
    std::string line = std::string(clock.data()) + " " + level + " " + std::string(parts.message);
    for (const auto& [name, value] : parts.fields) {
        line += "  " + std::string(name) + "=";
        needs_quotes(value) ? append_quoted(line, value) : void(line += value);
    }
    return line + "\n";
}

std::string logfmt_line(const spdlog::details::log_msg& record, const Parts& parts) {
    std::string line = "time=" + utc_time(record.time) +
                       " level=" + std::string(level_name(record.level)) + " msg=";
    append_quoted(line, parts.message);
    for (const auto& [name, value] : parts.fields) {
        line += " " + std::string(name) + "=";
        needs_quotes(value) ? append_quoted(line, value) : void(line += value);
    }
    return line + "\n";
}

std::string json_line(const spdlog::details::log_msg& record, const Parts& parts) {
    std::string line = "{\"time\":\"" + utc_time(record.time) + "\",\"level\":\"" +
                       std::string(level_name(record.level)) + "\",\"msg\":";
    append_quoted(line, parts.message);
    for (const auto& [name, value] : parts.fields) {
        line += ",\"" + std::string(name) + "\":";
        append_quoted(line, value);
    }
    return line + "}\n";
}

// The journal's own fields and ours in capitals: SLUICE_PIPELINE, SLUICE_CHECKPOINT, …
void send_to_journal(const spdlog::details::log_msg& record, const Parts& parts,
                     const std::string& pipeline) {
    const char* priority = "PRIORITY=6";
    if (record.level == spdlog::level::debug) {
        priority = "PRIORITY=7";
    } else if (record.level == spdlog::level::warn) {
        priority = "PRIORITY=4";
    } else if (record.level == spdlog::level::err) {
        priority = "PRIORITY=3";
    }
    std::vector<std::string> fields{priority, "SYSLOG_IDENTIFIER=sluice",
                                    "SLUICE_PIPELINE=" + pipeline};
    std::string message = "MESSAGE=" + std::string(parts.message);
    for (const auto& [name, value] : parts.fields) {
        message += " " + std::string(name) + "=";
        needs_quotes(value) ? append_quoted(message, value) : void(message += value);
        std::string field = "SLUICE_";
        for (const char c : name) {
            field += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        }
        fields.push_back(field + "=" + std::string(value));
    }
    fields.push_back(std::move(message));
    std::vector<iovec> vectors;
    for (std::string& field : fields) {
        vectors.push_back({field.data(), field.size()});
    }
    sd_journal_sendv(vectors.data(), static_cast<int>(vectors.size()));
}

class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
    StderrSink(Format format, std::string pipeline)
        : format_(format),
          pipeline_(std::move(pipeline)),
          colour_(isatty(STDERR_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr) {}

 private:
    void sink_it_(const spdlog::details::log_msg& record) override {
        const Parts parts = split({record.payload.data(), record.payload.size()});
        switch (format_) {
            case Format::text:
                put(text_line(record, parts, colour_));
                break;
            case Format::logfmt:
                put(logfmt_line(record, parts));
                break;
            case Format::json:
                put(json_line(record, parts));
                break;
            case Format::journald:
                send_to_journal(record, parts, pipeline_);
                break;
        }
    }
    void flush_() override {}

    // One write per line, so that lines of several processes do not mix.
    static void put(const std::string& line) {
        std::string_view rest = line;
        while (!rest.empty()) {
            const ssize_t count = write(STDERR_FILENO, rest.data(), rest.size());
            if (count <= 0) {
                return;
            }
            rest.remove_prefix(static_cast<std::size_t>(count));
        }
    }

    const Format format_;
    const std::string pipeline_;
    const bool colour_;
};

// systemd says in JOURNAL_STREAM which device and inode the journal's stream has; whether it is
// ours, only a comparison tells.
bool stderr_is_journal() {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat facts{};
    if (stream == nullptr || fstat(STDERR_FILENO, &facts) != 0) {
        return false;
    }
    return std::string(stream) == std::to_string(facts.st_dev) + ":" + std::to_string(facts.st_ino);
}

// Where nobody takes what is sent to the journal, libsystemd says so to nobody: then the log goes
// where "auto" would send it.
constexpr const char* kJournal = "/run/systemd/journal/socket";

Format chosen_format(const std::string& format) {
    if (format == "text") {
        return Format::text;
    }
    if (format == "logfmt") {
        return Format::logfmt;
    }
    if (format == "json") {
        return Format::json;
    }
    if (stderr_is_journal() || (format == "journald" && access(kJournal, W_OK) == 0)) {
        return Format::journald;
    }
    return isatty(STDERR_FILENO) == 1 ? Format::text : Format::logfmt;
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
    switch (level) {
        case LogLevel::debug:
            return spdlog::level::debug;
        case LogLevel::info:
            return spdlog::level::info;
        case LogLevel::warning:
            return spdlog::level::warn;
        case LogLevel::error:
            return spdlog::level::err;
    }
    return spdlog::level::info;
}

std::unique_ptr<spdlog::logger>& logger() {
    // Never destroyed: threads may log until the process is gone.
    static auto* const kept = new std::unique_ptr<spdlog::logger>(
        std::make_unique<spdlog::logger>("sluice", std::make_shared<StderrSink>(Format::text, "")));
    return *kept;
}

}  // namespace

void open_log(const std::string& level, const std::string& format, const std::string& pipeline) {
    auto fresh = std::make_unique<spdlog::logger>(
        "sluice", std::make_shared<StderrSink>(chosen_format(format), pipeline));
    fresh->set_level(level == "debug"     ? spdlog::level::debug
                     : level == "warning" ? spdlog::level::warn
                     : level == "error"   ? spdlog::level::err
                                          : spdlog::level::info);
    logger() = std::move(fresh);
}

void log(LogLevel level, std::string_view message, LogFields fields) {
    const spdlog::level::level_enum wanted = to_spdlog(level);
    if (!logger()->should_log(wanted)) {
        return;
    }
    try {
        std::string payload = escaped(message);
        for (const LogField& field : fields) {
            payload += kSeparator;
            payload += field.name;
            payload += kSeparator;
            payload += escaped(field.value);
        }
        logger()->log(wanted, spdlog::string_view_t(payload.data(), payload.size()));
    } catch (...) {  // NOLINT(bugprone-empty-catch): a line that cannot be logged is lost
    }
}

}  // namespace sluice::daemon
