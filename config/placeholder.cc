namespace sluice::config {}
