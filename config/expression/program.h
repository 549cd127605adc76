// Expressions, compiled once into column kernels and run over batches (no tree walk per record).
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "state/model/arena.h"
#include "state/model/record_batch.h"
#include "state/model/value.h"

namespace sluice::config {

// A set of model::Type: what an expression can give as far as its text tells.
using TypeSet = std::uint8_t;
constexpr TypeSet type_set(model::Type type) {
    return static_cast<TypeSet>(1u << static_cast<unsigned>(type));
}
inline constexpr TypeSet kAnyType = 0b11'1111;

// Where a column of a record batch comes from.
struct FieldSource {
    enum class Kind : std::uint8_t {
        json,      // `path` into the decoded value
        assigned,  // made by a `set` step (and by nothing else)
        kafka_topic,
        kafka_partition,
        kafka_offset,
        kafka_timestamp,
        kafka_key,
        kafka_header,  // `path[0]` is the header's name
    };
    using Segment = std::variant<std::string, std::int64_t>;  // member name or array index from 0
    Kind kind = Kind::json;
    std::vector<Segment> path;
    bool operator==(const FieldSource&) const = default;
};

// The columns that a pipeline's expressions name. Grows while they are compiled; the decoder then
// fills exactly these.
//
// A `set` step gives a path a new meaning for everything after it: assign() makes a new column and
// later look-ups of the path find that one. A look-up below an assigned path, or above one (an
// object whose member was set), is an error that compile() reports.
class Fields {
 public:
    std::uint32_t column(const FieldSource& source);  // finds or adds
    // From now on `path` means the returned column. `types` is what the assigned program gives
    // (Program::types()), so that later expressions are checked against it.
    std::uint32_t assign(const std::vector<FieldSource::Segment>& path, TypeSet types = kAnyType);
    std::size_t size() const { return sources_.size(); }
    const FieldSource& source(std::uint32_t column) const { return sources_[column]; }

 private:
    friend class Compiler;
    std::vector<FieldSource> sources_;
    std::vector<TypeSet> types_;  // by column
    std::vector<std::pair<std::vector<FieldSource::Segment>, std::uint32_t>>
        assigned_;  // newest last
};

// An error inside an expression's text. `column` counts bytes from 0 in that text.
struct ExpressionError {
    std::size_t column = 0;
    std::size_t length = 1;
    std::string message;
    std::string hint;  // the fix, or empty
};

template <class T>
using Compiled = std::expected<T, ExpressionError>;

// A compiled expression. Immutable after compile(); evaluate() may be called from several threads
// with their own `scratch`.
class Program {
 public:
    // What an evaluation may write to besides its result. Columns inside are reused from call to
    // call.
    struct Scratch {
        std::vector<model::Column> columns;
        std::vector<model::Selection> selections;
        model::Column filter;
        model::ValueErrors errors;  // added to
    };

    Program();
    Program(Program&&) noexcept;
    Program& operator=(Program&&) noexcept;
    ~Program();

    // Sets out[row] for every row of `rows`; `out` and `columns` are sized for `row_count` rows.
    // Texts in `out` point into `columns`, into the program (literals) or into `arena`. Never
    // fails: what goes wrong is null and counted. `out` is none of the columns that it reads.
    //
    // Errors count where a part is needed: the branch of `if` that is not taken, what stands behind
    // a false `and`, a true `or` or a `??` with a value is not computed and counts nothing.
    void evaluate(std::span<const model::Column> columns, std::size_t row_count,
                  const model::Selection& rows, model::Column& out, model::Arena& arena,
                  Scratch& scratch) const;

    // Filters keep only true: replaces `rows` by those where the program gives true.
    void filter(std::span<const model::Column> columns, std::size_t row_count,
                model::Selection& rows, model::Arena& arena, Scratch& scratch) const;

    // The column number if the whole program is one field and nothing else: then no copy is needed.
    std::optional<std::uint32_t> plain_column() const;

    // What it can give. Any expression can give null.
    TypeSet types() const;

    struct Code;

 private:
    friend class Compiler;
    std::unique_ptr<const Code> code_;
};

// An expression over records (steps, key, timestamp). Fields that it names are added to `fields`,
// in part also when it fails.
Compiled<Program> compile(std::string_view text, Fields& fields);

// The same for a filter: what can never be true or false is an error.
Compiled<Program> compile_filter(std::string_view text, Fields& fields);

// A field path by itself (`geo.country`), as the left side of `set` has it. Not `kafka.…`.
Compiled<std::vector<FieldSource::Segment>> parse_path(std::string_view text);

// The expression with canonical spaces, parentheses and literals: texts that differ only in those
// become equal. For hashes and comparison; it means the same when it is compiled.
Compiled<std::string> canonical(std::string_view text);

enum class ReductionKind : std::uint8_t {
    count = 1,  // count() or count(x)
    sum = 2,
    min = 3,
    max = 4,
    mean = 5,
    first = 6,
    last = 7,
    // The rest of CONFIG.md's list is refused as "not available in this version".
};

// One call of a reduction inside a value: what state folds.
struct ReductionCall {
    ReductionKind kind = ReductionKind::count;
    std::optional<Program> argument;  // none only for count()
    std::optional<Program> where;     // `sum(price) where kind == 'buy'`
    std::string text;                 // canonical(), `where` included
};

// A member of `values`: an expression over reductions. Calls with equal text are shared over all
// values of a reduction. `result` reads call i of the reduction's list as column i.
//
// `where` belongs to the reduction call right before it and takes all that follows, up to the end,
// a comma or a closing parenthesis: (sum(a) where x == 1) / count().
struct ValueProgram {
    std::vector<std::uint32_t> calls;  // the calls that it reads, indices into the reduction's list
    Program result;
};
Compiled<ValueProgram> compile_value(std::string_view text, Fields& fields,
                                     std::vector<ReductionCall>& calls);

}  // namespace sluice::config
