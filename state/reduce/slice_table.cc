#include "state/reduce/slice_table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "state/model/invariant.h"
#include "state/reduce/encoding.h"

namespace sluice::state {

namespace {

using config::ReductionKind;
using model::int128;
using model::Scalar;
using model::Type;
using model::uint128;

constexpr int kBlockBits = 7;  // a slice of a backlog often holds few rows
constexpr std::uint32_t kBlockRows = 1U << kBlockBits;
constexpr std::uint32_t kPartRows = 64 * 1024;  // a part with more splits
constexpr int kLeastSlotBits = 4;
// Beyond it a part doubles instead: only hashes that hardly differ get there.
constexpr int kMostDepth = 16;
constexpr std::size_t kArenaBlock = 4 * 1024;
// A slot's 8 bytes at the mean load.
constexpr std::size_t kIndexBytesPerRow = 16;
// What a table takes for its first row: a page of rows, its index, its own fields. A hundred
// thousand open windows of a few rows each are half a gigabyte of that.
constexpr std::size_t kTableBytes = 4096 + 512;
constexpr std::uint32_t kLeastTextRoom = 16;

// Grow when more than three quarters of the slots are taken.
bool is_full(std::uint32_t rows, int slot_bits) {
    return 4 * static_cast<std::uint64_t>(rows) >= 3 * (std::uint64_t{1} << slot_bits);
}

std::uint64_t tag_of(std::uint64_t hash) { return hash >> 32; }

template <class Cell>
Cell& cell_at(char* at) {
    return *reinterpret_cast<Cell*>(at);
}
template <class Cell>
const Cell& cell_at(const char* at) {
    return *reinterpret_cast<const Cell*>(at);
}

std::string_view key_of(const RowHeader& header) {
    if (header.key_bytes <= RowHeader::kShortKey) {
        return {header.key, header.key_bytes};
    }
    const char* whole = nullptr;
    std::memcpy(&whole, header.key + 4, sizeof(whole));
    return {whole, header.key_bytes};
}

bool has_key(const RowHeader& header, std::uint64_t hash, std::string_view key) {
    if (header.hash != hash || header.key_bytes != key.size()) {
        return false;
    }
    const std::string_view own = key_of(header);
    return std::memcmp(own.data(), key.data(), key.size()) == 0;
}

bool keeps(const model::Column* where, std::uint32_t row) {
    return where == nullptr || (where->type[row] == Type::boolean && where->value[row].boolean);
}

int128 total_of(const SumCell& cell) {
    return static_cast<int128>((static_cast<uint128>(cell.high) << 64) | cell.low);
}
void set_total(SumCell& cell, int128 total) {
    cell.low = static_cast<std::uint64_t>(static_cast<uint128>(total));
    cell.high = static_cast<std::uint64_t>(static_cast<uint128>(total) >> 64);
}

Scalar scalar_of(const ScalarCell& cell, Type type) {
    switch (type) {
        case Type::text:
            return Scalar::of(std::string_view(cell.text.data, cell.text.size));
        case Type::boolean:
            return Scalar::of(cell.words[0] != 0);
        case Type::integer:
            return Scalar::of(static_cast<std::int64_t>(cell.words[0]));
        case Type::real:
            return Scalar::of(std::bit_cast<double>(cell.words[0]));
        case Type::decimal:
            return Scalar::of_decimal(
                static_cast<int128>((static_cast<uint128>(cell.words[1]) << 64) | cell.words[0]));
        case Type::null:
            break;
    }
    return Scalar::null();
}

}  // namespace

SliceTable::SliceTable(RowLayout layout) : layout_(std::move(layout)), arena_(kArenaBlock) {
    Part part;
    part.slot_bits = kLeastSlotBits;
    part.slots = std::make_unique<std::uint64_t[]>(std::size_t{1} << kLeastSlotBits);
    parts_.push_back(std::move(part));
    directory_.push_back(0);
}

SliceTable::~SliceTable() = default;

std::size_t SliceTable::bytes() const {
    if (rows_ == 0) {
        return 0;
    }
    std::size_t sum =
        kTableBytes + rows_ * (layout_.row_bytes() + kIndexBytesPerRow) + arena_.used_bytes();
    // The limbs of float totals are counted at their usual number.
    constexpr std::size_t kLimbs = 4 * sizeof(std::uint64_t);
    sum += rests_.size() * (sizeof(SumRest) + kLimbs);
    return sum;
}

std::size_t SliceTable::reserved_rows() const { return blocks_.size() * kBlockRows; }

void SliceTable::clear() {
    for (auto& part : parts_) {
        std::fill_n(part.slots.get(), std::size_t{1} << part.slot_bits, 0);
        part.rows = 0;
    }
    rows_ = 0;
    arena_.clear();
    rests_.clear();
    topics_.clear();
}

char* SliceTable::row_at(std::uint32_t row) const {
    return blocks_[row >> kBlockBits].get() + (row & (kBlockRows - 1)) * layout_.row_bytes();
}

std::size_t SliceTable::directory_index(std::uint64_t hash) const {
    return depth_ == 0 ? 0 : hash >> (64 - depth_);
}

SliceTable::Part& SliceTable::part_of(std::uint64_t hash) {
    return parts_[directory_[directory_index(hash)]];
}

std::size_t SliceTable::slot_of(const Part& part, std::uint64_t hash) {
    return (hash << part.depth) >> (64 - part.slot_bits);
}

// The top bits of a slot's hash, as many as its part's index needs.
std::uint64_t SliceTable::slot_hash(const Part& part, std::uint64_t slot) const {
    if (part.depth + part.slot_bits + 1 <= 32) {
        return slot & ~std::uint64_t{0xffffffff};
    }
    const auto row = static_cast<std::uint32_t>(slot) - 1;
    return cell_at<RowHeader>(row_at(row)).hash;
}

void SliceTable::insert_slot(Part& part, std::uint64_t hash, std::uint64_t slot) {
    const std::size_t mask = (std::size_t{1} << part.slot_bits) - 1;
    std::size_t at = slot_of(part, hash);
    while (part.slots[at] != 0) {
        at = (at + 1) & mask;
    }
    part.slots[at] = slot;
    ++part.rows;
}

// Makes room in the part of `hash`, by twice the slots or by a split.
void SliceTable::grow(std::uint64_t hash) {
    const std::uint32_t number = directory_[directory_index(hash)];
    Part& part = parts_[number];
    if (part.rows >= kPartRows && part.depth < kMostDepth) {
        split(number, hash);
        return;
    }
    Part larger;
    larger.slot_bits = part.slot_bits + 1;
    larger.depth = part.depth;
    larger.slots = std::make_unique<std::uint64_t[]>(std::size_t{1} << larger.slot_bits);
    for (std::size_t i = 0; i < std::size_t{1} << part.slot_bits; ++i) {
        if (part.slots[i] != 0) {
            insert_slot(larger, slot_hash(part, part.slots[i]), part.slots[i]);
        }
    }
    part = std::move(larger);
}

void SliceTable::split(std::uint32_t number, std::uint64_t hash) {
    Part old = std::move(parts_[number]);
    const std::size_t slots = std::size_t{1} << old.slot_bits;
    const auto goes_up = [&](std::uint64_t h) { return ((h << old.depth) >> 63) != 0; };
    std::uint32_t upper_rows = 0;
    for (std::size_t i = 0; i < slots; ++i) {
        if (old.slots[i] != 0 && goes_up(slot_hash(old, old.slots[i]))) {
            ++upper_rows;
        }
    }
    const auto make = [&](std::uint32_t rows) {
        Part part;
        part.depth = old.depth + 1;
        part.slot_bits =
            std::max(kLeastSlotBits, static_cast<int>(std::bit_width(rows + rows / 2)));
        part.slots = std::make_unique<std::uint64_t[]>(std::size_t{1} << part.slot_bits);
        return part;
    };
    Part lower = make(old.rows - upper_rows);
    Part upper = make(upper_rows);
    for (std::size_t i = 0; i < slots; ++i) {
        if (old.slots[i] != 0) {
            const std::uint64_t h = slot_hash(old, old.slots[i]);
            insert_slot(goes_up(h) ? upper : lower, h, old.slots[i]);
        }
    }

    if (old.depth == depth_) {
        std::vector<std::uint32_t> twice(2 * directory_.size());
        for (std::size_t i = 0; i < twice.size(); ++i) {
            twice[i] = directory_[i / 2];
        }
        directory_ = std::move(twice);
        ++depth_;
    }
    const auto upper_number = static_cast<std::uint32_t>(parts_.size());
    // The directory entries of a part are a run of 2^(depth_ - its depth), aligned to its length.
    const std::size_t half = std::size_t{1} << (depth_ - old.depth - 1);
    const std::size_t begin = directory_index(hash) & ~(2 * half - 1);
    std::fill_n(directory_.begin() + static_cast<std::ptrdiff_t>(begin + half), half, upper_number);
    parts_[number] = std::move(lower);
    parts_.push_back(std::move(upper));
}

// The first row in the chain whose tag fits, or none: a guess that costs no look at the rows.
std::uint32_t SliceTable::candidate(std::uint64_t hash) {
    const Part& part = part_of(hash);
    const std::size_t mask = (std::size_t{1} << part.slot_bits) - 1;
    for (std::size_t at = slot_of(part, hash);; at = (at + 1) & mask) {
        const std::uint64_t slot = part.slots[at];
        if (slot == 0) {
            return 0;
        }
        if (tag_of(slot) == tag_of(hash)) {
            return static_cast<std::uint32_t>(slot);
        }
    }
}

char* SliceTable::new_row(std::uint64_t hash, std::string_view key) {
    INVARIANT(rows_ < std::numeric_limits<std::uint32_t>::max() - 1,
              "a table is sealed before its row numbers run out");
    const auto row = static_cast<std::uint32_t>(rows_);
    if ((row >> kBlockBits) == blocks_.size()) {
        blocks_.push_back(std::make_unique_for_overwrite<char[]>(kBlockRows * layout_.row_bytes()));
    }
    ++rows_;
    char* at = row_at(row);
    std::memset(at, 0, layout_.row_bytes());
    auto& header = cell_at<RowHeader>(at);
    header.hash = hash;
    header.key_bytes = static_cast<std::uint32_t>(key.size());
    if (key.size() <= RowHeader::kShortKey) {
        std::copy(key.begin(), key.end(), header.key);
    } else {
        const char* whole = arena_.copy(key).data();
        std::memcpy(header.key, whole, 4);
        std::memcpy(header.key + 4, &whole, sizeof(whole));
    }
    return at;
}

char* SliceTable::row_for(std::uint64_t hash, std::string_view key) {
    Part* part = &part_of(hash);
    const std::size_t mask = (std::size_t{1} << part->slot_bits) - 1;
    std::size_t at = slot_of(*part, hash);
    for (; part->slots[at] != 0; at = (at + 1) & mask) {
        const std::uint64_t slot = part->slots[at];
        if (tag_of(slot) == tag_of(hash)) {
            char* row = row_at(static_cast<std::uint32_t>(slot) - 1);
            if (has_key(cell_at<RowHeader>(row), hash, key)) {
                return row;
            }
        }
    }
    const std::uint64_t slot = (tag_of(hash) << 32) | (rows_ + 1);
    char* row = new_row(hash, key);
    const auto needs_room = [](const Part& p) {
        return is_full(p.rows, p.slot_bits) || (p.rows >= kPartRows && p.depth < kMostDepth);
    };
    if (!needs_room(*part)) {
        part->slots[at] = slot;
        ++part->rows;
        return row;
    }
    do {
        grow(hash);
        part = &part_of(hash);
    } while (needs_room(*part));
    insert_slot(*part, hash, slot);
    return row;
}

// Finds or makes the rows of a step. Three passes, so that the cache misses of 64 rows overlap: ask
// for the slots, then for the rows that they name, then look.
void SliceTable::locate(const FoldInput& input, std::size_t begin, std::size_t count, Cells& rows) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t hash = input.hash[begin + i];
        const Part& part = part_of(hash);
        __builtin_prefetch(&part.slots[slot_of(part, hash)]);
    }
    std::array<std::uint32_t, kStep> guess;
    for (std::size_t i = 0; i < count; ++i) {
        guess[i] = candidate(input.hash[begin + i]);
        if (guess[i] != 0) {
            prefetch(guess[i] - 1);
        }
    }
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t hash = input.hash[begin + i];
        const std::string_view key = input.key[begin + i];
        if (guess[i] != 0) {
            rows[i] = row_at(guess[i] - 1);
            if (has_key(cell_at<RowHeader>(rows[i]), hash, key)) {
                continue;
            }
        }
        rows[i] = row_for(hash, key);
    }
}

