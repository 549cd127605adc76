#include "state/tools/former_rows.h"

#include <optional>
#include <string>
#include <tuple>
#include <utility>

namespace sluice::state {
namespace {

auto place(const RowKey& key) {
    return std::tuple(key.slice_end, key.accepted_from, key.hash, key.key);
}

class MergedDefinitions final : public RowSource {
 public:
    MergedDefinitions(std::uint32_t reduction, std::vector<Definition> definitions)
        : reduction_(reduction), definitions_(std::move(definitions)) {
        for (std::size_t i = 0; i < definitions_.size(); ++i) {
            taken_.push_back(i);  // none stands at a row yet
        }
        rearranged_.resize(definitions_.size());
    }

    model::Status next() override {
        for (const std::size_t i : taken_) {
            TRY(definitions_[i].rows->next());
        }
        taken_.clear();
        for (std::size_t i = 0; i < definitions_.size(); ++i) {
            const RowSource& rows = *definitions_[i].rows;
            if (!rows.valid()) {
                continue;
            }
            const auto here = place(rows.key());
            if (!taken_.empty()) {
                const auto least = place(definitions_[taken_.front()].rows->key());
                if (least < here) {
                    continue;
                }
                if (here < least) {
                    taken_.clear();
                }
            }
            taken_.push_back(i);
        }
        if (taken_.empty()) {
            return {};
        }
        key_ = definitions_[taken_.front()].rows->key();
        key_.reduction = reduction_;
        parts_.clear();
        for (const std::size_t i : taken_) {
            const Definition& definition = definitions_[i];
            parts_.push_back(definition.rows->row());
            if (!definition.calls.empty()) {
                TRY(rearrange_row(parts_.back(), definition.calls, rearranged_[i]));
                parts_.back() = rearranged_[i];
            }
        }
        row_ = parts_.front();
        if (parts_.size() > 1) {
            TRY(merge_rows(parts_, merged_));
            row_ = merged_;
        }
        return {};
    }
    bool valid() const override {
        return !taken_.empty() && definitions_[taken_.front()].rows->valid();
    }
    const RowKey& key() const override { return key_; }
    std::string_view row() const override { return row_; }

 private:
    const std::uint32_t reduction_;
    std::vector<Definition> definitions_;
    std::vector<std::size_t> taken_;       // those that stand at the row that was given
    std::vector<std::string> rearranged_;  // by definition
    std::vector<std::string_view> parts_;
    std::string merged_;
    RowKey key_;
    std::string_view row_;
};

class Concatenated final : public RowSource {
 public:
    explicit Concatenated(std::vector<std::unique_ptr<RowSource>> sources)
        : sources_(std::move(sources)) {}

    model::Status next() override {
        for (; at_ < sources_.size(); ++at_) {
            TRY(sources_[at_]->next());
            if (sources_[at_]->valid()) {
                return {};
            }
            sources_[at_].reset();
        }
        return {};
    }
    bool valid() const override { return at_ < sources_.size() && sources_[at_]->valid(); }
    const RowKey& key() const override { return sources_[at_]->key(); }
    std::string_view row() const override { return sources_[at_]->row(); }

 private:
    std::vector<std::unique_ptr<RowSource>> sources_;
    std::size_t at_ = 0;
};

}  // namespace

std::unique_ptr<RowSource> merge_definitions(std::uint32_t reduction,
                                             std::vector<Definition> definitions) {
    return std::make_unique<MergedDefinitions>(reduction, std::move(definitions));
}

std::unique_ptr<RowSource> concatenate(std::vector<std::unique_ptr<RowSource>> sources) {
    return std::make_unique<Concatenated>(std::move(sources));
}

}  // namespace sluice::state
