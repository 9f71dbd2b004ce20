//! Packages through the whole of it, with real files: staged, packed, merged, upgraded, killed, removed.

mod conflicts;
mod direct;
mod kills;
mod packing;
mod space;
mod trust;
