//! Observed runs: the engine runs a sketched plan in virtual time, and its records are folded.
