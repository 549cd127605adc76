"""What tests over real processes share: a private Kafka, a private Redis, the daemon, and the judgement.

Everything listens on loopback or in a directory of the test, ends by its process id, and waits for what it
needs with a deadline, never for a fixed time. `SLUICE_SEED=N` repeats a test's random choices;
`SLUICE_BINARY` names another program than build/release/sluice; `SLUICE_KEEP=1` leaves the directory.
"""
