#include "daemon/http_server.h"

// <utility> before Boost: Asio 1.18 uses std::exchange without including it.
#include <utility>
// clang-format off
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
// clang-format on
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "daemon/metrics.h"
#include "daemon/socket_path.h"
#include "daemon/version.h"

namespace sluice::daemon {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using Socket = asio::generic::stream_protocol::socket;
using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

constexpr std::size_t kMostHeaderBytes = 8 * 1024;
constexpr std::size_t kMostBodyBytes = 64 * 1024;

// {"error": "…"}
std::string error_json(std::string_view text) {
    std::string json = "{\"error\":\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            json += '\\';
        }
        json += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return json + "\"}\n";
}

Response make_response(const Request& request, http::status status, std::string_view type,
                       std::string body) {
    Response response{status, request.version()};
    response.set(http::field::server, "sluice/" + version());
    response.set(http::field::content_type, boost::string_view(type.data(), type.size()));
    response.set(http::field::cache_control, "no-store");
    // The page is plain HTML with one style sheet inside; nothing else is ever needed.
    response.set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
    response.set("X-Content-Type-Options", "nosniff");
    response.keep_alive(request.keep_alive());
    response.body() = std::move(body);
    response.prepare_payload();
    if (request.method() == http::verb::head) {
        response.body().clear();  // the length stays
    }
    return response;
}

}  // namespace

// Everything below runs on the thread `admin`, but for what open() and the destructor do.
class HttpServer::Running {
 public:
    Running(const HttpSettings& settings, HttpCallbacks callbacks, const model::Clock& clock)
        : settings_(settings), callbacks_(std::move(callbacks)), clock_(clock) {}

