#include "state/io/journal.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "state/model/fail_point.h"
#include "state/model/invariant.h"
#include "state/model/mutant.h"

namespace sluice::state {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::string_view kSegmentMagic = "SluiceJn";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 64;
constexpr std::size_t kHeaderChecked = kHeaderBytes - 8;
constexpr std::uint32_t kFrameMagic = 0x464a4c53;  // "SLJF"
constexpr std::size_t kFrameHead = 16;             // checksum, magic, body length
// Frames begin at multiples of this, so the search for a frame behind damage has few places to
// look.
constexpr std::size_t kAlignment = 8;
constexpr std::size_t kMaxBody = 64u << 20;
constexpr std::uint64_t kMaxSegment = 1ull << 30;
constexpr std::string_view kSuffix = ".journal";
constexpr std::string_view kPartial = ".partial";

template <class T>
void put(std::string& to, T value) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    to.append(bytes, sizeof(T));
}

template <class T>
T peek(std::string_view from, std::size_t at) {
    T value;
    std::memcpy(&value, from.data() + at, sizeof(T));
    return value;
}

// Takes values off the front; once too little is left, everything is zero and ok() false.
class Cursor {
 public:
    explicit Cursor(std::string_view bytes) : bytes_(bytes) {}
    template <class T>
    T take() {
        if (bytes_.size() < sizeof(T)) {
            ok_ = false;
            bytes_ = {};
            return T{};
        }
        const T value = peek<T>(bytes_, 0);
        bytes_.remove_prefix(sizeof(T));
        return value;
    }
    std::string_view take_bytes(std::size_t length) {
        if (bytes_.size() < length) {
            ok_ = false;
            bytes_ = {};
            return {};
        }
        const std::string_view taken = bytes_.substr(0, length);
        bytes_.remove_prefix(length);
        return taken;
    }
    bool ok() const { return ok_; }
    std::string_view rest() const { return bytes_; }

 private:
    std::string_view bytes_;
    bool ok_ = true;
};

std::string encode_header(const Lineage& lineage, std::uint64_t ordinal,
                          model::BarrierNumber previous, std::uint64_t replaces) {
    std::string header(kSegmentMagic);
    put(header, kVersion);
    put(header, static_cast<std::uint32_t>(kHeaderBytes));
    for (const std::uint8_t byte : lineage) {
        put(header, byte);
    }
    put(header, ordinal);
    put(header, previous);
    put(header, replaces);
    put(header, static_cast<std::uint64_t>(XXH3_64bits(header.data(), header.size())));
    INVARIANT(header.size() == kHeaderBytes, "a segment's header has a fixed size");
    return header;
}

// Topics by their place in the frame's table: a pipeline has few topics and many partitions.
class TopicTable {
 public:
    std::uint16_t place(const std::string& topic) {
        const auto [at, added] = places_.try_emplace(topic, places_.size());
        if (added) {
            put(bytes_, static_cast<std::uint16_t>(topic.size()));
            bytes_ += topic;
        }
        return static_cast<std::uint16_t>(at->second);
    }
    std::size_t size() const { return places_.size(); }
    const std::string& bytes() const { return bytes_; }

 private:
    std::map<std::string, std::size_t> places_;
    std::string bytes_;
};

void encode_partition(std::string& to, TopicTable& topics, const model::Partition& partition) {
    put(to, topics.place(partition.topic));
    put(to, partition.id);
}

