#include "state/store/checkpoint_meta.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "state/store/checksum.h"

namespace sluice::state {
namespace {

using nlohmann::json;
// Members in the order in which they are written, so that equal values have equal bytes.
using Object = nlohmann::ordered_json;

constexpr std::string_view kTrailerBegin = ",\n\"xxh3\":\"";
constexpr std::string_view kTrailerEnd = "\"}\n";
constexpr std::size_t kHexDigits = 32;

constexpr std::pair<Provenance, const char*> kProvenances[] = {{Provenance::taken, "taken"},
                                                               {Provenance::edited, "edited"},
                                                               {Provenance::imported, "imported"}};

std::string hex64(std::uint64_t value) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
    return text;
}

std::uint64_t from_hex64(const std::string& text) {
    std::size_t used = 0;
    if (text.size() != 16) {
        throw std::invalid_argument("not 16 hex digits");
    }
    const auto value = std::stoull(text, &used, 16);
    if (used != text.size()) {
        throw std::invalid_argument("not 16 hex digits");
    }
    return value;
}

Object instant(const std::optional<model::EventTime>& t) {
    return t ? Object(*t) : Object(nullptr);
}
std::optional<model::EventTime> instant_from(const Object& o) {
    return o.is_null() ? std::nullopt : std::optional(o.get<model::EventTime>());
}
// "Before everything" and "after everything" are null: no reader needs to know their numbers.
Object bound(model::EventTime t, model::EventTime none) {
    return t == none ? Object(nullptr) : Object(t);
}
model::EventTime bound_from(const Object& o, model::EventTime none) {
    return o.is_null() ? none : o.get<model::EventTime>();
}

Object to_object(const model::Ledger& l) {
    return {{"consumed", l.consumed},   {"exploded", l.exploded}, {"reached", l.reached},
            {"filtered", l.filtered},   {"null", l.null},         {"undecodable", l.undecodable},
            {"duplicate", l.duplicate}, {"skipped", l.skipped}};
}
model::Ledger ledger_from(const Object& o) {
    model::Ledger l;
    o.at("consumed").get_to(l.consumed);
    o.at("exploded").get_to(l.exploded);
    o.at("reached").get_to(l.reached);
    o.at("filtered").get_to(l.filtered);
    o.at("null").get_to(l.null);
    o.at("undecodable").get_to(l.undecodable);
    o.at("duplicate").get_to(l.duplicate);
    o.at("skipped").get_to(l.skipped);
    return l;
}

Object to_object(const model::ReductionLedger& l) {
    return {{"reached", l.reached},
            {"folded", l.folded},
            {"filtered", l.filtered},
            {"late", l.late},
            {"refused", l.refused}};
}
model::ReductionLedger reduction_ledger_from(const Object& o) {
    model::ReductionLedger l;
    o.at("reached").get_to(l.reached);
    o.at("folded").get_to(l.folded);
    o.at("filtered").get_to(l.filtered);
    o.at("late").get_to(l.late);
    o.at("refused").get_to(l.refused);
    return l;
}

Object to_object(const model::ValueErrors& e) {
    return {{"wrong_type", e.wrong_type}, {"overflow", e.overflow}, {"nan", e.nan}};
}
model::ValueErrors value_errors_from(const Object& o) {
    model::ValueErrors e;
    o.at("wrong_type").get_to(e.wrong_type);
    o.at("overflow").get_to(e.overflow);
    o.at("nan").get_to(e.nan);
    return e;
}

Object to_object(const PartitionMeta& p) {
    Object o;
    o["topic"] = p.partition.topic;
    o["partition"] = p.partition.id;
    o["start_offset"] = p.start_offset;
    o["next_offset"] = p.next_offset;
    o["max_timestamp"] = instant(p.max_timestamp);
    o["watermark_floor"] = bound(p.watermark_floor, model::kBeforeAll);
    o["idle"] = p.idle;
    o["read_from_zero"] = p.read_from_zero;
    o["empty_at_first_sight"] = p.empty_at_first_sight;
    o["incomplete_before"] = instant(p.incomplete_before);
    o["probe"] = p.probe ? Object{{"offset", p.probe->offset}, {"hash", hex64(p.probe->hash)}}
                         : Object(nullptr);
    o["ledger"] = to_object(p.ledger);
    o["reductions"] = Object::object();
    for (const auto& [id, ledger] : p.reductions) {
        o["reductions"][id] = to_object(ledger);
    }
    o["errors"] = Object::object();
    for (const auto& [place, errors] : p.errors) {
        o["errors"][place] = to_object(errors);
    }
    return o;
}
PartitionMeta partition_from(const Object& o) {
    PartitionMeta p;
    o.at("topic").get_to(p.partition.topic);
    o.at("partition").get_to(p.partition.id);
    o.at("start_offset").get_to(p.start_offset);
    o.at("next_offset").get_to(p.next_offset);
    p.max_timestamp = instant_from(o.at("max_timestamp"));
    p.watermark_floor = bound_from(o.at("watermark_floor"), model::kBeforeAll);
    o.at("idle").get_to(p.idle);
    o.at("read_from_zero").get_to(p.read_from_zero);
    o.at("empty_at_first_sight").get_to(p.empty_at_first_sight);
    p.incomplete_before = instant_from(o.at("incomplete_before"));
    if (const auto& probe = o.at("probe"); !probe.is_null()) {
        p.probe = Probe{probe.at("offset").get<model::Offset>(),
                        from_hex64(probe.at("hash").get<std::string>())};
    }
    p.ledger = ledger_from(o.at("ledger"));
    for (const auto& [id, ledger] : o.at("reductions").items()) {
        p.reductions[id] = reduction_ledger_from(ledger);
    }
    for (const auto& [place, errors] : o.at("errors").items()) {
        p.errors[place] = value_errors_from(errors);
    }
    return p;
}

// [until, incomplete_before] of each step; the latter null: before everything, "all": after it.
Object to_object(const CompletenessSteps& steps) {
    Object o = Object::array();
    for (const auto& step : steps) {
        o.push_back(
            Object::array({step.until, step.incomplete_before == model::kAfterAll
                                           ? Object("all")
                                           : bound(step.incomplete_before, model::kBeforeAll)}));
    }
    return o;
}
CompletenessSteps steps_from(const Object& o) {
    CompletenessSteps steps;
    for (const auto& step : o) {
        const auto& before = step.at(1);
        steps.push_back(
            {step.at(0).get<model::EventTime>(),
             before.is_string() ? model::kAfterAll : bound_from(before, model::kBeforeAll)});
    }
    return steps;
}

std::string text_of(Family family) { return family == Family::standard ? "default" : "short"; }
Family family_from(const Object& o) {
    const auto family = o.get<std::string>();
    if (family != "default" && family != "short") {
        throw std::invalid_argument("unknown family " + family);
    }
    return family == "default" ? Family::standard : Family::brief;
}

Object to_object(const FormerRows& f) {
    Object o{{"number", f.number}, {"family", text_of(f.family)}, {"calls", Object::array()}};
    for (const FormerCall& call : f.calls) {
        o["calls"].push_back({{"from", call.from}, {"kind", static_cast<int>(call.kind)}});
    }
    return o;
}
FormerRows former_from(const Object& o) {
    FormerRows f;
    o.at("number").get_to(f.number);
    f.family = family_from(o.at("family"));
    for (const auto& call : o.at("calls")) {
        f.calls.push_back({call.at("from").get<int>(), static_cast<config::ReductionKind>(
                                                           call.at("kind").get<std::uint8_t>())});
    }
    return f;
}

Object to_object(const ReductionMeta& r) {
    Object o;
    o["id"] = r.id;
    o["number"] = r.number;
    o["family"] = text_of(r.family);
    o["schema"] = r.schema;
    o["schema_hash"] = hex64(r.schema_hash);
    o["acknowledged"] = instant(r.acknowledged);
    o["dropped"] = instant(r.dropped);
    o["fired"] = instant(r.fired);
    // What only an edit brings is left out where there was none.
    for (const auto& former : r.former) {
        o["former"].push_back(to_object(former));
    }
    if (r.incomplete_before) {
        o["incomplete_before"] = *r.incomplete_before;
    }
    if (r.closed) {
        o["closed"] = *r.closed;
    }
    return o;
}
ReductionMeta reduction_from(const Object& o) {
    ReductionMeta r;
    o.at("id").get_to(r.id);
    o.at("number").get_to(r.number);
    r.family = family_from(o.at("family"));
    o.at("schema").get_to(r.schema);
    r.schema_hash = from_hex64(o.at("schema_hash").get<std::string>());
    r.acknowledged = instant_from(o.at("acknowledged"));
    r.dropped = instant_from(o.at("dropped"));
    r.fired = instant_from(o.at("fired"));
    if (o.contains("former")) {
        for (const auto& former : o.at("former")) {
            r.former.push_back(former_from(former));
        }
    }
    if (o.contains("incomplete_before")) {
        r.incomplete_before = o.at("incomplete_before").get<model::EventTime>();
    }
    if (o.contains("closed")) {
        r.closed = o.at("closed").get<model::EventTime>();
    }
    return r;
}

Object values_of(const CheckpointMeta& m) {
    Object o;
    o["format"] = m.format;
    o["pipeline"] = m.pipeline;
    o["id"] = m.id;
    o["kind"] = m.kind == SnapshotKind::checkpoint ? "checkpoint" : "savepoint";
    for (const auto& [provenance, name] : kProvenances) {
        if (provenance == m.provenance) {
            o["provenance"] = name;
        }
    }
    o["lineage"] = m.lineage;
    o["number"] = m.number;
    o["journal_number"] = m.journal_number;
    o["origin"] = m.origin_lineage.empty()
                      ? Object(nullptr)
                      : Object{{"lineage", m.origin_lineage}, {"number", m.origin_number}};
    o["reset_sink"] = m.reset_sink;
    o["taken"] = m.taken;
    o["clock"] = m.clock;
    o["cut_floor"] = bound(m.cut_floor, model::kBeforeAll);
    o["closed"] = bound(m.closed, model::kBeforeAll);
    o["tick"] = bound(m.tick, model::kBeforeAll);
    o["cap"] = bound(m.cap, model::kBeforeAll);
    o["completeness"] = {{"event", to_object(m.event_completeness)},
                         {"processing", to_object(m.processing_completeness)}};
    o["inputs"] = m.inputs;
    o["reductions"] = Object::array();
    for (const auto& reduction : m.reductions) {
        o["reductions"].push_back(to_object(reduction));
    }
    for (const auto& retired : m.retired) {
        o["retired"].push_back({{"number", retired.number}, {"family", text_of(retired.family)}});
    }
    o["partitions"] = Object::array();
    for (const auto& partition : m.partitions) {
        o["partitions"].push_back(to_object(partition));
    }
    return o;
}
CheckpointMeta values_from(const Object& o) {
    CheckpointMeta m;
    o.at("format").get_to(m.format);
    o.at("pipeline").get_to(m.pipeline);
    o.at("id").get_to(m.id);
    const auto kind = o.at("kind").get<std::string>();
    if (kind != "checkpoint" && kind != "savepoint") {
        throw std::invalid_argument("unknown kind " + kind);
    }
    m.kind = kind == "checkpoint" ? SnapshotKind::checkpoint : SnapshotKind::savepoint;
    const auto provenance = o.at("provenance").get<std::string>();
    const auto* known = std::find_if(std::begin(kProvenances), std::end(kProvenances),
                                     [&](const auto& entry) { return provenance == entry.second; });
    if (known == std::end(kProvenances)) {
        throw std::invalid_argument("unknown provenance " + provenance);
    }
    m.provenance = known->first;
    o.at("lineage").get_to(m.lineage);
    o.at("number").get_to(m.number);
    o.at("journal_number").get_to(m.journal_number);
    if (const auto origin = o.find("origin"); origin != o.end() && !origin->is_null()) {
        origin->at("lineage").get_to(m.origin_lineage);
        origin->at("number").get_to(m.origin_number);
    }
    o.at("reset_sink").get_to(m.reset_sink);
    o.at("taken").get_to(m.taken);
    o.at("clock").get_to(m.clock);
    m.cut_floor = bound_from(o.at("cut_floor"), model::kBeforeAll);
    m.closed = bound_from(o.at("closed"), model::kBeforeAll);
    m.tick = bound_from(o.at("tick"), model::kBeforeAll);
    m.cap = bound_from(o.at("cap"), model::kBeforeAll);
    m.event_completeness = steps_from(o.at("completeness").at("event"));
    m.processing_completeness = steps_from(o.at("completeness").at("processing"));
    o.at("inputs").get_to(m.inputs);
    for (const auto& reduction : o.at("reductions")) {
        m.reductions.push_back(reduction_from(reduction));
    }
    if (o.contains("retired")) {
        for (const auto& retired : o.at("retired")) {
            m.retired.push_back(
                {retired.at("number").get<std::uint32_t>(), family_from(retired.at("family"))});
        }
    }
    for (const auto& partition : o.at("partitions")) {
        m.partitions.push_back(partition_from(partition));
    }
    return m;
}

std::string dump(const Object& o) {
    return o.dump(1, ' ', false, Object::error_handler_t::replace);
}

// nlohmann throws at a missing member or a wrong type: caught here, at the edge.
model::Result<CheckpointMeta> read(std::string_view text, bool with_files, const char* what) {
    try {
        const auto o = Object::parse(text);
        if (const auto format = o.at("format").get<std::uint32_t>();
            format > kSnapshotFormatVersion) {
            return model::invalid(std::string(what) + ": written by a newer Sluice: format " +
                                  std::to_string(format) + ", this one reads up to " +
                                  std::to_string(kSnapshotFormatVersion));
        }
        auto meta = values_from(o);
        if (with_files) {
            for (const auto& file : o.at("files")) {
                FileMeta f;
                file.at("name").get_to(f.name);
                file.at("size").get_to(f.size);
                file.at("xxh3").get_to(f.checksum);
                if (f.name.empty() || f.name.front() == '.' ||
                    f.name.find('/') != std::string::npos) {
                    return model::corrupt(std::string(what) + ": a file is named " + f.name);
                }
                meta.files.push_back(std::move(f));
            }
        }
        return meta;
    } catch (const std::exception& e) {
        return model::corrupt(std::string(what) + ": " + e.what());
    }
}

bool equal(const model::ValueErrors& a, const model::ValueErrors& b) {
    return a.wrong_type == b.wrong_type && a.overflow == b.overflow && a.nan == b.nan;
}

}  // namespace