void SliceTable::fold(const FoldInput& input, std::span<const std::uint8_t> counts_as_rev,
                      model::ValueErrors& errors) {
    INVARIANT(input.hash.size() == input.rows.size() && input.key.size() == input.rows.size(),
              "hashes and keys are parallel to rows");
    INVARIANT(counts_as_rev.empty() || counts_as_rev.size() == input.rows.size(),
              "rev marks are parallel to rows");
    INVARIANT(input.arguments.size() == layout_.calls() && input.wheres.size() == layout_.calls(),
              "one argument and one where per call");
    if (topics_.empty() || topics_[topic_] != input.topic) {
        const auto known = std::find(topics_.begin(), topics_.end(), input.topic);
        topic_ = static_cast<std::uint32_t>(known - topics_.begin());
        if (known == topics_.end()) {
            topics_.emplace_back(input.topic);
        }
    }
    Cells rows;
    for (std::size_t begin = 0; begin < input.rows.size(); begin += kStep) {
        const std::size_t count = std::min(kStep, input.rows.size() - begin);
        locate(input, begin, count, rows);
        if (!counts_as_rev.empty()) {
            for (std::size_t i = 0; i < count; ++i) {
                cell_at<RowHeader>(rows[i]).rev += counts_as_rev[begin + i];
            }
        }
        for (std::size_t call = 0; call < layout_.calls(); ++call) {
            fold_call(input, call, begin, count, rows, errors);
        }
    }
}

