//! kiln as its users meet it: real processes, real files, one binary.
//!
//! Nothing here waits by time. A script tells where it is through a fifo, waits at another, and proves its death
//! by the end of a fifo that it held open.
//!
//! `KILN_KEEP=1` keeps every test's directory and prints where it is; `KILN_BINARY` names another kiln to be tested.

#[cfg(test)]
mod building;
#[cfg(test)]
mod campaign;
#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod classifying;
#[cfg(test)]
mod commanding;
#[cfg(test)]
mod confining;
#[cfg(test)]
mod doctoring;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod fetching;
#[cfg(test)]
mod fifo;
#[cfg(test)]
mod framework;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod graphs;
#[cfg(test)]
mod http;
#[cfg(test)]
mod injecting;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod journald;
#[cfg(test)]
mod killing;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod placing;
#[cfg(test)]
mod process;
#[cfg(test)]
mod requirements;
#[cfg(test)]
mod resolving;
#[cfg(test)]
mod restoring;
#[cfg(test)]
mod selecting;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod space;
#[cfg(test)]
mod staging;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod undoing;
#[cfg(test)]
mod users;
#[cfg(test)]
mod verifying;