std::string encode_frame(std::span<const model::Barrier> barriers, model::BarrierNumber previous,
                         std::uint64_t position) {
    TopicTable topics;
    std::string entries;
    for (const model::Barrier& barrier : barriers) {
        put(entries, barrier.number);
        put(entries, static_cast<std::uint8_t>(barrier.kind));
        put(entries, barrier.time);
        put(entries, barrier.clock);
        put(entries, static_cast<std::uint32_t>(barrier.idle.size()));
        for (const model::Partition& partition : barrier.idle) {
            encode_partition(entries, topics, partition);
        }
        put(entries, static_cast<std::uint32_t>(barrier.next_offsets.size()));
        for (const auto& [partition, offset] : barrier.next_offsets) {
            encode_partition(entries, topics, partition);
            put(entries, offset);
        }
        if (barrier.kind == model::BarrierKind::reload) {
            put(entries, static_cast<std::uint32_t>(barrier.reload.size()));
            entries += barrier.reload;
        }
    }
    std::string body;
    put(body, previous);
    put(body, static_cast<std::uint16_t>(topics.size()));
    body += topics.bytes();
    put(body, static_cast<std::uint32_t>(barriers.size()));
    body += entries;
    body.resize((body.size() + kAlignment - 1) / kAlignment * kAlignment, '\0');
    INVARIANT(body.size() <= kMaxBody, "a frame of the journal has at most 64 MiB");

    std::string checked;
    put(checked, kFrameMagic);
    put(checked, static_cast<std::uint32_t>(body.size()));
    checked += body;
    std::string frame;
    // The position is part of the sum: a frame is valid only where it was written.
    put(frame,
        static_cast<std::uint64_t>(XXH3_64bits_withSeed(checked.data(), checked.size(), position)));
    frame += checked;
    return frame;
}

// The body of the frame at `position`, if a whole and valid one begins there.
std::optional<std::string_view> frame_at(std::string_view segment, std::size_t position) {
    if (position > segment.size() || segment.size() - position < kFrameHead) {
        return std::nullopt;
    }
    const auto checksum = peek<std::uint64_t>(segment, position);
    const auto magic = peek<std::uint32_t>(segment, position + 8);
    const auto length = peek<std::uint32_t>(segment, position + 12);
    if (magic != kFrameMagic || length > kMaxBody || length % kAlignment != 0 ||
        segment.size() - position - kFrameHead < length) {
        return std::nullopt;
    }
    if (XXH3_64bits_withSeed(segment.data() + position + 8, length + 8, position) != checksum) {
        return std::nullopt;
    }
    return segment.substr(position + kFrameHead, length);
}

std::optional<std::size_t> next_valid_frame(std::string_view segment, std::size_t after) {
    std::size_t at = (after / kAlignment + 1) * kAlignment;
    for (; at + kFrameHead <= segment.size(); at += kAlignment) {
        if (frame_at(segment, at)) {
            return at;
        }
    }
    return std::nullopt;
}

std::string place(const std::string& path, std::size_t position) {
    return path + ", byte " + std::to_string(position);
}

bool known(model::BarrierKind kind) {
    return kind >= model::BarrierKind::cut && kind <= model::BarrierKind::close &&
           model::journaled(kind);
}

// Appends the entries of one frame. `previous` is the number of the entry before it and becomes
// that of its last one. The checksum was right, so anything odd is a bug or another release:
// corrupt.
model::Status decode_body(std::string_view body, const std::string& where,
                          model::BarrierNumber& previous, std::vector<model::Barrier>& into) {
    Cursor cursor(body);
    if (const auto stated = cursor.take<model::BarrierNumber>(); stated != previous) {
        return model::corrupt(where + ": the entry before it should be number " +
                              std::to_string(stated) + ", but is " + std::to_string(previous));
    }
    std::vector<std::string> topics(cursor.take<std::uint16_t>());
    for (std::string& topic : topics) {
        topic = cursor.take_bytes(cursor.take<std::uint16_t>());
    }
    bool sound = true;
    const auto partition = [&] {
        const auto topic = cursor.take<std::uint16_t>();
        const auto id = cursor.take<std::int32_t>();
        sound = sound && topic < topics.size();
        return model::Partition{sound ? topics[topic] : std::string(), id};
    };
    const auto count = cursor.take<std::uint32_t>();
    for (std::uint32_t i = 0; i < count && cursor.ok() && sound; ++i) {
        model::Barrier barrier;
        barrier.number = cursor.take<model::BarrierNumber>();
        barrier.kind = static_cast<model::BarrierKind>(cursor.take<std::uint8_t>());
        barrier.time = cursor.take<model::EventTime>();
        barrier.clock = cursor.take<model::EventTime>();
        for (auto n = cursor.take<std::uint32_t>(); n > 0 && cursor.ok() && sound; --n) {
            barrier.idle.push_back(partition());
        }
        for (auto n = cursor.take<std::uint32_t>(); n > 0 && cursor.ok() && sound; --n) {
            model::Partition of = partition();
            barrier.next_offsets[std::move(of)] = cursor.take<model::Offset>();
        }
        if (barrier.kind == model::BarrierKind::reload) {
            barrier.reload = cursor.take_bytes(cursor.take<std::uint32_t>());
        }
        sound = sound && known(barrier.kind) && barrier.number > previous;
        previous = barrier.number;
        into.push_back(std::move(barrier));
    }
    if (!sound || !cursor.ok() || count == 0 || cursor.rest().size() >= kAlignment) {
        return model::corrupt(where + ": a frame with a right checksum and a wrong content");
    }
    return {};
}