void SliceTable::fold_call(const FoldInput& input, std::size_t call, std::size_t begin,
                           std::size_t count, const Cells& rows, model::ValueErrors& errors) {
    const model::Column* argument = input.arguments[call];
    const model::Column* where = input.wheres[call];
    const std::size_t offset = layout_.offset(call);
    const ReductionKind kind = layout_.kind(call);
    INVARIANT(argument != nullptr || kind == ReductionKind::count,
              "every reduction but count() has an argument");

    // Calls fold(cell, value, batch row) for every value that is neither left out nor null.
    const auto each = [&](auto fold) {
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint32_t row = input.rows[begin + i];
            if (keeps(where, row) && argument->type[row] != Type::null) {
                fold(rows[i] + offset, argument->at(row), row);
            }
        }
    };
    switch (kind) {
        case ReductionKind::count:
            for (std::size_t i = 0; i < count; ++i) {
                const std::uint32_t row = input.rows[begin + i];
                const bool counted =
                    keeps(where, row) && (argument == nullptr || argument->type[row] != Type::null);
                cell_at<CountCell>(rows[i] + offset).count += counted ? 1 : 0;
            }
            break;
        case ReductionKind::sum:
            each([&](char* at, const Scalar& value, std::uint32_t) {
                if (value.is_number()) {
                    add_to_sum(cell_at<SumCell>(at), value);
                } else {
                    ++errors.wrong_type;
                }
            });
            break;
        case ReductionKind::mean:
            each([&](char* at, const Scalar& value, std::uint32_t) {
                if (value.is_number()) {
                    auto& cell = cell_at<MeanCell>(at);
                    add_to_sum(cell.sum, value);
                    ++cell.count;
                } else {
                    ++errors.wrong_type;
                }
            });
            break;
        case ReductionKind::min:
        case ReductionKind::max:
            each([&](char* at, const Scalar& value, std::uint32_t) {
                add_extreme(cell_at<ExtremeCell>(at), kind == ReductionKind::min, value);
            });
            break;
        case ReductionKind::first:
        case ReductionKind::last:
            each([&](char* at, const Scalar& value, std::uint32_t row) {
                add_ordered(cell_at<OrderedCell>(at), kind == ReductionKind::first, input, row,
                            value);
            });
            break;
    }
}

