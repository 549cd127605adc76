#include "sinks/resp.h"

#include <hiredis/read.h>

#include <new>

namespace sluice::sinks {

namespace {

constexpr int kMaxDepth = 4;
constexpr std::size_t kFeedBytes = 16 << 10;  // hiredis moves what is left after each reply

int depth_of(const redisReadTask* task) {
    int depth = 0;
    for (const auto* up = task->parent; up != nullptr; up = up->parent) {
        ++depth;
    }
    return depth;
}

}  // namespace

// hiredis calls back for every piece; the pieces become flat nodes, nothing is allocated per reply.
// Every callback must return something that is not null; null means "out of memory" to hiredis and
// ends the connection, which is what a limit needs.
struct ReplyReader::Builder {
    Reply reply;
    std::size_t max_bytes = 0;
    std::string waiting;  // fed, not yet given to hiredis
    std::size_t given = 0;
    std::size_t unparsed = 0;  // given to hiredis since the last whole reply
    redisReplyObjectFunctions functions{};
    redisReader* reader = nullptr;

    explicit Builder(std::size_t limit) : max_bytes(limit) {
        functions.createString = [](const redisReadTask* task, char* text, std::size_t size) {
            return of(task).add_text(task, text, size);
        };
        // hiredis before 1.0 counts elements in int, later ones in size_t.
        functions.createArray = [](const redisReadTask* task, auto elements) -> void* {
            return of(task).add(task, Reply::Kind::array, static_cast<std::int64_t>(elements));
        };
        functions.createInteger = [](const redisReadTask* task, long long value) {
            return of(task).add(task, Reply::Kind::integer, value);
        };
        functions.createNil = [](const redisReadTask* task) {
            return of(task).add(task, Reply::Kind::nil, 0);
        };
        functions.freeObject = [](void*) {};
        open();
    }
    ~Builder() { redisReaderFree(reader); }
    Builder(const Builder&) = delete;
    Builder& operator=(const Builder&) = delete;

    void open() {
        reader = redisReaderCreateWithFunctions(&functions);
        if (reader == nullptr) {
            throw std::bad_alloc();
        }
        reader->privdata = this;  // the macro for it does not compile as C++ in hiredis 0.14
    }

    static Builder& of(const redisReadTask* task) { return *static_cast<Builder*>(task->privdata); }

