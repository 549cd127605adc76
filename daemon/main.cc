// The executable: a command line in, an exit code out.
#include <cstdio>
#include <exception>
#ifdef SLUICE_MIMALLOC
#include <mimalloc.h>
#endif

#include "daemon/cli.h"
#include "daemon/commands.h"
#include "daemon/exit_code.h"

namespace {

using namespace sluice::daemon;

struct Dispatch {
    int operator()(const RunOptions& options) const { return command_run(options); }
    int operator()(const CheckOptions& options) const { return command_check(options); }
    int operator()(const PlanOptions& options) const { return command_plan(options); }
    int operator()(const CompareOptions& options) const { return command_compare(options); }
    int operator()(const ReloadOptions& options) const { return command_reload(options); }
    int operator()(const StatusOptions& options) const { return command_status(options); }
    int operator()(const StopOptions& options) const { return command_stop(options); }
    int operator()(const CheckpointOptions& options) const { return command_checkpoint(options); }
    int operator()(const SnapshotOptions& options) const { return command_snapshot(options); }
    int operator()(const StateOptions& options) const { return command_state(options); }
    int operator()(const SavepointOptions& options) const { return command_savepoint(options); }
    int operator()(const InitOptions& options) const { return command_init(options); }
    int operator()(const VersionOptions& options) const { return command_version(options); }
    int operator()(const DemoOptions& options) const { return command_demo(options); }
};

int leave(const Leave& leave) {
    std::fputs(leave.out.c_str(), stdout);
    std::fputs(leave.err.c_str(), stderr);
    return leave.exit_code;
}

// Memory that is free stays with the process for a second, not for some milliseconds: what a fetch
// or a result takes now, the next one takes again, and a page that comes back from the system costs
// as much as the bytes in it.
void keep_free_memory() {
#ifdef SLUICE_MIMALLOC
    constexpr long kMs = 1000;
#if MI_MALLOC_VERSION >= 210
    mi_option_set(mi_option_purge_delay, kMs);
#else
    mi_option_set(mi_option_decommit_delay, kMs);
#endif
#endif
}

}  // namespace

int main(int argc, char** argv) {
    keep_free_memory();
    try {
        const auto command = parse_command_line(argc, argv);
        const int exit_code = command ? std::visit(Dispatch{}, *command) : leave(command.error());
        if ((std::fflush(stdout) != 0 || std::ferror(stdout) != 0) && exit_code == kExitOk) {
            std::fputs("sluice: stdout: the output could not be written whole\n", stderr);
            return kExitLocked;
        }
        return exit_code;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "sluice: unexpected: %s\n", error.what());
        return kExitInvariant;
    }
}
