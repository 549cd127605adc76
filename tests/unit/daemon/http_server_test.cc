// The real server over its real socket, asked by the real client and by hand.
#include "daemon/http_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <thread>

#include "daemon/control.h"
#include "daemon/socket_path.h"

namespace sluice::daemon {
namespace {

class FixedClock final : public model::Clock {
 public:
    model::EventTime wall_ms() const override { return 1'714'521'605'000; }
    std::int64_t steady_ns() const override { return 0; }
};

class HttpTest : public testing::Test {
 protected:
    HttpTest() {
        std::string pattern = std::filesystem::temp_directory_path() / "sluice-http-XXXXXX";
        folder_ = mkdtemp(pattern.data());
        settings_.socket_path = folder_ + "/control.sock";
        settings_.port = 0;
        status_.name = "clicks";
        status_.conditions = {{"restore", false, 0, "checkpoint 7: 42 %"}};
    }
    ~HttpTest() override {
        server_.reset();
        std::filesystem::remove_all(folder_);
    }

    void open() {
        auto server = HttpServer::open(
            settings_,
            {.status = [this] { return status_; },
             .stop = [this](StopRequest) { stopped_ = true; },
             .checkpoint = [this](Done done) { waiting_.set_value(std::move(done)); },
             .savepoint = {},
             .remove_savepoint = {},
             .more_metrics = {}},
            clock_);
        ASSERT_TRUE(server) << server.error().text;
        server_ = std::move(*server);
    }

