//! Settings about the host, and the layers that they come from.
//!
//! Owns: every setting, its default, which of them a definition may suggest. Does not know: what uses them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::{Duration, Size};

/// All settings after layering, weakest first: defaults, the definition's `settings`, /etc/kiln/kiln.yaml,
/// `kiln.local.yaml` beside kiln.yaml, `KILN_SET_*`, flags.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Job slots; all cores when absent.
    pub jobs: Option<u32>,
    /// Simultaneous fetches.
    pub fetches: u32,
    /// State directory; `$XDG_STATE_HOME/kiln/NAME` when absent. Host only.
    pub state: Option<PathBuf>,
    /// Address of `/metrics` and the API. Host only.
    pub listen: Option<String>,
    /// exporter-toolkit's web configuration (TLS, users). Host only.
    pub web_config_file: Option<PathBuf>,
    /// How long a finished run goes on serving `/metrics`.
    pub linger: Duration,
    /// How messages are written.
    pub log_format: LogFormat,
    /// Whether tasks are confined.
    pub sandbox: Sandbox,
    /// Whether tasks get cgroups of their own.
    pub cgroups: Switch,
    /// Unprivileged user that scripts run as when kiln is root. Host only.
    pub build_user: Option<String>,
    /// Use the source cache alone.
    pub offline: bool,
    /// From TERM to KILL.
    pub grace: Duration,
    /// Time-out for connecting to a mirror.
    pub connect_timeout: Duration,
    /// How long logs, archives and ledger rows are kept.
    pub retention: Retention,
    /// Most bytes of unused sources in the cache.
    pub cache_budget: Size,
    /// Where Alertmanager is. Host only.
    pub alertmanager_url: Option<String>,
}