    ~Running() {
        if (thread_.joinable()) {
            io_.stop();
            thread_.join();
        }
        for (const std::shared_ptr<Waiting>& waiting : waiting_) {
            const std::lock_guard lock(waiting->mutex);
            waiting->io = nullptr;
            waiting->session.reset();
        }
        if (!bound_path_.empty()) {
            unlink(bound_path_.c_str());
        }
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    model::Status listen() {
        TRY(listen_unix());
        if (settings_.host) {
            TRY(listen_tcp());
        }
        return {};
    }

    void start() {
        accept(local_, true);
        if (tcp_.is_open()) {
            accept(tcp_, false);
        }
        thread_ = std::thread([this] {
            pthread_setname_np(pthread_self(), "admin");
            sigset_t all;
            sigfillset(&all);
            pthread_sigmask(SIG_BLOCK, &all, nullptr);
            while (!io_.stopped()) {
                try {
                    io_.run();
                } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): see below
                    // One connection's trouble (no memory for its answer); the others go on.
                }
            }
        });
    }

    std::uint16_t port() const { return port_; }

    void settle(std::int64_t timeout_ms) {
        std::unique_lock lock(unsent_mutex_);
        all_sent_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                           [this] { return unsent_ == 0; });
    }

 private:
    class Session;

    // A session whose answer comes from another thread.
    struct Waiting {
        std::mutex mutex;
        asio::io_context* io = nullptr;    // guarded by mutex; null: the server is gone
        std::shared_ptr<Session> session;  // guarded by mutex

        std::shared_ptr<Session> take() {
            const std::lock_guard lock(mutex);
            return std::move(session);
        }
    };

    using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;

    model::Status listen_unix() {
        std::error_code ignored;  // the bind says it better
        std::filesystem::create_directories(
            std::filesystem::path(settings_.socket_path).parent_path(), ignored);
        TRY(path, SocketPath::open(settings_.socket_path));
        const int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (file < 0) {
            return model::unavailable(std::string("control socket: ") + std::strerror(errno));
        }
        const auto* address = reinterpret_cast<const sockaddr*>(&path.address());
        bool bound = bind(file, address, sizeof(sockaddr_un)) == 0;
        if (!bound && errno == EADDRINUSE) {
            // Somebody listens, or somebody who did is gone: only a connection attempt tells.
            const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            const bool alive = connect(probe, address, sizeof(sockaddr_un)) == 0;
            ::close(probe);
            if (alive) {
                ::close(file);
                return model::unavailable("control socket " + settings_.socket_path +
                                          ": another daemon listens on it");
            }
            unlink(settings_.socket_path.c_str());
            bound = bind(file, address, sizeof(sockaddr_un)) == 0;
        }
        if (bound) {
            bound_path_ = settings_.socket_path;
        }
        if (!bound || chmod(settings_.socket_path.c_str(), 0660) != 0 ||
            ::listen(file, settings_.connections) != 0) {
            const int error = errno;
            ::close(file);
            return model::unavailable("control socket " + settings_.socket_path + ": " +
                                      std::strerror(error));
        }
        local_.assign(asio::generic::stream_protocol(AF_UNIX, 0), file);
        return {};
    }

    model::Status listen_tcp() {
        const std::string shown = *settings_.host + ":" + std::to_string(settings_.port);
        boost::system::error_code error;
        asio::ip::tcp::resolver resolver(io_);
        const auto found = resolver.resolve(*settings_.host, std::to_string(settings_.port),
                                            asio::ip::resolver_base::passive, error);
        if (error || found.empty()) {
            return model::unavailable("http " + shown + ": " + error.message());
        }
        const asio::ip::tcp::endpoint endpoint = found.begin()->endpoint();
        tcp_.open(asio::generic::stream_protocol(endpoint.protocol()), error);
        if (!error) {
            tcp_.set_option(asio::socket_base::reuse_address(true), error);
        }
        if (!error) {
            tcp_.bind(asio::generic::stream_protocol::endpoint(endpoint), error);
        }
        if (!error) {
            tcp_.listen(settings_.connections, error);
        }
        if (error) {
            return model::unavailable(
                "http " + shown + ": " + error.message() +
                "; each instance wants a [http] listen of its own, or \"off\"");
        }
        fcntl(tcp_.native_handle(), F_SETFD, FD_CLOEXEC);
        sockaddr_storage bound{};
        socklen_t length = sizeof(bound);
        getsockname(tcp_.native_handle(), reinterpret_cast<sockaddr*>(&bound), &length);
        port_ = ntohs(bound.ss_family == AF_INET6
                          ? reinterpret_cast<const sockaddr_in6*>(&bound)->sin6_port
                          : reinterpret_cast<const sockaddr_in*>(&bound)->sin_port);
        return {};
    }

    void accept(Acceptor& acceptor, bool local);

    const HttpSettings settings_;
    const HttpCallbacks callbacks_;
    const model::Clock& clock_;
    std::uint16_t port_ = 0;
    std::string bound_path_;
    void give_answer() {
        const std::lock_guard lock(unsent_mutex_);
        ++unsent_;
    }
    void answer_left() {
        const std::lock_guard lock(unsent_mutex_);
        if (--unsent_ == 0) {
            all_sent_.notify_all();
        }
    }

    std::mutex unsent_mutex_;
    std::condition_variable all_sent_;
    int unsent_ = 0;  // guarded by unsent_mutex_: answers given by other threads, not yet gone
    std::set<std::shared_ptr<Waiting>> waiting_;
    // Sessions count themselves, also when io_ is destroyed with some of them: these outlive it.
    int open_local_ = 0;
    int open_tcp_ = 0;
    asio::io_context io_{1};
    Acceptor local_{io_};
    Acceptor tcp_{io_};
    asio::steady_timer later_local_{io_};
    asio::steady_timer later_tcp_{io_};
    std::thread thread_;
};

