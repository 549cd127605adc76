// Notes to the service manager (sd_notify). Without one nothing is sent and nothing is said.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::daemon {

// Thread: any one thread at a time.
class Notify {
 public:
    Notify();

    void status(const std::string& text);  // STATUS=; a repeated text is not sent again
    void ready();                          // READY=1, once; later calls do nothing
    void stopping();                       // STOPPING=1, once
    void watchdog();                       // WATCHDOG=1
    // A start or stop that moves on may take `ms` longer. Call only while there is progress, and
    // again within that time.
    void extend_timeout(std::int64_t ms);
    // The last words before an exit with `exit_code`.
    void failed(const std::string& text, int exit_code);

    // How often watchdog() is due: a third of the limit; 0: no watchdog.
    std::int64_t watchdog_interval_ms() const { return watchdog_interval_ms_; }

 private:
    std::string last_status_;
    std::int64_t watchdog_interval_ms_ = 0;
    bool ready_ = false;
    bool stopping_ = false;
};

}  // namespace sluice::daemon
