#include "config/load.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "config/examples.h"
#include "config/secret.h"
#include "config/settings_table.h"
#include "config/units.h"
#include "tests/unit/config/environment.h"

namespace sluice::config {
namespace {

constexpr std::string_view kBase = R"toml(name = "clicks"
[source]
brokers = "localhost:9092"
topic   = "clicks"
start   = "earliest"
[reduce.spend]
key    = ["user_id"]
window = { tumbling = "15s" }
values = { clicks = "count()", spend = "sum(price * quantity)" }
ttl    = "1h"
[sink]
redis = "redis://localhost:6379/0"
)toml";

Loaded load_with(const std::string& more, const std::vector<std::string>& overrides = {},
                 const Environment& from = environment_of()) {
    return load_text(std::string(kBase) + more, "/etc/sluice/clicks.toml", overrides, from);
}

Pipeline pipeline_with(const std::string& more, const std::vector<std::string>& overrides = {},
                       const Environment& from = environment_of()) {
    Loaded loaded = load_with(more, overrides, from);
    EXPECT_TRUE(loaded.pipeline) << to_text(loaded.diagnostics);
    return loaded.pipeline ? std::move(*loaded.pipeline) : Pipeline();
}

TEST(Load, FillsInTheDefaults) {
    const Pipeline p = pipeline_with("");
    EXPECT_EQ(p.name, "clicks");
    EXPECT_EQ(p.path, "/etc/sluice/clicks.toml");
    EXPECT_EQ(p.source.topics, std::vector<std::string>{"clicks"});
    EXPECT_EQ(p.source.partitions, "all");
    EXPECT_TRUE(p.source.share.empty());
    EXPECT_TRUE(p.source.timestamp_from_kafka);
    const Source source;
    EXPECT_EQ(p.source.out_of_order_ms, source.out_of_order_ms);
    EXPECT_EQ(p.source.idle_after_ms, source.idle_after_ms);
    EXPECT_EQ(p.source.max_future_skew_ms, source.max_future_skew_ms);
    EXPECT_EQ(p.source.timestamp_unit, source.timestamp_unit);
    EXPECT_EQ(p.source.on_error, source.on_error);
    EXPECT_EQ(p.source.on_null, source.on_null);
    EXPECT_EQ(p.source.max_bytes, source.max_bytes);
    EXPECT_EQ(p.source.max_depth, source.max_depth);
    ASSERT_EQ(p.reductions.size(), 1U);
    const Reduction& spend = p.reductions[0];
    EXPECT_EQ(spend.id, "spend");
    EXPECT_EQ(spend.window_ms, 15'000);
    EXPECT_EQ(spend.offset_ms, 0);
    EXPECT_EQ(spend.time, TimeKind::event);
    EXPECT_EQ(spend.allowed_lateness_ms, 0);
    EXPECT_EQ(spend.ttl_ms, 3'600'000);
    EXPECT_EQ(spend.ttl_from, TtlFrom::write);
    EXPECT_EQ(spend.null_key, NullKey::drop);
    EXPECT_FALSE(spend.suppress_incomplete);
    ASSERT_EQ(spend.values.size(), 2U);
    EXPECT_EQ(spend.values[0].name, "clicks") << "values keep the order of the file";
    EXPECT_EQ(spend.values[1].name, "spend");
    ASSERT_EQ(spend.write.size(), 1U);
    EXPECT_EQ(spend.write[0], default_command({{"user_id"}, {"clicks", "spend"}, true}));
    const Sink sink;
    EXPECT_EQ(p.sink.host, "localhost");
    EXPECT_EQ(p.sink.connections, sink.connections);
    EXPECT_EQ(p.sink.result_retention_ms, sink.result_retention_ms);
    EXPECT_EQ(p.sink.result_retention_bytes, sink.result_retention_bytes);
    EXPECT_EQ(p.state.directory, "/home/u/.local/state/sluice/clicks");
    EXPECT_EQ(p.dead_letter.file, "/home/u/.local/state/sluice/clicks/dead-letters.jsonl");
    EXPECT_EQ(p.dead_letter.max_bytes, DeadLetter().max_bytes);
    EXPECT_FALSE(p.dead_letter.drop_when_full);
    const State state;
    EXPECT_EQ(p.state.checkpoint_every_ms, state.checkpoint_every_ms);
    EXPECT_EQ(p.state.checkpoint_keep, state.checkpoint_keep);
    EXPECT_EQ(p.state.checkpoint_max_bytes, std::nullopt);
    EXPECT_FALSE(p.state.verify_full);
    EXPECT_EQ(p.state.reserve_bytes, state.reserve_bytes);
    EXPECT_EQ(p.state.io, IoBackend::automatic);
    EXPECT_EQ(p.state.memory_bytes, 7ULL << 30) << "70% of the limit";
    EXPECT_EQ(p.http.host, Http().host);
    EXPECT_EQ(p.http.port, Http().port);
    EXPECT_EQ(p.workers, 0);
    EXPECT_EQ(p.log.level, "info");
    EXPECT_EQ(p.log.format, "auto");
}

TEST(Load, TakesEveryDefaultWrittenOut) {
    Loaded loaded = load_text(R"toml(name = "clicks"
[source]
brokers = "localhost:9092"
topics  = ["clicks"]
start   = "earliest"
reader  = "librdkafka"
partitions = "all"
format  = "json"
timestamp = "kafka"
out_of_order = "5s"
idle_after = "1m"
max_future_skew = "5m"
on_error = "dead_letter"
on_null = "drop"
max_bytes = "1MiB"
max_depth = 64
[reduce.spend]
key    = ["user_id"]
window = { tumbling = "15s", offset = "0s" }
time = "event"
allowed_lateness = "0s"
late = "drop"
emit = "final"
values = { clicks = "count()", spend = "sum(price * quantity)" }
ttl    = "1h"
ttl_from = "write"
null_key = "drop"
max_keys = 0
suppress_incomplete = false
[sink]
redis = "redis://localhost:6379/0"
connections = 2
result_retention = "5m"
result_retention_bytes = "1GiB"
replicas = 0
[dead_letter]
file = "dead-letters.jsonl"
max_bytes = "256MiB"
on_full = "pause"
[state]
directory = "/home/u/.local/state/sluice/clicks"
checkpoint = { every = "10s", keep = 3, max_bytes = "none" }
verify = "background"
memory = "70%"
reserve = "2GiB"
io = "auto"
[http]
listen = "127.0.0.1:9464"
[threads]
workers = 0
[log]
level = "info"
format = "auto"
)toml",
                              "clicks.toml", {}, environment_of());
    ASSERT_TRUE(loaded.pipeline) << to_text(loaded.diagnostics);
    EXPECT_TRUE(loaded.diagnostics.empty()) << to_text(loaded.diagnostics);
    EXPECT_EQ(loaded.pipeline->inputs, pipeline_with("").inputs)
        << "what is written out and what is left out are the same";
}

TEST(Load, EveryExamplePassesWithoutAWarning) {
    EXPECT_EQ(examples().size(), 3U);
    for (const Example& example : examples()) {
        const Loaded loaded = load_text(example.text, "example.toml", {}, environment_of());
        EXPECT_TRUE(loaded.pipeline);
        EXPECT_EQ(to_text(loaded.diagnostics), "") << example.name;
    }
}

// The full example shows defaults in comments. Each must be known and be what it says.
TEST(Load, TheFullExampleStaysTrueWhenItsDefaultsAreUncommented) {
    std::string text;
    std::string_view rest = *example("clicks");
    while (!rest.empty()) {
        std::string line(rest.substr(0, rest.find('\n')));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        const bool setting = line.starts_with("# ") && line.find(" = ") != std::string::npos &&
                             line.find("HSET") == std::string::npos;
        const bool header = line.starts_with("# [");
        if (setting || header) {
            line.erase(0, 2);
        }
        text += line + "\n";
    }
    const Loaded loaded = load_text(text, "example.toml", {}, environment_of());
    for (const Diagnostic& diagnostic : loaded.diagnostics) {
        // Its `timestamp_unit` goes with a `timestamp` that is not the default.
        EXPECT_NE(diagnostic.message.find("timestamp_unit"), std::string::npos)
            << to_text(diagnostic);
    }
    EXPECT_TRUE(loaded.pipeline) << to_text(loaded.diagnostics);
}

TEST(Load, OverridesCountAsIfWrittenInTheFile) {
    const Pipeline p = pipeline_with(
        "", {"sink.redis=unix:/run/redis.sock", "sink.connections=4", "state.memory=1GiB",
             "state.checkpoint.every=500ms", "source.start=latest",
             "reduce.spend.window={ tumbling = \"2s\" }", "http.listen=off",
             "source.rdkafka.fetch.min.bytes=7", "threads.workers=3", "name=other"});
    EXPECT_EQ(p.sink.unix_path, "/run/redis.sock");
    EXPECT_EQ(p.sink.connections, 4);
    EXPECT_EQ(p.state.memory_bytes, 1ULL << 30);
    EXPECT_EQ(p.state.checkpoint_every_ms, 500);
    EXPECT_EQ(p.state.checkpoint_keep, 3);
    EXPECT_EQ(p.source.start.kind, Start::Kind::latest);
    EXPECT_EQ(p.reductions[0].window_ms, 2'000);
    EXPECT_EQ(p.http.host, std::nullopt);
    EXPECT_EQ(p.source.rdkafka.at("fetch.min.bytes"), "7");
    EXPECT_EQ(p.workers, 3);
    EXPECT_EQ(p.name, "other");
}

TEST(Load, AWrongOverrideIsReportedByItself) {
    const Loaded loaded =
        load_with("", {"sink.conections=4", "reduce.spend.filter=price >", "nonsense"});
    EXPECT_EQ(to_text(loaded.diagnostics),
              "--set:1:6: error: unknown key `conections` in [sink]\n"
              "    1 | sink.conections=4\n"
              "      |      ^^^^^^^^^^ did you mean `connections`?\n"
              "--set:2:28: error: expected a value, found the end of the expression\n"
              "    2 | reduce.spend.filter=price >\n"
              "      |                            ^\n"
              "--set:3:1: error: an override has the form key=value\n"
              "    3 | nonsense\n"
              "      | ^^^^^^^^ for instance --set sink.connections=4\n"
              "3 errors.\n");
}

TEST(Load, PropertiesOfLibrdkafkaKeepTheirDotsAndPlaces) {
    const Loaded loaded = load_with(
        "[source.rdkafka]\nfetch.min.bytes = 1\n\"api.version.request\" = true\n"
        "api.version.request.timeout.ms = 5\nsecurity.protocol = \"ssl\"\n");
    ASSERT_TRUE(loaded.pipeline) << to_text(loaded.diagnostics);
    EXPECT_EQ(loaded.pipeline->source.rdkafka,
              (std::map<std::string, std::string>{{"fetch.min.bytes", "1"},
                                                  {"api.version.request", "true"},
                                                  {"api.version.request.timeout.ms", "5"},
                                                  {"security.protocol", "ssl"}}));
    const Diagnostic at =
        loaded.at("source.rdkafka.fetch.min.bytes", Severity::error, "refused", "");
    EXPECT_EQ(at.line, 14U);
    EXPECT_EQ(at.source_line, "fetch.min.bytes = 1");
    EXPECT_EQ(loaded.at("source.username", Severity::error, "", "").line, 2U)
        << "a key that was not written stands at its table";
    EXPECT_EQ(loaded.at("nowhere", Severity::error, "", "").line, 1U);
}

TEST(Load, TheStateDirectoryComesFromTheServiceManagerOrTheHome) {
    EXPECT_EQ(pipeline_with("", {},
                            environment_of({{"STATE_DIRECTORY", "/var/lib/sluice/clicks:/b"},
                                            {"HOME", "/root"}}))
                  .state.directory,
              "/var/lib/sluice/clicks");
    EXPECT_EQ(pipeline_with("[state]\ndirectory = \"s/../state/\"\n").state.directory,
              "/etc/sluice/state");
    const Loaded homeless = load_with("", {}, environment_of({}));
    EXPECT_EQ(homeless.outcome, Outcome::invalid);
}

TEST(Load, AShareIsSortedAndJoined) {
    const Pipeline p = pipeline_with("", {"source.partitions=12, 0-3,4-7,2-5"});
    EXPECT_EQ(p.source.partitions, "0-7,12");
    ASSERT_EQ(p.source.share.size(), 2U);
    EXPECT_EQ(p.source.share[0].last, 7);
}

TEST(Load, StartMayBeATimeInQuotesOrNot) {
    EXPECT_EQ(pipeline_with("", {"source.start=2024-05-01T00:00:00Z"}).source.start.time,
              1'714'521'600'000);
    EXPECT_EQ(pipeline_with("", {"source.start=\"2024-05-01 00:00:00\""}).source.start.time,
              1'714'521'600'000);
}

TEST(Load, StepsSetWhatLaterExpressionsRead) {
    const Pipeline p = pipeline_with(
        "[[step]]\nset = { geo.country = \"upper(geo.country)\", price = \"price * 2\" }\n"
        "[[step]]\nfilter = \"geo.country == 'DE'\"\n");
    ASSERT_EQ(p.steps.size(), 2U);
    ASSERT_EQ(p.steps[0].set.size(), 2U);
    EXPECT_EQ(p.steps[0].set[0].name, "geo.country");
    EXPECT_EQ(p.steps[0].text, "geo.country = upper(geo.country), price = price * 2");
    EXPECT_EQ(p.fields.source(p.steps[0].set[0].column).kind, FieldSource::Kind::assigned);
    EXPECT_TRUE(p.steps[1].filter);
}

TEST(Load, AnOutcomeSaysWhyAFileCannotBeRead) {
    EXPECT_EQ(load("/nowhere/x.toml", {}, environment_of()).outcome, Outcome::missing);
    EXPECT_EQ(load("/", {}, environment_of()).outcome, Outcome::unreadable);
}

TEST(Load, TextThatIsNotUtf8IsPointedAt) {
    const Loaded loaded =
        load_text("name = \"cl\xffks\"\n[threads]\nworkrs = 1\n", "a.toml", {}, environment_of());
    EXPECT_EQ(loaded.outcome, Outcome::invalid);
    const std::string text = to_text(loaded.diagnostics);
    EXPECT_NE(text.find("a.toml:1:10: error: not TOML"), std::string::npos) << text;
    EXPECT_NE(text.find("cl?ks"), std::string::npos) << text;
    EXPECT_NE(text.find("did you mean `workers`"), std::string::npos) << text;
}

// ---- recorded inputs ----

TEST(Inputs, DifferWhenAResultCan) {
    const std::string base = pipeline_with("").inputs;
    for (const char* change : {"name=other",
                               "source.topic=taps",
                               "source.timestamp=ts",
                               "source.out_of_order=6s",
                               "source.idle_after=none",
                               "source.max_future_skew=none",
                               "source.max_bytes=2MiB",
                               "source.max_depth=63",
                               "source.partitions=0-7",
                               "reduce.spend.filter=price > 0",
                               "reduce.spend.key=[\"country\"]",
                               "reduce.spend.window={ tumbling = \"16s\" }",
                               "reduce.spend.window.offset=1s",
                               "reduce.spend.time=processing",
                               "reduce.spend.allowed_lateness=1s",
                               "reduce.spend.values.clicks=count(user_id)",
                               "reduce.spend.values.more=max(price)",
                               "reduce.spend.ttl=2h",
                               "reduce.spend.ttl_from=window",
                               "reduce.spend.null_key=keep",
                               "reduce.spend.suppress_incomplete=true",
                               "reduce.spend.write=SET a:{user_id}:{window.start} {spend}"}) {
        EXPECT_NE(pipeline_with("", {change}).inputs, base) << change;
    }
    EXPECT_NE(pipeline_with("[[step]]\nfilter = \"price > 0\"\n").inputs, base);
}

TEST(Inputs, DoNotDifferByWhereAndHowFast) {
    const std::string base = pipeline_with("").inputs;
    for (const char* change :
         {"source.brokers=elsewhere:9092", "source.start=latest", "sink.redis=unix:/run/redis.sock",
          "sink.connections=8", "sink.result_retention=1h", "state.directory=/elsewhere",
          "state.memory=1GiB", "state.io=threads", "state.checkpoint.every=1s", "http.listen=off",
          "threads.workers=4", "log.level=debug", "source.rdkafka.fetch.min.bytes=7",
          "dead_letter.file=other.jsonl", "source.on_error=drop",
          "reduce.spend.values.spend=sum(price*quantity)",
          "reduce.spend.window={ tumbling = \"15000ms\" }", "reduce.spend.ttl=60m"}) {
        EXPECT_EQ(pipeline_with("", {change}).inputs, base) << change;
    }
}

TEST(Inputs, DoNotDependOnTheOrderOfReductions) {
    const std::string b =
        "[reduce.b]\nkey = []\nwindow = { tumbling = \"1m\" }\nvalues = { n = \"count()\" }\n"
        "ttl = \"1h\"\n";
    const std::string a =
        "[reduce.a]\nkey = []\nwindow = { tumbling = \"1m\" }\nvalues = { n = \"count()\" }\n"
        "ttl = \"1h\"\n";
    EXPECT_EQ(pipeline_with(a + b).inputs, pipeline_with(b + a).inputs);
}

// ---- secrets ----

class Secrets : public testing::Test {
 protected:
    Secrets() {
        std::string pattern = std::filesystem::temp_directory_path() / "sluice-secret-XXXXXX";
        folder_ = mkdtemp(pattern.data());
    }
    ~Secrets() override { std::filesystem::remove_all(folder_); }
    std::string write(const std::string& name, const std::string& text, mode_t mode) {
        const std::string path = folder_ / name;
        std::ofstream(path) << text;
        chmod(path.c_str(), mode);
        return path;
    }
    std::filesystem::path folder_;
};

TEST_F(Secrets, AreReadFromWhereTheReferencePoints) {
    write("kafka", "secret one\n", 0644);
    const std::string file = write("redis", "secret two", 0600);
    const Environment from =
        environment_of({{"CREDENTIALS_DIRECTORY", folder_.string()}, {"PASSWORD", "secret three"}});
    EXPECT_EQ(resolve({Secret::Kind::credential, "kafka"}, from), "secret one");
    EXPECT_EQ(resolve({Secret::Kind::file, file}, from), "secret two");
    EXPECT_EQ(resolve({Secret::Kind::environment, "PASSWORD"}, from), "secret three");
    EXPECT_EQ(resolve({}, from), "");
}

TEST_F(Secrets, AFileThatEverybodyReadsIsRefusedWithoutShowingIt) {
    const std::string file = write("redis", "hunter2", 0644);
    const auto secret = resolve({Secret::Kind::file, file}, environment_of());
    ASSERT_FALSE(secret);
    EXPECT_NE(secret.error().text.find("chmod"), std::string::npos);
    EXPECT_EQ(secret.error().text.find("hunter2"), std::string::npos);
}

TEST_F(Secrets, MissingOnesAreNamed) {
    EXPECT_FALSE(resolve({Secret::Kind::credential, "kafka"}, environment_of()));
    EXPECT_FALSE(resolve({Secret::Kind::file, "/nowhere"}, environment_of()));
    EXPECT_FALSE(resolve({Secret::Kind::file, "/"}, environment_of()));
    EXPECT_FALSE(resolve({Secret::Kind::environment, "NOT_SET"}, environment_of()));
}

TEST(SecretPaths, AreRelativeToTheFile) {
    const Pipeline p = pipeline_with("password = { file = \"redis-password\" }\n");
    EXPECT_EQ(p.sink.password.name, "/etc/sluice/redis-password");
}

TEST(SecretText, IsNeverShown) {
    const Loaded loaded = load_with("password = \"hunter2\"\n", {"source.password=hunter3"});
    const std::string text = to_text(loaded.diagnostics) + to_json(loaded.diagnostics);
    EXPECT_EQ(text.find("hunter"), std::string::npos) << text;
}

// ---- the table ----

TEST(SettingsTable, NamesEachKeyOnceAndExplainsIt) {
    std::map<std::string, int> seen;
    for (const Setting& setting : settings_table()) {
        EXPECT_EQ(++seen[std::string(setting.section) + "/" + std::string(setting.key)], 1);
        EXPECT_TRUE(setting.meaning.ends_with('.')) << setting.key;
        EXPECT_LE(setting.least, setting.greatest) << setting.key;
        EXPECT_FALSE(setting.required && !setting.standard.empty()) << setting.key;
    }
}

TEST(SettingsTable, DefaultsAreInTheirRanges) {
    for (const Setting& setting : settings_table()) {
        if (setting.standard.empty() || setting.standard == "none") {
            continue;
        }
        if (setting.type == SettingType::duration) {
            const auto value = read_duration(setting.standard);
            ASSERT_TRUE(value) << setting.key;
            EXPECT_TRUE(*value >= setting.least && *value <= setting.greatest) << setting.key;
        }
        if (setting.type == SettingType::size) {
            EXPECT_TRUE(read_size(setting.standard)) << setting.key;
        }
    }
}

}  // namespace
}  // namespace sluice::config
