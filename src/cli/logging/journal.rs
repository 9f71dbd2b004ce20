//! The way to systemd-journald.
//!
//! Owns: what the journal calls our levels, and whether somebody is there to take a message. Does not know: the protocol
//! (`tracing_journald`).

use std::io;
use std::os::unix::net::UnixDatagram;

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};

use super::said::Said;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal, whether or not it is there.
#[derive(Debug, Default)]
pub(super) struct Journal {
    door: Option<UnixDatagram>,
    inside: Option<Inside>,
}

impl Journal {
    /// Writes a message, which takes as long as journald wants. An error: nobody was there to take it.
    pub(super) fn write(&mut self, said: &Said) -> io::Result<()> {
        // `tracing_journald` tells nobody that a message was not taken: somebody must be there before and after.
        self.knock()?;
        let inside = match self.inside.take() {
            Some(inside) => inside,
            None => Inside::open()?,
        };
        said.again(&self.inside.insert(inside).0);
        self.knock()
    }

    /// Connecting says whether somebody listens, also after journald was started anew, and never waits.
    fn knock(&mut self) -> io::Result<()> {
        let door = match self.door.take() {
            Some(door) => door,
            None => UnixDatagram::unbound()?,
        };
        rustix::net::connect(self.door.insert(door), &rustix::net::SocketAddrUnix::new(SOCKET)?)?;
        Ok(())
    }
}

struct Inside(Layered<tracing_journald::Layer, Registry>);

impl Inside {
    fn open() -> io::Result<Self> {
        let journal = tracing_journald::layer()?
            .with_syslog_identifier("kiln".to_owned())
            .with_field_prefix(None)
            .with_priority_mappings(PriorityMappings {
                error: Priority::Error,
                warn: Priority::Warning,
                info: Priority::Informational,
                debug: Priority::Debug,
                trace: Priority::Debug,
            });
        Ok(Self(tracing_subscriber::registry().with(journal)))
    }
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inside")
    }
}
