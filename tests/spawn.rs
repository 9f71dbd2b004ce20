//! The spawner with real processes. Nothing here waits by time: a process proves its life by holding the write
//! end of a fifo, and its death by the end of that fifo.

#[cfg(test)]
mod spawn {
    mod daemons;
    mod fallback;
    mod groups;
    mod host;
    mod jobs;
    mod sandbox;
    pub(crate) mod space;
}