bool PartitionMeta::operator==(const PartitionMeta& o) const {
    return partition == o.partition && start_offset == o.start_offset &&
           next_offset == o.next_offset && max_timestamp == o.max_timestamp &&
           watermark_floor == o.watermark_floor && idle == o.idle &&
           read_from_zero == o.read_from_zero && empty_at_first_sight == o.empty_at_first_sight &&
           incomplete_before == o.incomplete_before && probe == o.probe && ledger == o.ledger &&
           reductions == o.reductions &&
           std::equal(errors.begin(), errors.end(), o.errors.begin(), o.errors.end(),
                      [](const auto& a, const auto& b) {
                          return a.first == b.first && equal(a.second, b.second);
                      });
}

Family family_for(model::DurationMs window, model::DurationMs checkpoint_every) {
    return window / 10 < checkpoint_every ? Family::brief : Family::standard;
}

const ReductionMeta* CheckpointMeta::reduction(std::string_view id_) const {
    for (const auto& reduction : reductions) {
        if (reduction.id == id_) {
            return &reduction;
        }
    }
    return nullptr;
}

std::string manifest_text(const CheckpointMeta& meta) {
    auto o = values_of(meta);
    o["files"] = Object::array();
    for (const auto& file : meta.files) {
        o["files"].push_back({{"name", file.name}, {"size", file.size}, {"xxh3", file.checksum}});
    }
    auto text = dump(o);
    text.pop_back();  // the closing brace comes with the trailer
    const auto checksum = checksum_hex(text);
    text.append(kTrailerBegin).append(checksum).append(kTrailerEnd);
    return text;
}

