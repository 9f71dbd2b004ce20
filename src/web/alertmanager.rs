//! Asks Alertmanager: a silence on a gate's alerts says that somebody is on it.
//!
//! Owns: requests of its API version 2, and which silence is about which gate. Does not know: when alerts fire
//! (`alerts/kiln.rules.yml`), who is told (`alerts/alertmanager.yml`, which says which labels tell a gate).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use regex::Regex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use crate::config::settings::WebUrl;
use crate::observe::human::plain;
use crate::observe::snapshot::GateView;

/// How long it may take: a person waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_BYTES_MOST: u64 = 16 * 1024 * 1024;
/// The alerts that are about a gate.
const ALERTS: &str = "KilnPersonRequired.*";
/// By how much clocks of hosts may differ.
const CLOCKS: Duration = Duration::from_secs(10);
/// The labels of a target.
const TARGET: [&str; 2] = ["job", "instance"];

/// Why Alertmanager could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("Alertmanager at `{url}`: {why}")]
pub struct AlertmanagerError {
    url: String,
    why: String,
}

/// An Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    agent: Agent,
    base: String,
}

/// Who is on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Acknowledged {
    /// Who said so.
    pub by: String,
    /// Until when, RFC 3339.
    pub until: String,
    /// Why; may be empty.
    pub comment: String,
}

/// A silence, as the API has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Silence {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    id: String,
    matchers: Vec<Matcher>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
    #[serde(default, skip_serializing)]
    status: State,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct State {
    #[serde(default)]
    state: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Matcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

/// An alert, as the API has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    starts_at: String,
    status: Suppressed,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Suppressed {
    #[serde(default)]
    silenced_by: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Created {
    #[serde(rename = "silenceID")]
    id: String,
}

impl Matcher {
    fn equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), value: value.into(), is_regex: false, is_equal: true }
    }

    /// Whether it takes this value of its label.
    fn takes(&self, value: &str) -> bool {
        let same = if self.is_regex {
            Regex::new(&format!("^(?:{})$", self.value)).is_ok_and(|regex| regex.is_match(value))
        } else {
            self.value == value
        };
        same == self.is_equal
    }
}

/// The labels that tell a gate's alerts, as kiln knows them. Gates are numbered for as long as there is a ledger, so a silence on one
/// keeps nobody from hearing of the next about the same package. Its targets' labels only Alertmanager knows.
fn labels(definition: &str, gate: &GateView) -> [(&'static str, String); 4] {
    [
        ("alertname", "KilnPersonRequired".to_owned()),
        ("definition", definition.to_owned()),
        ("gate", gate.number.to_string()),
        ("package", gate.package.as_deref().unwrap_or_default().to_owned()),
    ]
}

/// Whether an alert has these labels.
fn has(alert: &Alert, labels: &[(&str, String)]) -> bool {
    labels.iter().all(|(name, value)| alert.labels.get(*name).map_or("", String::as_str) == value)
}

impl Alertmanager {
    /// Opens no connection.
    pub fn new(url: &WebUrl) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build()
            .new_agent();
        Self { agent, base: url.to_string().trim_end_matches('/').to_owned() }
    }

    /// Says that somebody is on a gate. Returns the silence's id.
    pub fn acknowledge(
        &self,
        definition: &str,
        gate: &GateView,
        by: &str,
        comment: &str,
        span: Duration,
    ) -> Result<String, AlertmanagerError> {
        let labels = labels(definition, gate);
        let mut matchers: Vec<Matcher> =
            labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        matchers[0] =
            Matcher { name: "alertname".into(), value: ALERTS.into(), is_regex: true, is_equal: true };
        // Another host may build the same definition, and have a gate with that number; what fired before this one was open is its.
        let alerts: Vec<Alert> = self.ask("/api/v2/alerts", None::<&()>)?;
        let opened = Timestamp::from_nanosecond(i128::from(gate.opened)).unwrap_or(Timestamp::MIN);
        let is_ours = |alert: &&Alert| {
            let since = alert
                .starts_at
                .parse()
                .is_ok_and(|at: Timestamp| at.saturating_add(CLOCKS).is_ok_and(|at| at >= opened));
            has(alert, &labels) && since
        };
        let target = |alert: &Alert| TARGET.map(|name| alert.labels.get(name).cloned().unwrap_or_default());
        let targets: BTreeSet<_> = alerts.iter().filter(is_ours).map(target).collect();
        if let (Some(target), 1) = (targets.first(), targets.len()) {
            matchers.extend(TARGET.iter().zip(target).map(|(name, value)| Matcher::equal(name, value)));
        }
        let now = Timestamp::now();
        let silence = Silence {
            id: String::new(),
            matchers,
            starts_at: now.to_string(),
            ends_at: now.saturating_add(span).unwrap_or(Timestamp::MAX).to_string(),
            created_by: by.to_owned(),
            comment: comment.to_owned(),
            status: State::default(),
        };
        let created: Created = self.ask("/api/v2/silences", Some(&silence))?;
        Ok(created.id)
    }

    /// Who is on each of these gates.
    pub fn acknowledged(
        &self,
        definition: &str,
        gates: &[GateView],
    ) -> Result<Vec<Option<Acknowledged>>, AlertmanagerError> {
        let silences: Vec<Silence> = self.ask("/api/v2/silences", None::<&()>)?;
        let alerts: Vec<Alert> = self.ask("/api/v2/alerts", None::<&()>)?;
        Ok(gates.iter().map(|gate| acknowledged(&labels(definition, gate), &silences, &alerts)).collect())
    }

    /// Without a password.
    fn shown(&self) -> String {
        let (scheme, rest) = self.base.split_once("://").unwrap_or(("", &self.base));
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        format!("{scheme}://{}{path}", host.rsplit_once('@').map_or(host, |(_, host)| host))
    }

    fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, AlertmanagerError> {
        // What somebody wrote is shown to a person, and not all of it.
        let failed = |why: String| AlertmanagerError {
            url: self.shown(),
            why: plain(&why).chars().take(300).collect(),
        };
        let url = format!("{}{path}", self.base);
        let answer = match body {
            Some(body) => {
                let body = serde_json::to_vec(body).map_err(|error| failed(error.to_string()))?;
                self.agent.post(&url).content_type("application/json").send(&body[..])
            }
            None => self.agent.get(&url).call(),
        };
        let mut answer = answer.map_err(|error| failed(error.to_string()))?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MOST).read_to_string();
        let text = text.map_err(|error| failed(error.to_string()))?;
        if status.is_redirection() {
            let location = answer
                .headers()
                .get("location")
                .map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
            return Err(failed(format!("it redirects to `{}`: name that", location.unwrap_or_default())));
        }
        if !status.is_success() {
            return Err(failed(format!("{status}: {}", text.trim())));
        }
        serde_json::from_str(&text).map_err(|error| failed(format!("an answer that is none: {error}")))
    }
}

