#include "sinks/refusal.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "sinks/resp.h"
#include "state/model/key.h"

namespace sluice::sinks {
namespace {

std::string quoted(std::string_view word) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
        return c > ' ' && c < 0x7f && c != '"' && c != '\'' && c != '\\';
    });
    if (plain) {
        return std::string(word);
    }
    std::string out = "\"";
    for (const char c : word) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c >= ' ' && c < 0x7f) {
            out += c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            out += "\\x";
            out += kDigits[byte >> 4];
            out += kDigits[byte & 15];
        }
    }
    return out + '"';
}

}  // namespace

ErrorClass classify(std::string_view error) {
    constexpr std::string_view kCause = "because of: ";
    if (error.starts_with("EXECABORT")) {
        const std::size_t at = error.find(kCause);
        if (at == std::string_view::npos) {
            return ErrorClass::wait;  // the queued command's own reply says more
        }
        error = error.substr(at + kCause.size());
    }
    const std::string_view word = error.substr(0, error.find(' '));
    constexpr std::array<std::string_view, 5> kWait{"BUSY", "OOM", "MISCONF", "NOREPLICAS",
                                                    "UNKILLABLE"};
    constexpr std::array<std::string_view, 7> kReconnect{
        "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"};
    constexpr std::array<std::string_view, 3> kPermission{"NOAUTH", "WRONGPASS", "NOPERM"};
    const auto among = [word](const auto& words) {
        return std::find(words.begin(), words.end(), word) != words.end();
    };
    if (among(kWait)) {
        return ErrorClass::wait;
    }
    if (among(kReconnect) || error.starts_with("ERR max number of clients")) {
        return ErrorClass::reconnect;
    }
    return among(kPermission) ? ErrorClass::permission : ErrorClass::refused;
}

std::string refused_result_json(std::string_view reduction, const model::ResultBatch& batch,
                                std::size_t row, std::string_view requests,
                                const std::vector<std::string>& replies) {
    nlohmann::ordered_json line;
    line["reduce"] = reduction;
    line["key"] = nlohmann::ordered_json::array();
    if (const auto parts = model::key_parts(batch.key[row])) {
        for (const auto part : *parts) {
            line["key"].push_back(part);
        }
    }
    line["window"] = {{"start", batch.window.start}, {"end", batch.window.end}};
    line["commands"] = nlohmann::ordered_json::array();
    while (const auto words = take_request(requests)) {
        std::string command;
        for (const auto word : *words) {
            command += (command.empty() ? "" : " ") + quoted(word);
        }
        line["commands"].push_back(std::move(command));
    }
    std::string reply;
    for (const auto& text : replies) {
        reply += (reply.empty() ? "" : "; ") + text;
    }
    line["reply"] = reply;
    return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace sluice::sinks
