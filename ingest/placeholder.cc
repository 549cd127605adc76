namespace sluice::ingest {}
