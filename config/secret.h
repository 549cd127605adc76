// Secrets are references in the file; here they become text, at the moment they are needed.
#pragma once

#include <string>

#include "config/environment.h"
#include "config/settings.h"
#include "state/model/result.h"

namespace sluice::config {

// Reads the secret: a systemd credential from $CREDENTIALS_DIRECTORY, a file (not readable by
// others than owner and group), or an environment variable. One trailing newline is not part of
// it. Kind none gives the empty text. Blocks (reads a file). Errors: invalid, naming the reference
// and never its content; read again after an authentication failure, so that rotation works.
model::Result<std::string> resolve(const Secret& secret, const Environment& environment);

// The reference as text for messages: `{ file = "…" }`. Never the secret.
std::string describe(const Secret& secret);

}  // namespace sluice::config
