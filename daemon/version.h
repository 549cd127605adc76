// What this binary is and what it runs on.
#pragma once

#include <string>
#include <vector>

namespace sluice::daemon {

std::string version();  // "0.1.0"

struct LibraryVersion {
    std::string name;
    std::string compiled;  // what it was built against
    std::string running;   // what is loaded now; empty: the library does not say
};
std::vector<LibraryVersion> library_versions();

}  // namespace sluice::daemon
