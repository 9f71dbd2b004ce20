//! Settings about the host.
//!
//! Owns: every setting, its default, which of them a definition may suggest. Does not know: where a value
//! comes from (see `layers`), what uses it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::at_least_one;
use super::name::Name;
use super::scalar::{Duration, Size, Switch};
use super::text::text_scalar;

/// All settings after layering, weakest first: defaults, the definition's `settings`, /etc/kiln/kiln.yaml,
/// `kiln.local.yaml` beside kiln.yaml, `KILN_SET_*`, flags.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Job slots; all cores when absent.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub jobs: Option<u32>,
    /// Simultaneous fetches.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub fetches: u32,
    /// State directory; `$XDG_STATE_HOME/kiln/NAME` when absent. Host only.
    pub state: Option<PathBuf>,
    /// Address of `/metrics` and the API; `127.0.0.1:10978` when absent and free. Host only.
    pub listen: Option<Listen>,
    /// exporter-toolkit's web configuration (TLS, users). Host only.
    pub web_config_file: Option<PathBuf>,
    /// How long a finished run goes on serving `/metrics`; when absent until those who have scraped it again and again have seen its
    /// end, for 2 minutes at most.
    pub linger: Option<Duration>,
    /// How messages are written; journald where kiln runs under it, else text, when absent.
    pub log_format: Option<LogFormat>,
    /// Whether tasks are confined.
    pub sandbox: Sandbox,
    /// Whether tasks get cgroups of their own.
    pub cgroups: Switch,
    /// Unprivileged user that scripts run as when kiln is root. Host only.
    pub build_user: Option<Name>,
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
    pub alertmanager_url: Option<WebUrl>,
}

/// An address and port to listen on; `:PORT` is every address, `localhost` the loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

/// Where a web service is: `http://` or `https://`, and a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl(Box<str>);

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
    /// Fields in the journal.
    Journald,
}

/// Whether tasks are confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// As far as the host can.
    On,
    /// Not at all.
    Off,
    /// Refuse to run where the host cannot.
    Require,
}

/// How long what is no longer in use is kept.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Output of attempts.
    pub logs: Duration,
    /// Archives that no definition on this state directory uses.
    pub archives: Duration,
    /// Records of finished runs.
    pub ledger: Duration,
}

/// The settings that a definition may suggest: those that do not concern the host's safety.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-kiln-host-settings-refused" = true))]
pub struct DefinitionSettings {
    /// Job slots.
    #[serde(deserialize_with = "at_least_one", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub jobs: Option<u32>,
    /// Simultaneous fetches.
    #[serde(deserialize_with = "at_least_one", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub fetches: Option<u32>,
    /// How long a finished run goes on serving `/metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger: Option<Duration>,
    /// How messages are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// Whether tasks are confined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// Whether tasks get cgroups of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups: Option<Switch>,
    /// Use the source cache alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline: Option<bool>,
    /// From TERM to KILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<Duration>,
    /// Time-out for connecting to a mirror.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
    /// How long logs, archives and ledger rows are kept.
    #[serde(skip_serializing_if = "DefinitionRetention::is_empty")]
    pub retention: DefinitionRetention,
    /// Most bytes of unused sources in the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_budget: Option<Size>,
}

/// `settings.retention` of a definition.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DefinitionRetention {
    /// Output of attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<Duration>,
    /// Archives that no definition on this state directory uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archives: Option<Duration>,
    /// Records of finished runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Duration>,
}

impl DefinitionRetention {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Settings that only the host's own layers may set, each with what it would let a definition do.
pub const HOST_ONLY: [(&str, &str); 5] = [
    ("alertmanager_url", "where alerts are sent"),
    ("build_user", "as which user scripts run"),
    ("listen", "who can reach kiln"),
    ("state", "where kiln writes"),
    ("web_config_file", "who may log in"),
];

const DAY: u64 = 86_400;

impl Settings {
    /// Why nothing can be served: who wants users and TLS must not get a server that is open to all.
    pub fn web_config_refusal(&self) -> Option<String> {
        let file = self.web_config_file.as_ref()?.display();
        Some(format!("`web_config_file: {file}`, but this kiln has neither TLS nor users yet"))
    }
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = |s| Duration(std::time::Duration::from_secs(s));
        Self {
            jobs: None,
            fetches: 4,
            state: None,
            listen: None,
            web_config_file: None,
            linger: None,
            log_format: None,
            sandbox: Sandbox::On,
            cgroups: Switch::On,
            build_user: None,
            offline: false,
            grace: seconds(10),
            connect_timeout: seconds(10),
            retention: Retention::default(),
            cache_budget: Size(10 << 30),
            alertmanager_url: None,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let days = |d| Duration(std::time::Duration::from_secs(d * DAY));
        Self { logs: days(90), archives: days(30), ledger: days(365) }
    }
}

/// Not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address to listen on: write `ADDRESS:PORT`, such as `127.0.0.1:10978`")]
pub struct ListenError(String);

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let address = match text.rsplit_once(':') {
            Some(("", port)) => port.parse().map(|port| (Ipv6Addr::UNSPECIFIED, port).into()).ok(),
            Some(("localhost", port)) => port.parse().map(|port| (Ipv4Addr::LOCALHOST, port).into()).ok(),
            Some(_) => text.parse().ok(),
            None => None,
        };
        address.map(Self).ok_or_else(|| ListenError(text.to_owned()))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Not where a web service is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the URL of a web service: write `http://HOST` or `https://HOST`, with a port and a path where needed"
)]
pub struct WebUrlError(String);

impl FromStr for WebUrl {
    type Err = WebUrlError;

    fn from_str(text: &str) -> Result<Self, WebUrlError> {
        let url = text.parse::<hyper::Uri>().ok();
        let url = url.filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
        match url.as_ref().and_then(hyper::Uri::host) {
            Some(host) if !host.is_empty() => Ok(Self(text.into())),
            Some(_) | None => Err(WebUrlError(text.to_owned())),
        }
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not a way to confine tasks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a way to confine tasks: write `on`, `off` or `require`")]
pub struct SandboxError(String);

impl FromStr for Sandbox {
    type Err = SandboxError;

    fn from_str(text: &str) -> Result<Self, SandboxError> {
        match text {
            "on" | "true" => Ok(Self::On),
            "off" | "false" => Ok(Self::Off),
            "require" => Ok(Self::Require),
            other => Err(SandboxError(other.to_owned())),
        }
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Require => "require",
        })
    }
}

text_scalar!(Listen, "kiln-listen", {
    "type": "string",
    "description": "`ADDRESS:PORT`; `:PORT` is every address."
});
text_scalar!(WebUrl, "kiln-web-url", {
    "type": "string",
    "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/]",
    "description": "`http://HOST` or `https://HOST`, with a port and a path where needed."
});
text_scalar!(Sandbox, "kiln-sandbox", {
    "enum": ["on", "off", "require", true, false],
    "description": "`on`, `off` or `require`."
});
