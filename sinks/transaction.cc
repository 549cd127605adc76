#include "sinks/transaction.h"

#include <algorithm>

#include "sinks/refusal.h"

namespace sluice::sinks {

std::string_view trimmed(std::string_view text) {
    return text.substr(0, text.find_first_of("\r\n"));
}

std::optional<std::string> text_of(const Reply& reply) {
    if (reply.kind() != Reply::Kind::text) {
        return std::nullopt;
    }
    return std::string(reply.text());
}

void Transaction::clear() {
    Transaction fresh;
    fresh.sources.swap(sources);
    fresh.rows.swap(rows);
    fresh.bytes.swap(bytes);
    fresh.sources.clear();
    fresh.rows.clear();
    fresh.bytes.clear();
    *this = std::move(fresh);
}

std::size_t Transaction::take(const Outgoings& all, std::uint32_t reduction,
                              std::size_t lane_number, const Limits& limits) {
    Outgoing& outgoing = *all[reduction];
    Lane& lane = outgoing.lanes[lane_number];
    std::size_t skipped = 0;
    while (!lane.waiting.empty()) {
        Piece& piece = lane.waiting.front();
        const model::ResultBatch& batch = *piece.batch;
        const std::size_t first = rows.size();
        for (; piece.row < piece.end; ++piece.row) {
            if (lane.skip && RowPlace::of(batch, piece.row).at_or_below(*lane.skip)) {
                outgoing.done(piece.segment, 1);
                ++skipped;
                continue;
            }
            full = !rows.empty() && (commands + outgoing.renderer.commands() > limits.commands ||
                                     bytes.size() >= limits.bytes);
            if (full) {
                break;
            }
            rows.push_back({sources.size(), piece.row, commands, false});
            outgoing.renderer.render(batch, piece.row, bytes);
            commands += outgoing.renderer.commands();
        }
        if (rows.size() > first) {
            barrier = std::max(barrier, batch.barrier);
            sources.push_back(
                {piece.batch, reduction, static_cast<int>(lane_number), piece.segment});
        }
        if (piece.row < piece.end) {
            break;
        }
        lane.waiting.pop_front();
    }
    return skipped;
}

void Transaction::render(const Outgoings& outgoing) {
    bytes.clear();
    commands = 0;
    for (Row& row : rows) {
        row.first_command = commands;
        if (!row.refused) {
            const Source& source = sources[row.source];
            Renderer& renderer = outgoing[source.reduction]->renderer;
            renderer.render(*source.batch, row.row, bytes);
            commands += renderer.commands();
        }
    }
}

std::size_t Transaction::drop_executed(const Outgoings& all) {
    const std::size_t dropped = std::erase_if(rows, [&](const Row& row) {
        const Source& source = sources[row.source];
        Outgoing& outgoing = *all[source.reduction];
        const auto& skip = outgoing.lanes[static_cast<std::size_t>(source.lane)].skip;
        const bool there =
            !outgoing.idempotent && skip && RowPlace::of(*source.batch, row.row).at_or_below(*skip);
        if (there) {
            outgoing.done(source.segment, 1);
        }
        return there;
    });
    if (dropped > 0) {
        render(all);
    }
    return dropped;
}

void Transaction::mark_lanes(const Outgoings& outgoing) {
    marks.clear();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Source& source = sources[rows[i].source];
        if (i + 1 < rows.size()) {
            const Source& next = sources[rows[i + 1].source];
            if (next.reduction == source.reduction && next.lane == source.lane) {
                continue;  // only the last row of a lane counts
            }
        }
        LaneMark mark = RowPlace::of(*source.batch, rows[i].row).mark();
        const auto& written =
            outgoing[source.reduction]->lanes[static_cast<std::size_t>(source.lane)].written;
        if (written && *written > mark) {
            mark = *written;
        }
        marks.push_back({source.reduction, source.lane, std::move(mark)});
    }
}

std::vector<std::string> Transaction::refuse(const Outgoings& all,
                                             const std::vector<Failure>& failures,
                                             std::string& last_error) {
    std::vector<std::string> letters;
    std::size_t at = 0;
    while (at < failures.size()) {
        auto row = std::upper_bound(
            rows.begin(), rows.end(), failures[at].command,
            [](std::size_t command, const Row& r) { return command < r.first_command; });
        --row;  // refused rows before it begin at the same command, it is the last of them
        const std::size_t next_row_at = row + 1 == rows.end() ? commands : (row + 1)->first_command;
        std::vector<std::string> replies;
        for (; at < failures.size() && failures[at].command < next_row_at; ++at) {
            replies.push_back(failures[at].text);
        }
        const Source& source = sources[row->source];
        Outgoing& outgoing = *all[source.reduction];
        std::string requests;
        outgoing.renderer.render(*source.batch, row->row, requests);
        letters.push_back(
            refused_result_json(outgoing.id, *source.batch, row->row, requests, replies));
        row->refused = true;
        last_error = "'" + outgoing.id + "': " + replies.front();
    }
    return letters;
}

std::size_t Transaction::executed(const Outgoings& outgoing) {
    std::size_t refused = 0;
    for (auto row = rows.begin(); row != rows.end();) {
        const auto first = row;
        for (; row != rows.end() && row->source == first->source; ++row) {
            refused += std::size_t{row->refused};
        }
        const Source& source = sources[first->source];
        outgoing[source.reduction]->done(source.segment, static_cast<std::size_t>(row - first));
    }
    for (Mark& mark : marks) {
        outgoing[mark.reduction]->lanes[static_cast<std::size_t>(mark.lane)].written =
            std::move(mark.mark);
    }
    return refused;
}

void TransactionReplies::take(const Reply& reply, std::size_t position) {
    if (position >= 1 && position <= commands) {
        if (reply.is_error()) {
            queue_failures.push_back({position - 1, std::string(trimmed(reply.text()))});
        }
    } else if (position == commands + 1) {
        take_executed(reply);
    } else if (reply.is_error()) {  // MULTI, WATCH, GET
        queue_failures.push_back({commands, std::string(trimmed(reply.text()))});
    } else if (position == commands + 3) {
        get = text_of(reply);
    }
}

void TransactionReplies::take_executed(const Reply& reply) {
    const std::size_t executed = commands - outside;
    if (reply.is_error()) {
        exec_error = trimmed(reply.text());
        return;
    }
    aborted = reply.kind() == Reply::Kind::nil;
    if (aborted) {
        return;
    }
    if (!reply.is_array() || reply.size() != executed) {
        exec_error = "EXEC: an unexpected reply";
        return;
    }
    std::size_t node = 1;
    for (std::size_t command = 0; command < executed; ++command) {
        const auto& element = reply.nodes[node];
        if (element.kind == Reply::Kind::error) {
            run_failures.push_back({command, std::string(trimmed(reply.text(element)))});
        }
        added_fields = element.kind == Reply::Kind::integer ? element.integer : 0;
        node = reply.next(node);
    }
}

}  // namespace sluice::sinks
