#include <cstdio>
#include <nlohmann/json.hpp>

#include "config/examples.h"
#include "daemon/commands.h"
#include "daemon/exit_code.h"

namespace sluice::daemon {

int command_init(const InitOptions& options) {
    const std::string text(config::example(options.example).value_or(""));
    if (options.json) {
        const nlohmann::ordered_json page = {{"name", options.example}, {"text", text}};
        std::printf("%s\n", page.dump().c_str());
    } else {
        std::fputs(text.c_str(), stdout);
    }
    return kExitOk;
}

}  // namespace sluice::daemon