struct Header {
    Lineage lineage{};
    std::uint64_t ordinal = 0;
    std::uint64_t replaces = 0;
    model::BarrierNumber previous = 0;
};

model::Result<Header> parse_header(std::string_view bytes, const std::string& path) {
    if (bytes.size() < kHeaderBytes || bytes.substr(0, kSegmentMagic.size()) != kSegmentMagic ||
        XXH3_64bits(bytes.data(), kHeaderChecked) != peek<std::uint64_t>(bytes, kHeaderChecked)) {
        return model::corrupt(place(path, 0) + ": the header is damaged");
    }
    if (peek<std::uint32_t>(bytes, 8) != kVersion) {
        return model::invalid(path + ": written by another release (format " +
                              std::to_string(peek<std::uint32_t>(bytes, 8)) + ")");
    }
    Header header;
    std::memcpy(header.lineage.data(), bytes.data() + 16, header.lineage.size());
    header.ordinal = peek<std::uint64_t>(bytes, 32);
    header.previous = peek<std::uint64_t>(bytes, 40);
    header.replaces = peek<std::uint64_t>(bytes, 48);
    return header;
}

struct Frames {
    std::vector<model::Barrier> entries;
    std::size_t valid_bytes = 0;  // of the whole segment; below its size: the rest is torn
};

// Tells a torn end from damage. Whether this segment may have a torn end is the caller's question.
model::Result<Frames> parse_frames(std::string_view bytes, model::BarrierNumber previous,
                                   const std::string& path) {
    Frames frames;
    std::size_t at = kHeaderBytes;
    while (at < bytes.size()) {
        const auto body = frame_at(bytes, at);
        if (!body) {
            if (const auto next = next_valid_frame(bytes, at)) {
                return model::corrupt(place(path, at) + ": damaged; a valid frame follows at " +
                                      std::to_string(*next));
            }
            break;
        }
        TRY(decode_body(*body, place(path, at), previous, frames.entries));
        at += kFrameHead + body->size();
    }
    frames.valid_bytes = at;
    return frames;
}

}  // namespace

std::string to_string(const Lineage& lineage) {
    std::string text;
    for (const std::uint8_t byte : lineage) {
        char digits[3];
        std::snprintf(digits, sizeof digits, "%02x", byte);
        text += digits;
    }
    return text;
}

model::Result<Lineage> lineage_from(std::string_view hex) {
    Lineage lineage{};
    if (hex.size() != 2 * lineage.size()) {
        return model::invalid("a lineage is 32 hexadecimal digits");
    }
    for (std::size_t i = 0; i < hex.size(); ++i) {
        const std::size_t digit = std::string_view("0123456789abcdef").find(hex[i]);
        if (digit == std::string_view::npos) {
            return model::invalid("a lineage is 32 hexadecimal digits");
        }
        lineage[i / 2] = static_cast<std::uint8_t>(lineage[i / 2] * 16u + digit);
    }
    return lineage;
}

