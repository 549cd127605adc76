// Pipelines and records for the tests of ingest, made by hand.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/settings.h"
#include "ingest/decoder.h"
#include "ingest/log.h"

namespace sluice::ingest {

inline config::Program compiled(config::Pipeline& pipeline, std::string_view text) {
    auto program = config::compile(text, pipeline.fields);
    if (!program) {
        throw std::runtime_error(std::string(text) + ": " + program.error().message);
    }
    return std::move(*program);
}

// The column of a field, added to the pipeline's fields.
inline std::uint32_t column_of(config::Pipeline& pipeline, std::string_view path) {
    return compiled(pipeline, path).plain_column().value();
}

struct TestRecord {
    std::optional<std::string> value = std::nullopt;
    model::EventTime timestamp = 1000;
    std::optional<std::string> key = std::nullopt;
    std::vector<std::pair<std::string, std::optional<std::string>>> headers = {};
    bool append_time = false;
    std::string damage = {};
    std::int64_t damaged_offsets = 1;
};

// Decodes records with consecutive offsets from `first_offset`.
inline void decode(Decoder& decoder, const std::vector<TestRecord>& records, DecodedBatch& batch,
                   model::Offset first_offset = 0, std::uint32_t partition = 0) {
    decoder.begin(batch, partition, records.size());
    model::Offset next = first_offset;
    for (const auto& r : records) {
        std::vector<Header> headers;
        for (const auto& [name, value] : r.headers) {
            headers.push_back({name, value});
        }
        Record record;
        record.first_offset = next;
        record.offset = next + r.damaged_offsets - 1;
        record.damage = r.damage;
        record.timestamp = r.timestamp;
        record.append_time = r.append_time;
        record.has_key = r.key.has_value();
        record.has_value = r.value.has_value();
        if (r.key) {
            record.key = *r.key;
        }
        if (r.value) {
            record.value = *r.value;
        }
        PlainHeaders source(headers);
        record.header_source = &source;
        decoder.append(record);
        next = record.offset + 1;
    }
    decoder.finish();
}

}  // namespace sluice::ingest