    void* add(const redisReadTask* task, Reply::Kind kind, std::int64_t number) {
        if (kind == Reply::Kind::array &&
            (depth_of(task) >= kMaxDepth || number > static_cast<std::int64_t>(max_bytes))) {
            return nullptr;
        }
        Reply::Node node;
        node.kind = kind;
        node.integer = number;
        reply.nodes.push_back(node);
        return this;
    }
    void* add_text(const redisReadTask* task, const char* text, std::size_t size) {
        Reply::Node node;
        node.kind = task->type == REDIS_REPLY_ERROR    ? Reply::Kind::error
                    : task->type == REDIS_REPLY_STATUS ? Reply::Kind::status
                                                       : Reply::Kind::text;
        node.at = reply.bytes.size();
        node.size = size;
        reply.bytes.append(text, size);
        reply.nodes.push_back(node);
        return this;
    }
};

std::size_t Reply::next(std::size_t node) const {
    std::int64_t open = 1;
    while (open > 0) {
        open += nodes[node].kind == Kind::array ? nodes[node].integer - 1 : -1;
        ++node;
    }
    return node;
}

std::optional<std::vector<std::string_view>> take_request(std::string_view& bytes) {
    std::string_view rest = bytes;
    const auto number = [&rest](char kind) -> std::optional<std::size_t> {
        const std::size_t end = rest.find("\r\n");
        if (end == std::string_view::npos || rest.empty() || rest[0] != kind) {
            return std::nullopt;
        }
        std::size_t value = 0;
        const auto [at, code] = std::from_chars(rest.data() + 1, rest.data() + end, value);
        if (code != std::errc() || at != rest.data() + end) {
            return std::nullopt;
        }
        rest.remove_prefix(end + 2);
        return value;
    };
    const auto arguments = number('*');
    if (!arguments) {
        return std::nullopt;
    }
    std::vector<std::string_view> words;
    for (std::size_t i = 0; i < *arguments; ++i) {
        const auto size = number('$');
        if (!size || rest.size() < *size + 2) {
            return std::nullopt;
        }
        words.push_back(rest.substr(0, *size));
        rest.remove_prefix(*size + 2);
    }
    bytes = rest;
    return words;
}

ReplyReader::ReplyReader(std::size_t max_reply_bytes)
    : builder_(std::make_unique<Builder>(max_reply_bytes)) {}

ReplyReader::~ReplyReader() = default;

void ReplyReader::reset() {
    redisReaderFree(builder_->reader);
    builder_->open();
    builder_->waiting.clear();
    builder_->given = 0;
    builder_->unparsed = 0;
    builder_->reply.nodes.clear();
    builder_->reply.bytes.clear();
}

void ReplyReader::feed(std::string_view bytes) {
    auto& b = *builder_;
    if (b.given > 0) {
        b.waiting.erase(0, b.given);
        b.given = 0;
    }
    b.waiting.append(bytes);
}

namespace {

constexpr std::size_t kPlainLine = 64;          // no line longer than that is looked at
constexpr std::size_t kPlainArray = 256 << 10;  // nor an array, which may be looked at again

// The text of a status; null: there is none, or it is long, or it does not end here, which
// `cut_off` tells.
std::optional<std::string_view> take_status(std::string_view& from, bool& cut_off) {
    constexpr std::string_view kQueued = "+QUEUED\r\n";  // most of them
    if (from.starts_with(kQueued)) {
        from.remove_prefix(kQueued.size());
        return kQueued.substr(1, kQueued.size() - 3);
    }
    if (!from.empty() && from.front() != '+') {
        return std::nullopt;
    }
    const std::size_t end = from.substr(0, kPlainLine).find("\r\n");
    if (end == std::string_view::npos) {
        cut_off = from.size() < kPlainLine;
        return std::nullopt;
    }
    const std::string_view line = from.substr(1, end - 1);
    from.remove_prefix(end + 2);
    return line;
}

// The number of a line of `kind`: up to 18 digits, which need no look at overflow. False: it is
// none, or it does not end here, which `cut_off` tells.
bool take_count(std::string_view& from, char kind, std::int64_t& number, bool& cut_off) {
    const char* at = from.data();
    const char* const end = at + from.size();
    if (at == end || *at != kind) {
        cut_off = cut_off || at == end;
        return false;
    }
    const char* const digits = ++at;
    std::int64_t value = 0;
    for (; at != end && *at >= '0' && *at <= '9' && at - digits < 18; ++at) {
        value = value * 10 + (*at - '0');
    }
    if (end - at < 2) {
        cut_off = at == end || *at == '\r';
        return false;
    }
    if (at == digits || at[0] != '\r' || at[1] != '\n') {
        return false;
    }
    number = value;
    from.remove_prefix(static_cast<std::size_t>(at + 2 - from.data()));
    return true;
}

}  // namespace

// What a transaction is answered with if all is well: a status for each command, then an array of
// integers. There are so many of them that a call of hiredis for every piece is felt. What is not
// taken stays as it is, for hiredis.
ReplyReader::Plain ReplyReader::take_plain() {
    auto& b = *builder_;
    std::string_view rest = std::string_view(b.waiting).substr(b.given);
    const auto add = [&b](Reply::Kind kind, std::int64_t number) {
        b.reply.nodes.push_back({kind, number, 0, 0});
    };
    bool cut_off = false;
    std::int64_t number = 0;
    if (const auto status = take_status(rest, cut_off)) {
        add(Reply::Kind::status, 0);
        b.reply.nodes.back().size = status->size();
        b.reply.bytes.assign(*status);
    } else if (take_count(rest, ':', number, cut_off)) {
        add(Reply::Kind::integer, number);
    } else if (take_count(rest, '*', number, cut_off)) {
        if (static_cast<std::size_t>(number) > b.max_bytes) {
            return Plain::other;
        }
        const std::size_t begin = rest.size();
        add(Reply::Kind::array, number);
        for (std::int64_t left = number; left > 0; --left) {
            std::int64_t element = 0;
            if (!take_count(rest, ':', element, cut_off)) {
                b.reply.nodes.clear();
                return cut_off && begin < kPlainArray ? Plain::cut_off : Plain::other;
            }
            add(Reply::Kind::integer, element);
        }
    } else {
        return cut_off ? Plain::cut_off : Plain::other;
    }
    b.given = b.waiting.size() - rest.size();
    return Plain::taken;
}

model::Result<const Reply*> ReplyReader::next() {
    auto& b = *builder_;
    if (b.reader->ridx == -1) {  // between two replies
        b.reply.nodes.clear();
        b.reply.bytes.clear();
        // Nothing of the next one was given to hiredis.
        if (b.reader->pos == b.reader->len) {
            switch (take_plain()) {
                case Plain::taken:
                    return &b.reply;
                case Plain::cut_off:
                    return nullptr;
                case Plain::other:
                    break;
            }
        }
    }
    while (true) {
        void* done = nullptr;
        if (redisReaderGetReply(b.reader, &done) != REDIS_OK) {
            return model::corrupt(std::string("reply: ") + b.reader->errstr);
        }
        if (done != nullptr) {
            b.unparsed = 0;
            return &b.reply;
        }
        const std::string_view rest = std::string_view(b.waiting).substr(b.given, kFeedBytes);
        if (rest.empty()) {
            return nullptr;
        }
        b.unparsed += rest.size();
        if (b.unparsed > b.max_bytes + kFeedBytes) {
            return model::corrupt("reply: longer than " + std::to_string(b.max_bytes) + " bytes");
        }
        b.given += rest.size();
        if (redisReaderFeed(b.reader, rest.data(), rest.size()) != REDIS_OK) {
            return model::corrupt(std::string("reply: ") + b.reader->errstr);
        }
    }
}

}  // namespace sluice::sinks