Journal::Journal(Disk& disk, std::string directory, Options options)
    : disk_(disk), directory_(std::move(directory)), options_(std::move(options)) {}

model::Result<Journal::Opened> Journal::open(Disk& disk, std::string directory, Options options) {
    INVARIANT(!options.boot.empty(), "the names of segments are unique to a boot");
    TRY(disk.make_directory(directory));
    TRY(disk.sync_directory(parent_directory(directory)));
    Opened opened;
    opened.journal.reset(new Journal(disk, std::move(directory), std::move(options)));
    Journal& journal = *opened.journal;

    struct Found {
        std::string path;
        std::string bytes;
        Header header;
        Frames frames;
    };
    std::vector<Found> found;
    std::set<std::uint64_t> replaced;
    TRY(names, disk.list(journal.directory_));
    for (const std::string& name : names) {
        const std::string path = journal.directory_ + "/" + name;
        if (name.ends_with(kPartial)) {
            TRY(disk.remove(path));  // of a process that died before its name was final
        }
        if (!name.ends_with(kSuffix)) {
            continue;
        }
        Found segment;
        segment.path = path;
        TRY(bytes, read_file(disk, path, kMaxSegment));
        TRY(header, parse_header(bytes, path));
        segment.bytes = std::move(bytes);
        segment.header = header;
        if (header.replaces != 0) {
            replaced.insert(header.replaces);
        }
        found.push_back(std::move(segment));
    }
    // A process that died after it had carried a segment over left both.
    for (const Found& segment : found) {
        if (replaced.contains(segment.header.ordinal)) {
            TRY(disk.remove(segment.path));
        }
    }
    std::erase_if(found, [&](const Found& f) { return replaced.contains(f.header.ordinal); });
    std::ranges::sort(found, {}, [](const Found& f) { return f.header.ordinal; });

    for (std::size_t i = 0; i < found.size(); ++i) {
        Found& segment = found[i];
        if (i > 0 && segment.header.ordinal == found[i - 1].header.ordinal) {
            return model::corrupt(segment.path + " and " + found[i - 1].path +
                                  ": both are segment " + std::to_string(segment.header.ordinal));
        }
        TRY(frames, parse_frames(segment.bytes, segment.header.previous, segment.path));
        segment.frames = std::move(frames);
        const std::size_t torn = segment.bytes.size() - segment.frames.valid_bytes;
        const std::string where = place(segment.path, segment.frames.valid_bytes);
        // A segment is begun only after everything before it was synced.
        if (torn > 0 && i + 1 < found.size()) {
            return model::corrupt(where + ": damaged; a later segment follows");
        }
        if (torn > 0) {
            opened.repairs.push_back(where + ": torn tail of " + std::to_string(torn) +
                                     " bytes cut off");
        }
    }
    if (!found.empty()) {
        journal.lineage_ = found.back().header.lineage;
    }
    for (const Found& from : found) {
        Segment segment;
        segment.path = from.path;
        segment.lineage = from.header.lineage;
        segment.ordinal = from.header.ordinal;
        segment.replaces = from.header.replaces;
        segment.previous = from.header.previous;
        segment.last =
            from.frames.entries.empty() ? segment.previous : from.frames.entries.back().number;
        segment.bytes = from.frames.valid_bytes;
        if (!journal.segments_.empty() && journal.segments_.back().lineage == segment.lineage &&
            segment.previous < journal.segments_.back().last) {
            return model::corrupt(segment.path + ": begins after number " +
                                  std::to_string(segment.previous) + ", but " +
                                  journal.segments_.back().path + " goes up to " +
                                  std::to_string(journal.segments_.back().last));
        }
        if (segment.lineage == journal.lineage_) {
            journal.last_number_ = segment.last;
            journal.note_offsets(from.frames.entries);
        }
        journal.segments_.push_back(std::move(segment));
    }
    if (!found.empty()) {
        const Segment old = journal.segments_.back();
        Segment fresh = old;
        fresh.ordinal = old.ordinal + 1;
        fresh.replaces = old.ordinal;
        const std::string_view frames =
            std::string_view(found.back().bytes).substr(kHeaderBytes, old.bytes - kHeaderBytes);
        TRY(journal.begin_segment(std::move(fresh), frames));
        SLUICE_FAIL_POINT("journal.carried_over");
        TRY(disk.remove(old.path));
        journal.segments_.erase(journal.segments_.end() - 2);
    }
    TRY(disk.sync_directory(journal.directory_));
    return opened;
}

