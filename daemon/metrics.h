// The status as Prometheus text: one scrape is one Status, nothing is counted twice.
#pragma once

#include <string>

#include "daemon/status.h"

namespace sluice::daemon {

// Text format 0.0.4, prefix `sluice_`, constant label `pipeline`. `now` is for ages and lags.
std::string to_metrics(const Status& status, model::EventTime now);

}  // namespace sluice::daemon
