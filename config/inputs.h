// The recorded inputs: what of a configuration can change a result.
#pragma once

#include <string>
#include <string_view>

#include "config/document.h"
#include "config/settings.h"

namespace sluice::config {

// The texts of expressions and templates, which a Pipeline holds only in compiled form. Collected
// while loading; every text normalised.
struct InputTexts {
    std::string timestamp;
    struct Step {
        std::string filter;
        std::vector<std::pair<std::string, std::string>> set;  // path, expression
    };
    std::vector<Step> steps;
    struct Reduction {
        std::string filter;
        std::vector<std::string> key;    // expressions, beside Reduction::key
        std::vector<std::string> write;  // empty: the default
    };
    std::vector<Reduction> reductions;  // beside Pipeline::reductions
};

// One canonical text (JSON, members sorted, reductions by id): equal texts, equal results. Left out
// is what only says where and how fast: addresses, credentials, threads, memory, paths, http, log,
// librdkafka's properties; and `start`, which is used once in the life of a state.
std::string canonical_inputs(const Pipeline& pipeline, const InputTexts& texts);

// A canonical text under another pipeline's name: a fork gives its state another name and the same
// meaning. What is no such text stays as it is.
std::string inputs_under(std::string_view name, std::string_view inputs);

}  // namespace sluice::config
