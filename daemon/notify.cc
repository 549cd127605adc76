#include "daemon/notify.h"

#include <systemd/sd-daemon.h>

namespace sluice::daemon {
namespace {

// The protocol is lines of NAME=value, so a text must be one line.
std::string one_line(const std::string& text) {
    std::string line = text;
    for (char& c : line) {
        if (static_cast<unsigned char>(c) < 0x20) {
            c = ' ';
        }
    }
    return line;
}

void send(const std::string& message) { sd_notify(0, message.c_str()); }

}  // namespace

Notify::Notify() {
    std::uint64_t limit_us = 0;
    if (sd_watchdog_enabled(0, &limit_us) > 0) {
        watchdog_interval_ms_ = static_cast<std::int64_t>(limit_us / 3000);
    }
}

void Notify::status(const std::string& text) {
    if (text != last_status_) {
        last_status_ = text;
        send("STATUS=" + one_line(text));
    }
}

void Notify::ready() {
    if (!ready_) {
        ready_ = true;
        send("READY=1");
    }
}

void Notify::stopping() {
    if (!stopping_) {
        stopping_ = true;
        send("STOPPING=1");
    }
}

void Notify::watchdog() { send("WATCHDOG=1"); }

void Notify::extend_timeout(std::int64_t ms) {
    send("EXTEND_TIMEOUT_USEC=" + std::to_string(ms * 1000));
}

void Notify::failed(const std::string& text, int exit_code) {
    send("STATUS=" + one_line(text) + "\nEXIT_STATUS=" + std::to_string(exit_code));
}

}  // namespace sluice::daemon
