// The log: one line per thing an operator wants to know, on stderr, with fields.
//
// Text at a terminal, logfmt to a pipe, journal fields under systemd, or JSON. Control characters
// in messages and values are escaped, so that no record can forge a line or drive a terminal.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace sluice::daemon {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

struct LogField {
    std::string_view name;  // snake_case
    std::string value;
    LogField(std::string_view n, std::string_view v) : name(n), value(v) {}
    LogField(std::string_view n, const char* v) : name(n), value(v) {}
    LogField(std::string_view n, const std::string& v) : name(n), value(v) {}
    LogField(std::string_view n, bool v) : name(n), value(v ? "true" : "false") {}
    template <std::integral T>
    LogField(std::string_view n, T v) : name(n), value(std::to_string(v)) {}
};

using LogFields = std::initializer_list<LogField>;

// `level`: debug, info, warning, error. `format`: auto, text, logfmt, journald, json. Call once,
// before other threads log; until then text at level info. Journal fields carry `pipeline`.
void open_log(const std::string& level, const std::string& format, const std::string& pipeline);

// Thread: any. A line is written whole. Never throws; what cannot be written is lost.
void log(LogLevel level, std::string_view message, LogFields fields = {});
inline void log_debug(std::string_view message, LogFields fields = {}) {
    log(LogLevel::debug, message, fields);
}
inline void log_info(std::string_view message, LogFields fields = {}) {
    log(LogLevel::info, message, fields);
}
inline void log_warning(std::string_view message, LogFields fields = {}) {
    log(LogLevel::warning, message, fields);
}
inline void log_error(std::string_view message, LogFields fields = {}) {
    log(LogLevel::error, message, fields);
}

}  // namespace sluice::daemon
