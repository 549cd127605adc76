// What a reply of Redis means for us, and the dead letter of a result that Redis refuses for good.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/result_batch.h"

namespace sluice::sinks {

enum class ErrorClass : std::uint8_t {
    wait,        // the server cannot now (BUSY, OOM, MISCONF, NOREPLICAS): the same again, later
    reconnect,   // this server is not the one, or not yet (LOADING, READONLY, …DOWN)
    permission,  // NOAUTH, WRONGPASS, NOPERM
    refused,     // the command is wrong (WRONGTYPE, ERR …): it will never do
};

// By the first word of an error reply; of an EXECABORT that names its cause, by the cause.
ErrorClass classify(std::string_view error);

// One line of JSON: reduce, key (its parts), window, commands (as redis-cli takes them, bytes that
// are no plain text as \xNN), reply. `requests` are the encoded commands.
std::string refused_result_json(std::string_view reduction, const model::ResultBatch& batch,
                                std::size_t row, std::string_view requests,
                                const std::vector<std::string>& replies);

}  // namespace sluice::sinks