model::Result<CheckpointMeta> parse_manifest(std::string_view text) {
    constexpr auto kTrailer = kTrailerBegin.size() + kHexDigits + kTrailerEnd.size();
    if (text.size() < kTrailer || !text.ends_with(kTrailerEnd) ||
        text.substr(text.size() - kTrailer, kTrailerBegin.size()) != kTrailerBegin) {
        return model::corrupt("the manifest is not complete");
    }
    const auto body = text.substr(0, text.size() - kTrailer);
    const auto digits = text.substr(text.size() - kTrailerEnd.size() - kHexDigits, kHexDigits);
    if (checksum_hex(body) != digits) {
        return model::corrupt("the manifest does not match its checksum");
    }
    return read(text, true, "manifest");
}

std::string meta_row_text(const CheckpointMeta& meta) { return dump(values_of(meta)); }

model::Result<CheckpointMeta> parse_meta_row(std::string_view text) {
    return read(text, false, "meta row");
}

model::Status check_meta(const CheckpointMeta& meta) {
    constexpr model::BarrierNumber kMostBarriers = 1ULL << 62;
    constexpr std::uint32_t kMostReductions = 1U << 31;
    if (meta.number > kMostBarriers || meta.journal_number > meta.number) {
        return model::corrupt("the snapshot's barrier number cannot be");
    }
    std::set<std::uint32_t> numbers;
    std::set<std::string> ids;
    for (const auto& reduction : meta.reductions) {
        if (reduction.number == 0 || reduction.number > kMostReductions ||
            !numbers.insert(reduction.number).second || !ids.insert(reduction.id).second) {
            return model::corrupt("the reduction `" + reduction.id +
                                  "` or its number stands twice, or cannot be");
        }
    }
    std::set<model::Partition> partitions;
    for (const auto& partition : meta.partitions) {
        const auto name = model::to_string(partition.partition);
        if (!partitions.insert(partition.partition).second) {
            return model::corrupt(name + " stands twice");
        }
        if (partition.start_offset < 0 || partition.next_offset < 0) {
            return model::corrupt(name + " has a negative offset");
        }
        if (!partition.ledger.balanced() ||
            !std::ranges::all_of(partition.reductions,
                                 [](const auto& one) { return one.second.balanced(); })) {
            return model::corrupt("the ledger of " + name + " does not balance");
        }
    }
    return {};
}

std::string rfc3339(model::EventTime instant_ms) {
    using namespace std::chrono;
    const sys_time<milliseconds> t{milliseconds{instant_ms}};
    const auto day = floor<days>(t);
    const year_month_day date{day};
    const hh_mm_ss time{t - day};
    char text[48];
    std::snprintf(
        text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
        static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
        static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
        static_cast<int>(time.seconds().count()), static_cast<int>(time.subseconds().count()));
    return text;
}

}  // namespace sluice::state
