// One function per command. Each prints data on stdout, talk on stderr, and returns the exit code.
#pragma once

#include "daemon/cli.h"

namespace sluice::daemon {

int command_run(const RunOptions& options);                // blocks until the daemon has stopped
int command_check(const CheckOptions& options);            // blocks on remotes unless offline
int command_plan(const PlanOptions& options);              // reads the state directory
int command_reload(const ReloadOptions& options);          // with --wait: blocks until it is over
int command_compare(const CompareOptions& options);        // blocks on disks, or the daemons
int command_status(const StatusOptions& options);          // blocks at most 5 s per answer
int command_stop(const StopOptions& options);              // blocks until the process is gone
int command_snapshot(const SnapshotOptions& options);      // blocks on disks
int command_state(const StateOptions& options);            // blocks on disks, stdin, or the daemon
int command_checkpoint(const CheckpointOptions& options);  // blocks until it is committed
int command_savepoint(const SavepointOptions& options);    // blocks until it is complete
int command_init(const InitOptions& options);
int command_version(const VersionOptions& options);
int command_demo(const DemoOptions& options);  // blocks for about a minute

}  // namespace sluice::daemon
