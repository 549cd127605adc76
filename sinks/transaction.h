// Results taken out of the lanes to be executed together, and what Redis says to that.
//
// Rows of one lane are neighbours in it, in their order; the mark of a lane is the place of its
// last row, and goes into the control hash with them. What is executed, refused or found to be
// there already is told to the lane's reduction once.
//
// Thread: one (sink). `Outgoings` are those that the rows were taken from, by reduction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sinks/outgoing.h"
#include "sinks/redis_sink.h"
#include "sinks/resp.h"

namespace sluice::sinks {

using Outgoings = std::vector<std::unique_ptr<Outgoing>>;

struct Transaction {
    struct Source {  // of consecutive rows
        QueuedBatch batch;
        std::uint32_t reduction = 0;
        int lane = 0;
        std::uint64_t segment = 0;
    };
    struct Row {
        std::size_t source = 0;
        std::size_t row = 0;
        std::size_t first_command = 0;
        bool refused = false;
    };
    std::vector<Source> sources;
    std::vector<Row> rows;
    std::string bytes;         // the commands of all rows that are not refused
    std::size_t commands = 0;  // how many
    bool full = false;         // no further row fits
    model::BarrierNumber barrier = 0;

    // What goes with it into the control hash, set when it is sent.
    struct Mark {
        std::uint32_t reduction;
        int lane;
        LaneMark mark;
    };
    struct Frontier {
        std::uint32_t reduction;
        model::EventTime end;
    };
    std::vector<Mark> marks;
    std::vector<Frontier> frontiers;
    std::optional<model::BarrierNumber> barrier_field;
    bool establishes = false;  // writes the lineage
    bool replication = false;  // writes the replication id
    bool resets = false;
    bool marks_outside = false;    // of the transaction: broken on purpose
    std::size_t own_commands = 0;  // DEL, HSET
    std::int64_t new_fields = 0;   // that HSET must not exceed

    struct Limits {
        std::size_t commands = 0;  // a result is never split
        std::size_t bytes = 0;     // a target, passed by at most one result
    };
    // Takes rows of one lane until it is full. Returns how many were passed over: Redis has them.
    std::size_t take(const Outgoings& outgoing, std::uint32_t reduction, std::size_t lane,
                     const Limits& limits);
    // Renders the rows anew: without those that are gone or refused.
    void render(const Outgoings& outgoing);
    // Takes out the rows of non-idempotent commands that Redis has executed, after the reply was
    // lost. Returns how many; the rest is rendered.
    std::size_t drop_executed(const Outgoings& outgoing);
    // The marks of its lanes. Results sent again do not take a mark back.
    void mark_lanes(const Outgoings& outgoing);

    // A command that Redis did not take, by position among `commands`.
    struct Failure {
        std::size_t command;
        std::string text;
    };
    // Makes dead letters of the rows that these commands belong to, ascending. `last_error`: what
    // the last of them says.
    std::vector<std::string> refuse(const Outgoings& outgoing, const std::vector<Failure>& failures,
                                    std::string& last_error);
    // All of it was executed, but for what was refused. Returns how many rows were refused.
    std::size_t executed(const Outgoings& outgoing);
};

// The replies to MULTI, the commands, EXEC, WATCH and GET, in that order.
struct TransactionReplies {
    // `commands`: between MULTI and EXEC, and those before MULTI that are there on purpose.
    std::size_t commands = 0;
    std::size_t outside = 0;

    std::vector<Transaction::Failure> queue_failures;  // nothing was executed
    std::vector<Transaction::Failure> run_failures;    // everything else was
    std::string exec_error;
    bool aborted = false;            // EXEC gave nil: the fence was touched
    std::int64_t added_fields = 0;   // by the last command
    std::optional<std::string> get;  // the fence

    void take(const Reply& reply, std::size_t position);

 private:
    void take_executed(const Reply& reply);
};

// A reply's text up to its line's end.
std::string_view trimmed(std::string_view text);
// None: the reply is no text.
std::optional<std::string> text_of(const Reply& reply);

}  // namespace sluice::sinks
