// The smallest pipeline that counts something, for tests of what runs it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "config/load.h"
#include "tests/unit/config/environment.h"

namespace sluice::test {

// Topic `clicks`, one count by `user` in windows of 15 s of processing time.
inline constexpr const char* kClicksFile = R"toml(name = "clicks"
[source]
brokers = "localhost:9092"
topic   = "clicks"
start   = "earliest"
[reduce.count]
key    = ["user"]
window = { tumbling = "15s" }
values = { clicks = "count()" }
ttl    = "1h"
[sink]
redis = "redis://localhost:6379/0"
)toml";

// It and `more` as a loaded file.
inline config::Pipeline clicks_pipeline(const std::string& more = {}) {
    config::Loaded loaded = config::load_text(kClicksFile + more, "/etc/sluice/clicks.toml", {},
                                              config::environment_of());
    EXPECT_TRUE(loaded.pipeline) << config::to_text(loaded.diagnostics);
    return std::move(*loaded.pipeline);
}

}  // namespace sluice::test
