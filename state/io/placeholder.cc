namespace sluice::state {}
