// What the demo says while it runs, on stderr: events as lines, and one live line, rewritten in
// place at a terminal and repeated every two seconds in a pipe.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::daemon {

std::string grouped(std::uint64_t number);  // 1234567: "1,234,567"

// Thread: one.
class DemoScreen {
 public:
    explicit DemoScreen(std::int64_t begun_ms);
    ~DemoScreen();

    void event(std::int64_t now_ms, const std::string& text);
    // `text` may change at any rate.
    void live(std::int64_t now_ms, const std::string& text);

 private:
    std::string stamped(std::int64_t now_ms, const std::string& text) const;
    void clear();

    const std::int64_t begun_ms_;
    const bool terminal_;
    bool line_open_ = false;
    std::int64_t shown_ms_;
};

}  // namespace sluice::daemon