void Journal::note_offsets(std::span<const model::Barrier> barriers) {
    for (const model::Barrier& barrier : barriers) {
        for (const auto& [partition, offset] : barrier.next_offsets) {
            const auto [at, added] = highest_.try_emplace(partition, offset);
            at->second = std::max(at->second, offset);
        }
        if (barrier.kind == model::BarrierKind::reload) {
            reloads_.push_back(barrier.reload);
        }
    }
}

model::Status Journal::die(model::Error error) {
    dead_ = error.text;
    file_.reset();
    return std::unexpected(std::move(error));
}

model::Status Journal::begin_segment(Segment segment, std::string_view carried_over) {
    char number[21];
    std::snprintf(number, sizeof number, "%020llu",
                  static_cast<unsigned long long>(segment.previous + 1));
    segment.path = directory_ + "/" + number + "-" + options_.boot;
    const auto taken = [&](const Segment& other) {
        return other.path == segment.path + std::string(kSuffix);
    };
    if (std::ranges::any_of(segments_, taken)) {
        segment.path += "-" + std::to_string(segment.ordinal);
    }
    segment.path += kSuffix;
    const std::string partial =
        segment.path.substr(0, segment.path.size() - kSuffix.size()) + std::string(kPartial);

    TRY(file, disk_.create(partial));
    TRY(file->append(
        encode_header(segment.lineage, segment.ordinal, segment.previous, segment.replaces)));
    TRY(file->append(carried_over));
    TRY(file->sync());
    SLUICE_FAIL_POINT("journal.segment_synced");
    TRY(disk_.rename(partial, segment.path));
    SLUICE_FAIL_POINT("journal.segment_renamed");
    TRY(disk_.sync_directory(directory_));
    SLUICE_FAIL_POINT("journal.segment_begun");
    segment.bytes = file->size();
    segments_.push_back(std::move(segment));
    file_ = std::move(file);
    return {};
}

model::Status Journal::begin_segment(const Lineage& lineage, model::BarrierNumber previous) {
    Segment segment;
    segment.lineage = lineage;
    segment.ordinal = segments_.empty() ? 1 : segments_.back().ordinal + 1;
    segment.previous = previous;
    segment.last = previous;
    return begin_segment(std::move(segment), {});
}

model::Status Journal::append(std::span<const model::Barrier> barriers) {
    INVARIANT(!barriers.empty(), "a frame of the journal has an entry");
    INVARIANT(has_lineage(), "a lineage begins before its first entry");
    model::BarrierNumber last = last_number_;
    for (const model::Barrier& barrier : barriers) {
        INVARIANT(known(barrier.kind), "seals and spills decide nothing and are not journaled");
        INVARIANT(barrier.number > last, "the numbers of journaled barriers rise");
        last = barrier.number;
    }
    if (!dead_.empty()) {
        return model::unavailable("the journal failed before: " + dead_);
    }
    if (file_ == nullptr || file_->size() > options_.segment_bytes) {
        if (auto begun = begin_segment(lineage_, last_number_); !begun) {
            return die(std::move(begun.error()));
        }
    }
    const std::string frame = encode_frame(barriers, last_number_, file_->size());
    SLUICE_FAIL_POINT("journal.before_write");
    if (auto written = file_->append(frame); !written) {
        return die(std::move(written.error()));
    }
    SLUICE_FAIL_POINT("journal.before_sync");
    if (auto synced = SLUICE_MUTANT(BARRIER_BEFORE_FSYNC) ? model::Status{} : file_->sync();
        !synced) {
        return die(std::move(synced.error()));
    }
    SLUICE_FAIL_POINT("journal.after_sync");
    segments_.back().last = last;
    segments_.back().bytes += frame.size();
    last_number_ = last;
    note_offsets(barriers);
    return {};
}

