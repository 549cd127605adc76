// The gate is a type: who wants to read Kafka needs a RestoreToken, and only a finished restore
// makes one.
#pragma once

namespace sluice::state {
class Restore;
}

namespace sluice::model {

class RestoreToken {
 public:
    RestoreToken(RestoreToken&&) = default;
    RestoreToken& operator=(RestoreToken&&) = default;
    RestoreToken(const RestoreToken&) = delete;
    RestoreToken& operator=(const RestoreToken&) = delete;

 private:
    friend class ::sluice::state::Restore;
    RestoreToken() = default;
};

}  // namespace sluice::model
