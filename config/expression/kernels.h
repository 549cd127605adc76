// What the kernels share.
#pragma once

#include "config/expression/code.h"
#include "state/model/number.h"

namespace sluice::config::expression {

inline void put(const Step& step, std::size_t row, const model::Scalar& value) {
    step.out_type[row] = value.type;
    step.out_value[row] = value.value;
}
inline void put(const Step& step, std::size_t row, const model::Computed& computed) {
    step.out_type[row] = computed.value.type;
    step.out_value[row] = computed.value.value;
    if (computed.fault != model::Fault::none) [[unlikely]] {
        model::count(step.errors, computed.fault);
    }
}
inline void put_null(const Step& step, std::size_t row) { step.out_type[row] = model::Type::null; }
inline void put_fault(const Step& step, std::size_t row, model::Fault fault) {
    step.out_type[row] = model::Type::null;
    model::count(step.errors, fault);
}
inline void put_boolean(const Step& step, std::size_t row, bool value) {
    step.out_type[row] = model::Type::boolean;
    step.out_value[row].boolean = value;
}

// Two types as one number, for a switch.
constexpr unsigned pair(model::Type a, model::Type b) {
    return static_cast<unsigned>(a) * 8 + static_cast<unsigned>(b);
}

}  // namespace sluice::config::expression
