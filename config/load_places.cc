// [sink], [state], [savepoint], [dead_letter], [http]: where things go to.
#include <algorithm>

#include "config/address.h"
#include "config/loading.h"
#include "config/units.h"

namespace sluice::config {

namespace {

class PlacesLoader {
 public:
    explicit PlacesLoader(Loading& loading)
        : loading_(loading), reading_(loading.reading), pipeline_(loading.pipeline) {}

    void load(Section& top) {
        load_sink(top);
        load_state(top);
        load_savepoint(top);
        load_dead_letter(top);
        load_http(top);
    }

 private:
    void load_sink(Section& top) {
        Section section = top.table("sink");
        if (!top.has("sink")) {
            return;
        }
        Sink& sink = pipeline_.sink;
        if (const auto url = section.text("redis")) {
            auto address = read_redis_address(*url);
            if (!address) {
                reading_.error(section.value_spot("redis"), "`redis`: " + address.error().message,
                               address.error().hint);
                if (url->find('@') != std::string::npos) {
                    const Spot spot = section.value_spot("redis");
                    loading_.hidden_lines.insert({spot.origin, spot.line});
                }
            } else {
                sink.url = *url;
                sink.host = address->host;
                sink.port = address->port;
                sink.unix_path = address->unix_path;
                sink.database = address->database;
            }
        }
        sink.username = section.text("username").value_or("");
        sink.password = loading_.secret(section, "password");
        loading_.check_credentials(section, sink.username, sink.password, false);
        sink.connections = static_cast<int>(section.integer("connections"));
        sink.result_retention_ms = *section.duration("result_retention");
        sink.result_retention_bytes = *section.size("result_retention_bytes");
        section.integer("replicas");
    }

    void load_state(Section& top) {
        Section section = top.table("state");
        State& state = pipeline_.state;
        if (section.has("directory")) {
            if (const auto directory = section.text("directory")) {
                state.directory = (loading_.folder / *directory).lexically_normal().string();
                if (directory->empty()) {
                    reading_.error(section.value_spot("directory"), "`directory` is empty");
                }
            }
        } else {
            state.directory = default_directory(section);
        }
        while (state.directory.size() > 1 && state.directory.ends_with('/')) {
            state.directory.pop_back();
        }
        Section checkpoint = section.table("checkpoint");
        state.checkpoint_every_ms = *checkpoint.duration("every");
        state.checkpoint_keep = static_cast<int>(checkpoint.integer("keep"));
        state.checkpoint_max_bytes = checkpoint.size("max_bytes");
        state.verify_full = section.choice("verify") == "full";
        load_memory(section);
        state.reserve_bytes = *section.size("reserve");
        const std::string io = section.choice("io");
        state.io = io == "io_uring"  ? IoBackend::io_uring
                   : io == "threads" ? IoBackend::threads
                                     : IoBackend::automatic;
    }

    void load_savepoint(Section& top) {
        Section section = top.table("savepoint");
        Savepoint& savepoint = pipeline_.savepoint;
        if (const auto directory = section.text("directory")) {
            if (directory->empty()) {
                reading_.error(section.value_spot("directory"), "`directory` is empty");
            }
            auto path = (std::filesystem::path(pipeline_.state.directory) / *directory)
                            .lexically_normal()
                            .string();
            while (path.size() > 1 && path.ends_with('/')) {
                path.pop_back();
            }
            if (path != pipeline_.state.directory + "/savepoints") {
                savepoint.directory = std::move(path);
            }
        }
        savepoint.on_stop = section.boolean("on_stop");
        savepoint.copy = section.boolean("copy");
        savepoint.bytes_per_second = section.size("rate");
        savepoint.timeout_ms = *section.duration("timeout");
    }

    std::string default_directory(Section& section) {
        if (const auto given = loading_.environment.variable("STATE_DIRECTORY");
            given && !given->empty()) {
            return given->substr(0, given->find(':'));
        }
        const auto home = loading_.environment.variable("HOME");
        if (!home || home->empty()) {
            reading_.error(section.header(), "there is no place for state: $HOME is not set",
                           "write [state] directory = \"…\"");
            return "";
        }
        return *home + "/.local/state/sluice/" + pipeline_.name;
    }

    void load_memory(Section& section) {
        constexpr std::uint64_t kLeastMemory = 16ULL << 20;
        std::uint64_t& memory = pipeline_.state.memory_bytes;
        const TomlNode* node = section.find("memory");
        std::string text(find_setting("state", "memory")->standard);
        if (node != nullptr) {
            text = node->kind == TomlNode::Kind::integer ? node->text : text_of(*node).value_or("");
        }
        if (const auto share = read_percentage(text)) {
            memory = static_cast<std::uint64_t>(
                static_cast<double>(loading_.environment.memory_limit_bytes) * *share / 100);
        } else if (const auto size = read_size(text); size && !text.ends_with('%')) {
            memory = *size;
        } else {
            reading_.error(section.value_spot("memory"),
                           "`memory`: " + (text.ends_with('%') ? share.error() : size.error()),
                           "for instance \"70%\" or \"2GiB\"");
            return;
        }
        if (node != nullptr && memory < kLeastMemory) {
            reading_.error(node->value, "`memory` must be at least " + print_size(kLeastMemory));
        } else if (memory > loading_.environment.memory_limit_bytes &&
                   loading_.environment.memory_limit_bytes > 0) {
            reading_.warning(section.value_spot("memory"),
                             "more memory than there is: the limit is " +
                                 print_size(loading_.environment.memory_limit_bytes));
        }
    }

    void load_dead_letter(Section& top) {
        Section section = top.table("dead_letter");
        DeadLetter& dead_letter = pipeline_.dead_letter;
        const auto file = section.text("file");
        if (file && file->empty()) {
            reading_.error(section.value_spot("file"), "`file` is empty");
        }
        dead_letter.file = (std::filesystem::path(pipeline_.state.directory) / file.value_or(""))
                               .lexically_normal()
                               .string();
        dead_letter.max_bytes = *section.size("max_bytes");
        dead_letter.drop_when_full = section.choice("on_full") == "drop";
    }

    void load_http(Section& top) {
        Section section = top.table("http");
        const auto listen = section.text("listen");
        Http& http = pipeline_.http;
        if (!listen) {
            return;
        }
        if (*listen == "off") {
            http.host.reset();
            return;
        }
        auto address = read_listen_address(*listen);
        if (!address) {
            reading_.error(section.value_spot("listen"), "`listen`: " + address.error().message,
                           address.error().hint);
            return;
        }
        http.host = address->host;
        http.port = address->port;
    }

    Loading& loading_;
    Reading& reading_;
    Pipeline& pipeline_;
};

}  // namespace

void load_places(Loading& loading, Section& top) { PlacesLoader(loading).load(top); }

}  // namespace sluice::config
