//! SIGINT, SIGTERM and SIGHUP (a terminal that was closed).
//!
//! Owns: the thread that waits for them. What they mean is the commands' to decide.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// From now on SIGINT, SIGTERM and SIGHUP call `heard` with their name, on a thread of its own, instead of ending
/// the process.
pub(super) fn listen(heard: impl Fn(&'static str) + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot prepare for signals")?;
    // Registered before the thread runs, so that none is missed.
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _guard = runtime.enter();
        let listen = |kind| signal(kind).context("cannot listen for signals");
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?)
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async move {
                loop {
                    let name = tokio::select! {
                        _ = interrupt.recv() => "SIGINT",
                        _ = terminate.recv() => "SIGTERM",
                        _ = hang_up.recv() => "SIGHUP",
                    };
                    heard(name);
                }
            });
        })
        .context("cannot start a thread")?;
    Ok(())
}