SliceTable::SumRest& SliceTable::rest_of(SumCell& cell) {
    if (cell.rest == 0) {
        rests_.emplace_back();
        INVARIANT(rests_.size() < std::numeric_limits<std::uint32_t>::max(),
                  "a table is sealed before its numbers run out");
        cell.rest = static_cast<std::uint32_t>(rests_.size());
    }
    return rests_[cell.rest - 1];
}

void SliceTable::add_to_sum(SumCell& cell, const Scalar& value) {
    int128 addend = 0;
    if (value.type == Type::integer) {
        cell.flags |= kIntegers;
        addend = static_cast<int128>(value.value.integer) * model::kDecimalOne;
    } else if (value.type == Type::decimal) {
        cell.flags |= kDecimals;
        addend = value.value.decimal;
    } else {
        cell.flags |= kFloats;
        rest_of(cell).floats.add(value.value.real);
        return;
    }
    int128 total = 0;
    if (__builtin_add_overflow(total_of(cell), addend, &total)) {
        const bool fits = rest_of(cell).total.add(ExactTotal(total_of(cell)));
        INVARIANT(fits, "2^63 addends stay within 192 bits");
        total = addend;
    }
    set_total(cell, total);
}

// Keeps a copy of `value` in `cell`, which held a value of type `before` (null: none). A text takes
// the room of the one before if it fits; else it gets room to grow, so that a key whose texts grow
// costs a bounded multiple of its longest one.
void SliceTable::keep(ScalarCell& cell, Type before, const Scalar& value) {
    switch (value.type) {
        case Type::text: {
            const std::string_view text = value.value.text.view();
            const auto size = static_cast<std::uint32_t>(text.size());
            if (before != Type::text || cell.text.room < size) {
                const std::size_t room =
                    std::bit_ceil(std::max<std::size_t>(text.size(), kLeastTextRoom));
                cell.text.data = arena_.allocate(room);
                cell.text.room = static_cast<std::uint32_t>(
                    std::min<std::size_t>(room, std::numeric_limits<std::uint32_t>::max()));
            }
            std::copy(text.begin(), text.end(), cell.text.data);
            cell.text.size = size;
            break;
        }
        case Type::decimal:
            cell.words[0] = static_cast<std::uint64_t>(static_cast<uint128>(value.value.decimal));
            cell.words[1] =
                static_cast<std::uint64_t>(static_cast<uint128>(value.value.decimal) >> 64);
            break;
        case Type::real:
            cell.words[0] = std::bit_cast<std::uint64_t>(without_negative_zero(value.value.real));
            break;
        case Type::integer:
            cell.words[0] = static_cast<std::uint64_t>(value.value.integer);
            break;
        case Type::boolean:
            cell.words[0] = value.value.boolean ? 1 : 0;
            break;
        case Type::null:
            break;
    }
}

