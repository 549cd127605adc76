#include "state/model/fail_point.h"

#include <charconv>
#include <csignal>
#include <cstdlib>

namespace sluice::model {

// Constant-initialised, so it is there before the first FailPoint registers itself.
struct FailPointRegistry {
    std::atomic<FailPoint*> first{nullptr};

    void add(FailPoint& point) {
        // Initialisers may run in several threads where a library is loaded late: a push that does
        // not assume otherwise costs nothing.
        point.next_ = first.load(std::memory_order_relaxed);
        while (!first.compare_exchange_weak(point.next_, &point, std::memory_order_release,
                                            std::memory_order_relaxed)) {
        }
    }
    FailPoint* find(std::string_view name) const {
        for (FailPoint* p = first.load(std::memory_order_acquire); p != nullptr; p = p->next_) {
            if (name == p->name_) {
                return p;
            }
        }
        return nullptr;
    }
    template <class Function>
    void each(Function function) const {
        for (FailPoint* p = first.load(std::memory_order_acquire); p != nullptr; p = p->next_) {
            function(*p);
        }
    }
    static void watch(FailPoint& point, int change) {
        point.watched_.fetch_add(static_cast<std::uint32_t>(change), std::memory_order_relaxed);
    }
    static void arm(FailPoint& point, std::uint64_t nth) {
        // The count begins here, so that "the third pass" means the third from now.
        point.dies_at_ = point.passes_ + nth;
        watch(point, +1);
    }
    static std::uint64_t passes(const FailPoint& point) { return point.passes_; }
    static void clear(FailPoint& point) {
        if (point.dies_at_ == 0) {
            point.passes_ = 0;
        }
    }
    static const char* name(const FailPoint& point) { return point.name_; }
};

namespace {

constinit FailPointRegistry registry;

struct Order {
    std::string_view name;
    std::uint64_t nth = 1;
};

// nullopt-like: an empty name means that nothing is ordered; nth 0 that the number is no number.
Order order_of_environment() {
    const char* const text = std::getenv("SLUICE_FAIL_POINT");
    if (text == nullptr || *text == '\0') {
        return {};
    }
    Order order{text, 1};
    if (const auto colon = order.name.rfind(':'); colon != std::string_view::npos) {
        const std::string_view number = order.name.substr(colon + 1);
        order.name = order.name.substr(0, colon);
        const char* const end = number.data() + number.size();
        const auto [stop, error] = std::from_chars(number.data(), end, order.nth);
        if (error != std::errc() || stop != end) {
            order.nth = 0;
        }
    }
    return order;
}

}  // namespace

FailPoint::FailPoint(const char* name) : name_(name) {
    registry.add(*this);
    if (const Order order = order_of_environment(); order.name == name && order.nth != 0) {
        FailPointRegistry::arm(*this, order.nth);
    }
}

void FailPoint::count_pass() {
    const std::uint64_t pass = passes_.fetch_add(1, std::memory_order_relaxed) + 1;
    if (pass == dies_at_.load(std::memory_order_relaxed)) {
        // SIGKILL, not _exit: nothing of the process runs any more, no destructor, no other thread.
        std::raise(SIGKILL);
    }
}

std::vector<std::string> fail_point_names() {
    std::vector<std::string> names;
    registry.each([&](FailPoint& p) { names.emplace_back(FailPointRegistry::name(p)); });
    std::ranges::sort(names);
    return names;
}

Status check_fail_point_environment() {
    const Order order = order_of_environment();
    if (order.name.empty()) {
        return {};
    }
    if (order.nth == 0) {
        return invalid("SLUICE_FAIL_POINT: after the colon stands the number of a pass, from 1");
    }
    if (registry.find(order.name) == nullptr) {
        return invalid("SLUICE_FAIL_POINT: there is no fail point \"" + std::string(order.name) +
                       "\"");
    }
    return {};
}

Status arm_fail_point(std::string_view name, std::uint64_t nth_pass) {
    FailPoint* const point = registry.find(name);
    if (point == nullptr || nth_pass == 0) {
        return invalid("there is no fail point \"" + std::string(name) + "\", or no such pass");
    }
    FailPointRegistry::arm(*point, nth_pass);
    return {};
}

FailPointCounts::FailPointCounts() {
    registry.each([](FailPoint& p) {
        FailPointRegistry::clear(p);
        FailPointRegistry::watch(p, +1);
    });
}

FailPointCounts::~FailPointCounts() {
    registry.each([](FailPoint& p) { FailPointRegistry::watch(p, -1); });
}

std::uint64_t FailPointCounts::passes(std::string_view name) const {
    const FailPoint* const point = registry.find(name);
    return point == nullptr ? 0 : FailPointRegistry::passes(*point);
}

}  // namespace sluice::model
