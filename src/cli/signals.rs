//! SIGINT, SIGTERM and SIGHUP (a terminal that was closed).
//!
//! Owns: the thread that waits for them. What a stop means is the engine's to decide.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::driver::run::Remote;

/// From now on SIGINT, SIGTERM and SIGHUP end the run in good order, and a second one at once.
pub(super) fn stop_on_signals(remote: Remote) -> anyhow::Result<()> {
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
                    tracing::warn!("{name}: ending the running tasks; once more ends them at once");
                    remote.stop();
                }
            });
        })
        .context("cannot start a thread")?;
    Ok(())
}
