//! The private apt configuration.
//!
//! Owns: its text. It is read after the system's own configuration, of which proxies, credentials and keyrings
//! stay in force. Does not know: entries.

use std::path::Path;
use std::time::Duration;

/// The text, with everything that apt writes in `dir`; nothing when apt's syntax cannot name `dir`.
pub(super) fn text(dir: &Path, connect_timeout: Duration) -> Option<String> {
    let dir = dir.to_str().filter(|dir| !dir.contains(['"', '\n', '\\']))?;
    // apt has one time-out for connecting and for stalls, so it must not be as short as ours for connecting.
    let timeout = connect_timeout.as_secs().max(10);
    Some(format!(
        r#"// Written by kiln at every use.
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{dir}/sources.d";
Dir::State::lists "{dir}/lists";
Dir::Cache "{dir}/cache";
Dir::Cache::archives "{dir}/cache/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
// Root can read these directories, the user _apt cannot.
APT::Sandbox::User "root";
// Hooks of the system act on the system.
#clear APT::Update;
// Sources alone, whatever else the system wants of its repositories.
#clear Acquire::IndexTargets;
Acquire::IndexTargets::deb-src::Sources {{
  MetaKey "$(COMPONENT)/source/Sources";
  flatMetaKey "Sources";
  ShortDescription "Sources";
  Description "$(RELEASE)/$(COMPONENT) Sources";
  flatDescription "$(RELEASE) Sources";
  Optional "no";
}};
Acquire::Languages "none";
// A release that became `oldstable` is the same release.
Acquire::AllowReleaseInfoChange "true";
// Retries are the caller's.
Acquire::Retries "0";
Acquire::http::Timeout "{timeout}";
Acquire::https::Timeout "{timeout}";
Acquire::ftp::Timeout "{timeout}";
"#
    ))
}