    ControlAnswer get(const std::string& path) { return request("GET", path); }
    ControlAnswer request(const std::string& method, const std::string& path) {
        auto answer = ask({"clicks", {settings_.socket_path}}, method, path, 10'000);
        EXPECT_TRUE(answer) << answer.error().text;
        return answer ? *answer : ControlAnswer{};
    }

    // Sends bytes to the TCP port and returns everything that comes back until it closes.
    std::string raw(const std::string& bytes) {
        const int file = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(server_->port());
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(connect(file, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        EXPECT_EQ(send(file, bytes.data(), bytes.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(bytes.size()));
        std::string text;
        std::array<char, 4096> buffer{};
        ssize_t count = 0;
        while ((count = recv(file, buffer.data(), buffer.size(), 0)) > 0) {
            text.append(buffer.data(), static_cast<std::size_t>(count));
        }
        close(file);
        return text;
    }

    FixedClock clock_;
    std::string folder_;
    HttpSettings settings_;
    Status status_;
    std::atomic<bool> stopped_ = false;
    std::promise<Done> waiting_;
    std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTest, ServesTheStatusBeforeReady) {
    open();
    const ControlAnswer status = get("/status");
    EXPECT_EQ(status.status, 200);
    EXPECT_EQ(status.body, to_json(status_) + "\n");
    EXPECT_EQ(status.pid, getpid());
    EXPECT_EQ(get("/livez").status, 200);
}

TEST_F(HttpTest, ReadinessNamesTheConditionsThatFail) {
    open();
    const ControlAnswer before = get("/readyz?verbose");
    EXPECT_EQ(before.status, 503);
    EXPECT_NE(before.body.find("[-] restore: checkpoint 7: 42 %"), std::string::npos);
}

TEST_F(HttpTest, ReadinessIs200WhenReady) {
    status_.ready = true;
    status_.conditions[0].ok = true;
    open();
    EXPECT_EQ(get("/readyz").status, 200);
    EXPECT_EQ(get("/-/ready").status, 200);
}

TEST_F(HttpTest, ServesMetricsAndThePage) {
    open();
    EXPECT_NE(get("/metrics").body.find("sluice_records_before_ready_total"), std::string::npos);
    EXPECT_NE(get("/").body.find("<h1>clicks"), std::string::npos);
    EXPECT_EQ(get("/nothing").status, 404);
    EXPECT_EQ(request("POST", "/status").status, 405);
}

TEST_F(HttpTest, StopsOnlyByPostOnTheSocket) {
    open();
    EXPECT_EQ(get("/stop").status, 405);
    EXPECT_FALSE(stopped_);
    EXPECT_TRUE(raw("POST /stop HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 403") ||
                raw("POST /stop HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 403"));
    EXPECT_FALSE(stopped_);
    EXPECT_EQ(request("POST", "/stop").status, 202);
    get("/livez");  // one thread: the stop was called before this was answered
    EXPECT_TRUE(stopped_);
}

TEST_F(HttpTest, AnswersACheckpointWhenItIsDone) {
    open();
    std::thread worker([this] { waiting_.get_future().get()(std::string("{\"id\":12}")); });
    const ControlAnswer answer = request("POST", "/checkpoint");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "{\"id\":12}\n");
    worker.join();
}

TEST_F(HttpTest, ACheckpointThatFailsSaysWhy) {
    open();
    std::thread worker([this] { waiting_.get_future().get()(model::exhausted("disk \"full\"")); });
    const ControlAnswer answer = request("POST", "/checkpoint");
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.body, "{\"error\":\"disk \\\"full\\\"\"}\n");
    worker.join();
}

TEST_F(HttpTest, AnAnswerMayComeAfterTheServerIsGone) {
    open();
    auto asked = std::async(std::launch::async, [this] {
        return ask({"clicks", {settings_.socket_path}}, "POST", "/checkpoint", 10'000);
    });
    const Done done = waiting_.get_future().get();
    server_.reset();
    EXPECT_FALSE(asked.get());
    done(std::string("{}"));
}

TEST_F(HttpTest, KeepsAConnectionForSeveralRequests) {
    open();
    const std::string text =
        raw("GET /livez HTTP/1.1\r\nHost: x\r\n\r\nHEAD /status HTTP/1.1\r\nHost: x\r\n\r\n"
            "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    std::size_t answers = 0;
    for (std::size_t at = 0; (at = text.find("HTTP/1.1 200 OK", at)) != std::string::npos; ++at) {
        ++answers;
    }
    EXPECT_EQ(answers, 3U) << text;
    EXPECT_EQ(text.find("clicks"), std::string::npos) << "HEAD has no body";
}

TEST_F(HttpTest, RefusesWhatIsNotHttpOrTooLarge) {
    open();
    EXPECT_NE(raw("nonsense\r\n\r\n").find(" 400 "), std::string::npos);
    EXPECT_NE(raw("GET / HTTP/1.1\r\nX: " + std::string(20'000, 'x')).find(" 413 "),
              std::string::npos);
    EXPECT_EQ(get("/livez").status, 200) << "and goes on";
}

TEST_F(HttpTest, ClosesAConnectionThatSaysNothing) {
    settings_.timeout_ms = 1;
    open();
    EXPECT_EQ(raw("GET /li"), "");
}

TEST_F(HttpTest, ReplacesASocketThatNobodyListensOn) {
    {
        const auto path = SocketPath::open(settings_.socket_path);
        const int file = socket(AF_UNIX, SOCK_STREAM, 0);
        ASSERT_EQ(
            bind(file, reinterpret_cast<const sockaddr*>(&path->address()), sizeof(sockaddr_un)),
            0);
        close(file);
    }
    open();
    EXPECT_EQ(get("/livez").status, 200);
    struct stat facts{};
    stat(settings_.socket_path.c_str(), &facts);
    EXPECT_EQ(facts.st_mode & 0777U, 0660U);
}

TEST_F(HttpTest, DoesNotTakeASocketFromALivingServer) {
    open();
    const auto second = HttpServer::open(settings_,
                                         {.status = [] { return Status{}; },
                                          .stop = {},
                                          .checkpoint = {},
                                          .savepoint = {},
                                          .remove_savepoint = {},
                                          .more_metrics = {}},
                                         clock_);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().text.find("another daemon"), std::string::npos);
    EXPECT_EQ(get("/livez").status, 200);
}

TEST_F(HttpTest, MakesItsFolderAndTakesAPathOfAnyLength) {
    settings_.socket_path =
        folder_ + "/" + std::string(100, 'a') + "/" + std::string(100, 'b') + "/control.sock";
    open();
    EXPECT_EQ(get("/livez").status, 200);
}

TEST_F(HttpTest, RemovesItsSocketAtTheEnd) {
    open();
    server_.reset();
    EXPECT_FALSE(std::filesystem::exists(settings_.socket_path));
    const auto answer = ask({"clicks", {settings_.socket_path}}, "GET", "/livez", 1'000);
    ASSERT_FALSE(answer);
    EXPECT_NE(answer.error().text.find("there is no control socket"), std::string::npos);
}

TEST_F(HttpTest, AnAddressInUseIsAnError) {
    open();
    HttpSettings second = settings_;
    second.socket_path += "2";
    second.port = server_->port();
    EXPECT_FALSE(HttpServer::open(second,
                                  {.status = [] { return Status{}; },
                                   .stop = {},
                                   .checkpoint = {},
                                   .savepoint = {},
                                   .remove_savepoint = {},
                                   .more_metrics = {}},
                                  clock_));
}

TEST_F(HttpTest, TcpMayBeOff) {
    settings_.host.reset();
    open();
    EXPECT_EQ(server_->port(), 0);
    EXPECT_EQ(get("/livez").status, 200);
}

}  // namespace
}  // namespace sluice::daemon
