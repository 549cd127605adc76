// RESP2, the protocol of Redis: requests are built here, replies are parsed by hiredis' reader.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/result.h"

struct redisReader;

namespace sluice::sinks {

// Appends requests to a buffer: `*argc` and then each argument as `$length bytes`. hiredis' own
// formatting parses a format string and allocates per command.
class RequestWriter {
 public:
    explicit RequestWriter(std::string& to) : to_(to) {}

    // The next `arguments` calls of argument() belong to one command.
    void begin(std::size_t arguments) { header('*', arguments); }
    void argument(std::string_view bytes) {
        header('$', bytes.size());
        to_.append(bytes);
        to_.append("\r\n", 2);
    }
    // Bytes that argument() made before.
    void encoded(std::string_view bytes) { to_.append(bytes); }
    void command(std::initializer_list<std::string_view> words) {
        begin(words.size());
        for (const auto word : words) {
            argument(word);
        }
    }

 private:
    void header(char kind, std::size_t number) {
        char bytes[24];
        bytes[0] = kind;
        char* end = std::to_chars(bytes + 1, bytes + 22, number).ptr;
        *end++ = '\r';
        *end++ = '\n';
        to_.append(bytes, static_cast<std::size_t>(end - bytes));
    }

    std::string& to_;
};

// The words of the first request in `bytes`, which it is removed from; empty when there is no whole
// one.
std::optional<std::vector<std::string_view>> take_request(std::string_view& bytes);

// A reply: one node, or an array and the nodes of its elements in order (each with its own elements
// behind it).
struct Reply {
    enum class Kind : std::uint8_t { status, error, integer, nil, text, array };
    struct Node {
        Kind kind = Kind::nil;
        std::int64_t integer = 0;  // of an array: its number of elements
        std::size_t at = 0;        // text: where in `bytes`
        std::size_t size = 0;
    };
    std::vector<Node> nodes;
    std::string bytes;

    Kind kind() const { return nodes.front().kind; }
    bool is_error() const { return kind() == Kind::error; }
    bool is_array() const { return kind() == Kind::array; }
    bool is_status(std::string_view word) const { return kind() == Kind::status && text() == word; }
    std::size_t size() const { return static_cast<std::size_t>(nodes.front().integer); }
    std::string_view text() const { return text(nodes.front()); }
    std::string_view text(const Node& node) const {
        return std::string_view(bytes).substr(node.at, node.size);
    }
    // Where the element after the one at `node` begins.
    std::size_t next(std::size_t node) const;
};

// Turns the bytes of a connection into replies. After an error the connection is of no use.
//
// Limits: arrays within arrays to four levels, `max_reply_bytes` for one reply.
class ReplyReader {
 public:
    explicit ReplyReader(std::size_t max_reply_bytes = 256 << 20);
    ~ReplyReader();
    ReplyReader(const ReplyReader&) = delete;
    ReplyReader& operator=(const ReplyReader&) = delete;

    void reset();  // for a new connection
    void feed(std::string_view bytes);
    // The next whole reply, valid until the next call; null: more bytes are needed. Error: corrupt.
    model::Result<const Reply*> next();

 private:
    struct Builder;
    enum class Plain : std::uint8_t { taken, cut_off, other };
    Plain take_plain();
    std::unique_ptr<Builder> builder_;
};

}  // namespace sluice::sinks
