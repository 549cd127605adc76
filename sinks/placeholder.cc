namespace sluice::sinks {}