// One connection: requests one after the other, each within its time. Kept alive by the operations
// that it has under way, and by nothing else.
class HttpServer::Running::Session : public std::enable_shared_from_this<Session> {
 public:
    Session(Running& server, Socket socket, bool local)
        : server_(server), socket_(std::move(socket)), timer_(server.io_), local_(local) {
        ++open();
    }
    ~Session() { --open(); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void read() {
        parser_.emplace();
        parser_->header_limit(kMostHeaderBytes);
        parser_->body_limit(kMostBodyBytes);
        start_timer();
        http::async_read(socket_, buffer_, *parser_,
                         [self = shared_from_this()](boost::system::error_code error, std::size_t) {
                             self->timer_.cancel();
                             self->on_read(error);
                         });
    }

 private:
    int& open() { return local_ ? server_.open_local_ : server_.open_tcp_; }

    // Closing the socket ends whatever is under way with an error.
    void start_timer() {
        timer_.expires_after(std::chrono::milliseconds(server_.settings_.timeout_ms));
        timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
            const auto self = weak.lock();
            if (!error && self) {
                self->close();
            }
        });
    }

    void close() {
        boost::system::error_code ignored;
        socket_.close(ignored);
    }

    void on_read(boost::system::error_code error) {
        if (error == http::error::end_of_stream) {
            socket_.shutdown(Socket::shutdown_both, error);
            return;
        }
        Request request;
        if (error) {
            if (error.category() != http::make_error_code(http::error::bad_method).category()) {
                return;
            }
            request.keep_alive(false);
            request.version(11);
            const bool large =
                error == http::error::body_limit || error == http::error::header_limit;
            send(make_response(request,
                               large ? http::status::payload_too_large : http::status::bad_request,
                               "application/json", error_json(error.message())));
            return;
        }
        answer(parser_->release());
    }

    void answer(const Request& request) {
        const std::string_view target(request.target().data(), request.target().size());
        const std::string_view path = target.substr(0, target.find('?'));
        if (path == "/stop" || path == "/checkpoint" || path == "/savepoint" ||
            path == "/savepoint/delete" || path == "/reload") {
            act(request, path, target.size() > path.size() ? target.substr(path.size() + 1) : "");
            return;
        }
        if (request.method() != http::verb::get && request.method() != http::verb::head) {
            send(make_response(request, http::status::method_not_allowed, "application/json",
                               error_json("only GET")));
            return;
        }
        const model::EventTime now = server_.clock_.wall_ms();
        if (path == "/status") {
            send(make_response(request, http::status::ok, "application/json",
                               to_json(server_.callbacks_.status()) + "\n"));
        } else if (path == "/livez" || path == "/-/healthy") {
            send(make_response(request, http::status::ok, "text/plain", "ok\n"));
        } else if (path == "/readyz" || path == "/-/ready") {
            send_ready(request);
        } else if (path == "/metrics") {
            std::string text = to_metrics(server_.callbacks_.status(), now);
            if (server_.callbacks_.more_metrics) {
                text += server_.callbacks_.more_metrics();
            }
            send(make_response(request, http::status::ok, "text/plain; version=0.0.4",
                               std::move(text)));
        } else if (path == "/") {
            send(make_response(request, http::status::ok, "text/html; charset=utf-8",
                               to_html(server_.callbacks_.status(), now)));
        } else {
            send(make_response(request, http::status::not_found, "application/json",
                               error_json("there are /status /livez /readyz /metrics /")));
        }
    }

    void send_ready(const Request& request) {
        const Status status = server_.callbacks_.status();
        std::string body =
            status.ready ? "ready\n" : "not ready: " + std::string(name_of(status.state)) + "\n";
        for (const Condition& condition : status.conditions) {
            body += (condition.ok ? "[+] " : "[-] ") + condition.name;
            if (!condition.ok) {
                body += ": " + condition.reason;
            }
            body += "\n";
        }
        send(make_response(request,
                           status.ready ? http::status::ok : http::status::service_unavailable,
                           "text/plain; charset=utf-8", std::move(body)));
    }

    void act(const Request& request, std::string_view path, std::string_view query) {
        if (!local_) {
            send(make_response(request, http::status::forbidden, "application/json",
                               error_json("this listener is read only; use the Unix socket")));
            return;
        }
        if (request.method() != http::verb::post) {
            send(make_response(request, http::status::method_not_allowed, "application/json",
                               error_json("only POST")));
            return;
        }
        StopRequest wanted;
        wanted.drain = parameter(query, "drain") == "yes";
        if (const std::string_view savepoint = parameter(query, "savepoint"); !savepoint.empty()) {
            wanted.savepoint = savepoint == "yes";
        }
        if (path == "/stop" && parameter(query, "wait") != "yes") {
            send(make_response(request, http::status::accepted, "application/json",
                               "{\"stopping\":true}\n"));
            server_.callbacks_.stop(wanted);
            return;
        }
        if (path == "/reload" && parameter(query, "wait") == "no") {
            send(make_response(request, http::status::accepted, "application/json",
                               "{\"reloading\":true}\n"));
            server_.callbacks_.reload([](const model::Result<std::string>&) {});
            return;
        }
        const std::string name(parameter(query, "name"));
        if (path == "/savepoint/delete" && name.empty()) {
            send(make_response(request, http::status::bad_request, "application/json",
                               error_json("?name= is missing")));
            return;
        }
        // The answer may come from another thread, and after the server is gone: it then finds the
        // session expired. The io_context is only touched while a session lives on its thread.
        auto waiting = std::make_shared<Waiting>();
        waiting->session = shared_from_this();
        waiting->io = &server_.io_;
        server_.waiting_.insert(waiting);
        Done done = [waiting, head = bare(request)](model::Result<std::string> outcome) {
            const std::lock_guard lock(waiting->mutex);
            if (waiting->io == nullptr || waiting->session == nullptr) {
                return;
            }
            waiting->session->server_.give_answer();
            asio::post(*waiting->io, [waiting, head, outcome = std::move(outcome)] {
                const std::shared_ptr<Session> session = waiting->take();
                session->server_.waiting_.erase(waiting);
                session->last_words_ = true;
                session->finish(head, outcome);
            });
        };
        if (path == "/stop") {
            wanted.done = std::move(done);
            server_.callbacks_.stop(std::move(wanted));
        } else if (path == "/checkpoint") {
            server_.callbacks_.checkpoint(std::move(done));
        } else if (path == "/reload") {
            server_.callbacks_.reload(std::move(done));
        } else if (path == "/savepoint") {
            server_.callbacks_.savepoint(name, std::move(done));
        } else {
            server_.callbacks_.remove_savepoint(name, std::move(done));
        }
    }

    // The value of `name` in "a=b&c=d", as it is: what we take has no need of escapes. Empty: none.
    static std::string_view parameter(std::string_view query, std::string_view name) {
        while (!query.empty()) {
            const std::string_view one = query.substr(0, query.find('&'));
            if (one.starts_with(name) && one.substr(name.size()).starts_with('=')) {
                return one.substr(name.size() + 1);
            }
            query.remove_prefix(std::min(one.size() + 1, query.size()));
        }
        return {};
    }

    // What an answer needs of its request.
    static Request bare(const Request& request) {
        Request head;
        head.version(request.version());
        head.keep_alive(request.keep_alive());
        return head;
    }

    void finish(const Request& head, const model::Result<std::string>& done) {
        if (done) {
            send(make_response(head, http::status::ok, "application/json", *done + "\n"));
        } else {
            const bool wrong = done.error().kind == model::ErrorKind::invalid;
            send(make_response(head,
                               wrong ? http::status::conflict : http::status::service_unavailable,
                               "application/json", error_json(done.error().text)));
        }
    }

    void send(Response response) {
        response_ = std::move(response);
        start_timer();
        http::async_write(
            socket_, response_,
            [self = shared_from_this()](boost::system::error_code error, std::size_t) {
                self->timer_.cancel();
                if (std::exchange(self->last_words_, false)) {
                    self->server_.answer_left();
                }
                if (error || !self->response_.keep_alive()) {
                    boost::system::error_code ignored;
                    self->socket_.shutdown(Socket::shutdown_send, ignored);
                    return;
                }
                self->read();
            });
    }

    Running& server_;
    Socket socket_;
    asio::steady_timer timer_;
    const bool local_;
    bool last_words_ = false;  // what is being sent counts among those not yet gone
    boost::beast::flat_buffer buffer_{kMostHeaderBytes + kMostBodyBytes};
    std::optional<http::request_parser<http::string_body>> parser_;
    Response response_;
};