model::Status Journal::start_lineage(const Lineage& lineage, model::BarrierNumber previous) {
    INVARIANT(lineage != Lineage{} && lineage != lineage_, "a lineage has a random id of its own");
    if (!dead_.empty()) {
        return model::unavailable("the journal failed before: " + dead_);
    }
    if (auto begun = begin_segment(lineage, previous); !begun) {
        return die(std::move(begun.error()));
    }
    lineage_ = lineage;
    last_number_ = previous;
    highest_.clear();
    return {};
}

model::Result<std::vector<model::Barrier>> Journal::entries_after(
    model::BarrierNumber number) const {
    std::vector<model::Barrier> entries;
    for (const Segment& segment : segments_) {
        if (segment.lineage != lineage_ || segment.last <= number) {
            continue;
        }
        TRY(bytes, read_file(disk_, segment.path, kMaxSegment));
        TRY(header, parse_header(bytes, segment.path));
        TRY(frames, parse_frames(bytes, header.previous, segment.path));
        // What was valid when we came and is not now has been changed under us.
        const model::BarrierNumber last =
            frames.entries.empty() ? header.previous : frames.entries.back().number;
        if (last != segment.last) {
            return model::corrupt(segment.path + ": changed since it was checked");
        }
        for (model::Barrier& barrier : frames.entries) {
            if (barrier.number > number) {
                entries.push_back(std::move(barrier));
            }
        }
    }
    return entries;
}

bool Journal::has_gap_after(model::BarrierNumber number) const {
    const Segment* before = nullptr;
    for (const Segment& segment : segments_) {
        if (segment.lineage != lineage_) {
            continue;
        }
        // The entry that this segment says came before it is either the last one that we hold, or
        // missing; that matters only if the replay needs it.
        const bool joined = before != nullptr && segment.previous == before->last;
        if (!joined && segment.previous > number) {
            return true;
        }
        before = &segment;
    }
    return false;
}

model::Status Journal::forget_before(model::BarrierNumber number) {
    if (!dead_.empty()) {
        return model::unavailable("the journal failed before: " + dead_);
    }
    bool removed = false;
    // Oldest first, and never past one that stays: what is left is contiguous whenever we die.
    for (std::size_t i = 0; i + 1 < segments_.size();) {
        if (segments_[i].lineage != lineage_) {
            ++i;
            continue;
        }
        if (segments_[i].last > number) {
            break;
        }
        SLUICE_FAIL_POINT("journal.before_forget");
        TRY(disk_.remove(segments_[i].path));
        segments_.erase(segments_.begin() + static_cast<std::ptrdiff_t>(i));
        removed = true;
    }
    return removed ? disk_.sync_directory(directory_) : model::Status{};
}

std::vector<std::string> Journal::older_segments() const {
    std::vector<std::string> paths;
    for (const Segment& segment : segments_) {
        if (segment.lineage != lineage_) {
            paths.push_back(segment.path);
        }
    }
    return paths;
}

model::Status Journal::forget_older_lineages() {
    bool removed = false;
    for (std::size_t i = 0; i < segments_.size();) {
        if (segments_[i].lineage == lineage_) {
            ++i;
            continue;
        }
        TRY(disk_.remove(segments_[i].path));
        segments_.erase(segments_.begin() + static_cast<std::ptrdiff_t>(i));
        removed = true;
    }
    return removed ? disk_.sync_directory(directory_) : model::Status{};
}

std::uint64_t Journal::stored_bytes() const {
    std::uint64_t bytes = 0;
    for (const Segment& segment : segments_) {
        bytes += segment.bytes;
    }
    return bytes;
}

std::uint64_t Journal::segments() const { return segments_.size(); }

}  // namespace sluice::state
