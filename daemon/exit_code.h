// The process' exit codes. systemd's restart rules and users' scripts rely on them.
#pragma once

namespace sluice::daemon {

enum ExitCode : int {
    kExitOk = 0,
    kExitFalse = 1,           // checked, and the answer is no
    kExitUsage = 64,          // wrong command line
    kExitDamaged = 65,        // a snapshot is damaged or not usable
    kExitMissing = 66,        // a named file is not there
    kExitUnreachable = 69,    // daemon or remote does not answer
    kExitInvariant = 70,      // a bug
    kExitLocked = 73,         // state directory locked or not writable
    kExitStateBroken = 74,    // live state became unusable: start again, restore decides
    kExitNoSnapshot = 75,     // stopped without the wanted snapshot
    kExitFenced = 76,         // a newer instance owns the results
    kExitPermission = 77,     // permission refused
    kExitConfiguration = 78,  // the configuration is wrong
};

}  // namespace sluice::daemon