void HttpServer::Running::accept(Acceptor& acceptor, bool local) {
    acceptor.async_accept([this, &acceptor, local](boost::system::error_code error, Socket socket) {
        if (error == asio::error::operation_aborted) {
            return;
        }
        int& open = local ? open_local_ : open_tcp_;
        if (!error && open < settings_.connections) {
            std::make_shared<Session>(*this, std::move(socket), local)->read();
        }
        if (error) {
            // No descriptors left, most likely: try again soon instead of spinning.
            asio::steady_timer& later = local ? later_local_ : later_tcp_;
            later.expires_after(std::chrono::milliseconds(200));
            later.async_wait([this, &acceptor, local](boost::system::error_code cancelled) {
                if (!cancelled) {
                    accept(acceptor, local);
                }
            });
            return;
        }
        accept(acceptor, local);
    });
}

HttpServer::HttpServer(std::unique_ptr<Running> running) : running_(std::move(running)) {}
HttpServer::~HttpServer() = default;

model::Result<std::unique_ptr<HttpServer>> HttpServer::open(const HttpSettings& settings,
                                                            HttpCallbacks callbacks,
                                                            const model::Clock& clock) {
    try {
        auto running = std::make_unique<Running>(settings, std::move(callbacks), clock);
        TRY(running->listen());
        running->start();
        return std::unique_ptr<HttpServer>(new HttpServer(std::move(running)));
    } catch (const std::exception& error) {
        return model::unavailable(std::string("http: ") + error.what());
    }
}

void HttpServer::settle(std::int64_t timeout_ms) { running_->settle(timeout_ms); }
std::uint16_t HttpServer::port() const { return running_->port(); }

}  // namespace sluice::daemon