void SliceTable::add_extreme(ExtremeCell& cell, bool minimum, const Scalar& value) {
    const auto state = static_cast<ScalarState>(cell.state);
    if (state == ScalarState::mixed) {
        return;
    }
    if (state == ScalarState::value) {
        if (!comparable(cell.type, value.type)) {
            cell.state = static_cast<std::uint8_t>(ScalarState::mixed);
            return;
        }
        const Scalar current = scalar_of(cell.value, cell.type);
        if (minimum ? !replaces_minimum(value, current) : !replaces_maximum(value, current)) {
            return;
        }
    }
    keep(cell.value, cell.type, value);
    cell.type = value.type;
    cell.state = static_cast<std::uint8_t>(ScalarState::value);
}

void SliceTable::add_ordered(OrderedCell& cell, bool first, const FoldInput& input,
                             std::uint32_t row, const Scalar& value) {
    const RecordOrder order{input.batch->timestamp[row], input.topic, input.partition,
                            input.batch->offset[row], 0};
    if (cell.present) {
        const RecordOrder current{cell.timestamp, topics_[cell.topic], cell.partition, cell.offset,
                                  cell.element};
        if (first ? order >= current : order <= current) {
            return;
        }
    }
    keep(cell.value, cell.type, value);
    cell.type = value.type;
    cell.present = true;
    cell.timestamp = order.timestamp;
    cell.topic = topic_;
    cell.partition = order.partition;
    cell.offset = order.offset;
    cell.element = order.element;
}

