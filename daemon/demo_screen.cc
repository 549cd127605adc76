#include "daemon/demo_screen.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdio>

namespace sluice::daemon {
namespace {

constexpr std::int64_t kTerminalEveryMs = 100;
constexpr std::int64_t kPipeEveryMs = 2'000;

std::size_t width() {
    winsize size{};
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string grouped(std::uint64_t number) {
    const std::string digits = std::to_string(number);
    std::string text;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % 3 == 0) {
            text += ',';
        }
        text += digits[i];
    }
    return text;
}

DemoScreen::DemoScreen(std::int64_t begun_ms)
    : begun_ms_(begun_ms), terminal_(::isatty(STDERR_FILENO) == 1), shown_ms_(begun_ms) {}

DemoScreen::~DemoScreen() { clear(); }

void DemoScreen::event(std::int64_t now_ms, const std::string& text) {
    clear();
    std::fprintf(stderr, "%s\n", stamped(now_ms, text).c_str());
}

void DemoScreen::live(std::int64_t now_ms, const std::string& text) {
    if (now_ms - shown_ms_ < (terminal_ ? kTerminalEveryMs : kPipeEveryMs)) {
        return;
    }
    shown_ms_ = now_ms;
    if (!terminal_) {
        std::fprintf(stderr, "%s\n", stamped(now_ms, text).c_str());
        return;
    }
    // A line that wraps could not be rewritten.
    const std::string line = stamped(now_ms, text).substr(0, width() - 1);
    std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
    std::fflush(stderr);
    line_open_ = true;
}

std::string DemoScreen::stamped(std::int64_t now_ms, const std::string& text) const {
    std::array<char, 32> time{};
    std::snprintf(time.data(), time.size(), "%5.1f s  ",
                  static_cast<double>(now_ms - begun_ms_) / 1000);
    return time.data() + text;
}

void DemoScreen::clear() {
    if (line_open_) {
        std::fputs("\r\x1b[K", stderr);
        std::fflush(stderr);
        line_open_ = false;
    }
}

}  // namespace sluice::daemon