/// The silence that lasts longest of those on a gate's alerts: one that matches whatever the target is, or that Alertmanager says
/// to be on such an alert.
fn acknowledged(labels: &[(&str, String)], silences: &[Silence], alerts: &[Alert]) -> Option<Acknowledged> {
    let value = |name: &str| labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value);
    let fits = |silence: &Silence| {
        silence.matchers.iter().all(|matcher| value(&matcher.name).is_some_and(|value| matcher.takes(value)))
    };
    let is_on_one = |silence: &Silence| {
        alerts.iter().any(|alert| has(alert, labels) && alert.status.silenced_by.contains(&silence.id))
    };
    let on = silences
        .iter()
        .filter(|silence| silence.status.state == "active" && (fits(silence) || is_on_one(silence)));
    let longest = on.max_by_key(|silence| silence.ends_at.parse::<Timestamp>().ok())?;
    Some(Acknowledged {
        by: longest.created_by.clone(),
        until: longest.ends_at.clone(),
        comment: longest.comment.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> [(&'static str, String); 3] {
        [("alertname", "KilnPersonRequired"), ("definition", "d"), ("package", "zlib")]
            .map(|(name, value)| (name, value.to_owned()))
    }

    fn silence(state: &str, matchers: &str) -> Silence {
        let text = format!(
            r#"{{"id": "7", "matchers": {matchers}, "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-01T08:00:00Z",
                "createdBy": "ann", "comment": "", "status": {{"state": "{state}"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[track_caller]
    fn check(silence: &Silence, alerts: &str, expected: bool) {
        let alerts: Vec<Alert> = serde_json::from_str(alerts).unwrap();
        assert_eq!(acknowledged(&gate(), std::slice::from_ref(silence), &alerts).is_some(), expected);
    }

    #[test]
    fn a_silence_acknowledges_the_gates_that_it_is_about() {
        let name = |value: &str| format!(r#"{{"name": "alertname", "value": "{value}", "isRegex": true}}"#);
        let of = |package: &str| format!(r#"{{"name": "package", "value": "{package}", "isRegex": false}}"#);
        let both = |value, package| format!("[{}, {}]", name(value), of(package));
        check(&silence("active", &both("KilnPersonRequired.*", "zlib")), "[]", true);
        check(&silence("expired", &both("KilnPersonRequired.*", "zlib")), "[]", false);
        check(&silence("active", &both("KilnPersonRequired.*", "gcc")), "[]", false);
        check(&silence("active", &both("KilnPerson", "zlib")), "[]", false);
        let not = r#"[{"name": "package", "value": "gcc", "isRegex": false, "isEqual": false}]"#;
        check(&silence("active", not), "[]", true);
    }

    #[test]
    fn of_a_silence_on_one_target_alertmanager_says_which_alerts_it_is_on() {
        let silence = silence("active", r#"[{"name": "instance", "value": "a:1", "isRegex": false}]"#);
        let alert = |package: &str, by: &str| {
            format!(
                r#"[{{"labels": {{"alertname": "KilnPersonRequired", "definition": "d", "package": "{package}", "instance": "a:1"}},
                    "status": {{"state": "suppressed", "silencedBy": [{by}]}}}}]"#
            )
        };
        check(&silence, "[]", false);
        check(&silence, &alert("zlib", r#""7""#), true);
        check(&silence, &alert("zlib", ""), false);
        check(&silence, &alert("gcc", r#""7""#), false);
    }
}
