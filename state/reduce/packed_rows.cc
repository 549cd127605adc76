#include "state/reduce/packed_rows.h"

#include <cstring>
#include <utility>

namespace sluice::state {

namespace {

// As they lie in memory, so in the order of this machine.
struct Head {
    std::uint64_t hash;
    std::uint32_t key_bytes;
    std::uint32_t row_bytes;
};

class PackedCursor final : public RowCursor {
 public:
    explicit PackedCursor(std::shared_ptr<const PackedRows> rows) : rows_(std::move(rows)) {}

    model::Status next() override {
        valid_ = current_.next != rows_->size();
        if (valid_) {
            current_ = rows_->at(current_.next);
        }
        return {};
    }
    bool valid() const override { return valid_; }
    std::uint64_t hash() const override { return current_.hash; }
    std::string_view key() const override { return current_.key; }
    std::string_view row() const override { return current_.row; }

 private:
    const std::shared_ptr<const PackedRows> rows_;  // shared as cursor_over() says
    PackedRows::Row current_{};
    bool valid_ = false;
};

}  // namespace

void PackedRows::add(std::uint64_t hash, std::string_view key, std::string_view row) {
    const Head head{hash, static_cast<std::uint32_t>(key.size()),
                    static_cast<std::uint32_t>(row.size())};
    bytes_.append(reinterpret_cast<const char*>(&head), sizeof head);
    bytes_.append(key);
    bytes_.append(row);
    ++rows_;
}

PackedRows::Row PackedRows::at(std::size_t place) const {
    Head head;
    std::memcpy(&head, bytes_.data() + place, sizeof head);
    const char* const key = bytes_.data() + place + sizeof head;
    return {head.hash,
            {key, head.key_bytes},
            {key + head.key_bytes, head.row_bytes},
            place + sizeof head + head.key_bytes + head.row_bytes};
}

std::unique_ptr<RowCursor> cursor_over(std::shared_ptr<const PackedRows> rows) {
    return std::make_unique<PackedCursor>(std::move(rows));
}

}  // namespace sluice::state