std::vector<std::uint32_t> SliceTable::parts_in_order() const {
    std::vector<std::uint32_t> order;
    for (std::size_t i = 0; i < directory_.size();) {
        order.push_back(directory_[i]);
        i += std::size_t{1} << (depth_ - parts_[directory_[i]].depth);
    }
    return order;
}

void SliceTable::rows_of_part(std::uint32_t number, std::vector<RowRef>& rows) const {
    const Part& part = parts_[number];
    rows.clear();
    rows.reserve(part.rows);
    for (std::size_t i = 0; i < std::size_t{1} << part.slot_bits; ++i) {
        if (part.slots[i] != 0) {
            rows.push_back({0, static_cast<std::uint32_t>(part.slots[i]) - 1});
        }
    }
    constexpr std::size_t kAhead = 16;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (i + kAhead < rows.size()) {
            prefetch(rows[i + kAhead].row);
        }
        rows[i].hash = cell_at<RowHeader>(row_at(rows[i].row)).hash;
    }
}

std::string_view SliceTable::key(std::uint32_t row) const {
    return key_of(cell_at<RowHeader>(row_at(row)));
}

void SliceTable::prefetch(std::uint32_t row) const {
    constexpr std::size_t kCacheLine = 64;
    const char* at = row_at(row);
    for (std::size_t i = 0; i < layout_.row_bytes(); i += kCacheLine) {
        __builtin_prefetch(at + i);
    }
}

void SliceTable::encode(std::uint32_t row, std::string& out) const {
    const char* at = row_at(row);
    out.clear();
    append_row_header(out, cell_at<RowHeader>(at).rev);
    for (std::size_t call = 0; call < layout_.calls(); ++call) {
        const char* cell_bytes = at + layout_.offset(call);
        const ReductionKind kind = layout_.kind(call);
        switch (kind) {
            case ReductionKind::count:
                append_count(out, cell_at<CountCell>(cell_bytes).count);
                break;
            case ReductionKind::sum:
            case ReductionKind::mean: {
                // A mean's cell begins with that of its sum.
                const auto& cell = cell_at<SumCell>(cell_bytes);
                ExactTotal total(total_of(cell));
                const FloatTotal* floats = nullptr;
                if (cell.rest != 0) {
                    const SumRest& rest = rests_[cell.rest - 1];
                    const bool fits = total.add(rest.total);
                    INVARIANT(fits, "2^63 addends stay within 192 bits");
                    floats = &rest.floats;
                }
                append_sum(out, kind, cell.flags, total, floats,
                           kind == ReductionKind::mean ? cell_at<MeanCell>(cell_bytes).count : 0);
                break;
            }
            case ReductionKind::min:
            case ReductionKind::max: {
                const auto& cell = cell_at<ExtremeCell>(cell_bytes);
                const auto state = static_cast<ScalarState>(cell.state);
                append_extreme(
                    out, kind,
                    {state, state == ScalarState::value ? scalar_of(cell.value, cell.type)
                                                        : Scalar::null()});
                break;
            }
            case ReductionKind::first:
            case ReductionKind::last: {
                const auto& cell = cell_at<OrderedCell>(cell_bytes);
                OrderedState state;
                state.present = cell.present;
                if (cell.present) {
                    state.order = {cell.timestamp, topics_[cell.topic], cell.partition, cell.offset,
                                   cell.element};
                    state.value = scalar_of(cell.value, cell.type);
                }
                append_ordered(out, kind, state);
                break;
            }
        }
    }
}

}  // namespace sluice::state
