//! Every layer, its strength and what it is called.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::super::load::load;
use super::super::render;
use super::super::scalar::{Duration, Size, Switch};
use super::super::settings::{HOST_ONLY, LogFormat, Sandbox};
use super::*;

struct Host {
    space: tempfile::TempDir,
    definition: Definition,
}

impl Host {
    /// A definition with these settings, and the two files of the host where they are given.
    fn new(suggested: &str, host: Option<&str>, local: Option<&str>) -> Self {
        let space = tempfile::tempdir().unwrap();
        let definition = space.path().join("d");
        fs::create_dir(&definition).unwrap();
        let kiln = format!("build_phases: {{all: {{order: 1, steps: [a]}}}}\n{suggested}");
        fs::write(definition.join("kiln.yaml"), kiln).unwrap();
        for (name, text) in [("host.yaml", host), ("d/kiln.local.yaml", local)] {
            if let Some(text) = text {
                fs::write(space.path().join(name), text).unwrap();
            }
        }
        let definition =
            load(Root::Directory(definition)).map_err(|problems| problems.diagnostics).unwrap().0;
        Self { space, definition }
    }

    fn path(&self) -> &Path {
        self.space.path()
    }

    fn layered(&self, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Layered, Vec<String>> {
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.layered_os(environment, flags)
    }

    fn layered_os(
        &self,
        environment: Vec<(OsString, OsString)>,
        flags: &[(&str, &str)],
    ) -> Result<Layered, Vec<String>> {
        let flag = |(key, value): &(&str, &str)| Flag {
            flag: format!("--{}", key.replace('_', "-")),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        let inputs = Inputs {
            host_file: Some(self.path().join("host.yaml")),
            flags: flags.iter().map(flag).collect(),
            ..Inputs::of(&self.definition, environment)
        };
        layered(&inputs).map_err(|problems| {
            let shown = render::text(&problems.files.render_all(&problems.diagnostics), false);
            let shown = shown.replace(&format!("{}/", self.path().display()), "");
            shown
                .lines()
                .filter(|line| line.contains(": "))
                .filter(|line| !line.contains('|'))
                .map(str::to_owned)
                .collect()
        })
    }

    /// The value and origin of a setting.
    #[track_caller]
    fn origin(&self, layered: &Layered, setting: &str) -> (String, String) {
        let found = layered.origins.iter().find(|origin| origin.setting == setting).unwrap();
        let value = found.value.as_str().map_or_else(|| found.value.to_string(), str::to_owned);
        (value, found.origin.replace(&format!("{}/", self.path().display()), ""))
    }
}

#[test]
fn without_layers_every_setting_is_the_default() {
    let layered = layered(&Inputs::default()).map_err(|problems| problems.diagnostics).unwrap();
    assert_eq!(layered.settings, Settings::default());
    assert!(layered.origins.iter().all(|origin| origin.origin == "default"));
    let names: Vec<_> = layered.origins.iter().map(|origin| origin.setting.as_str()).collect();
    let expected = [
        "alertmanager_url",
        "build_user",
        "cache_budget",
        "cgroups",
        "connect_timeout",
        "fetches",
        "grace",
        "jobs",
        "linger",
        "listen",
        "log_format",
        "offline",
        "retention.archives",
        "retention.ledger",
        "retention.logs",
        "sandbox",
        "state",
        "web_config_file",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_stronger_layer_wins_and_is_named() {
    let host = Host::new(
        "settings:\n  jobs: 1\n  fetches: 1\n  grace: 1\n  linger: 1\n  offline: true\n  retention: {logs: 1d, ledger: 1d}\n",
        Some("jobs: 2\nfetches: 2\ngrace: 2\nlinger: 2\nlisten: \":9100\"\nretention:\n  logs: 2d\n"),
        Some("jobs: 3\nfetches: 3\ngrace: 3\n"),
    );
    let layered = host
        .layered(
            &[
                ("KILN_SET_JOBS", "4"),
                ("KILN_SET_FETCHES", "4"),
                ("KILN_SET_RETENTION__ARCHIVES", "4d"),
                ("JOBS", "9"),
            ],
            &[("jobs", "5")],
        )
        .unwrap();
    let origin = |setting| host.origin(&layered, setting);
    let expected = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(origin("jobs"), expected("5", "flag --jobs"));
    assert_eq!(origin("fetches"), expected("4", "environment KILN_SET_FETCHES"));
    assert_eq!(origin("grace"), expected("3s", "d/kiln.local.yaml:3:1"));
    assert_eq!(origin("linger"), expected("2s", "host.yaml:4:1"));
    assert_eq!(origin("offline"), expected("true", "d/kiln.yaml:7:3"));
    assert_eq!(origin("cgroups"), expected("on", "default"));
    assert_eq!(origin("retention.logs"), expected("2d", "host.yaml:7:3"));
    assert_eq!(origin("retention.ledger"), expected("1d", "d/kiln.yaml:8:25"));
    assert_eq!(origin("retention.archives"), expected("4d", "environment KILN_SET_RETENTION__ARCHIVES"));
    assert_eq!(layered.settings.jobs, Some(5));
    assert_eq!(layered.settings.fetches, 4);
    assert!(layered.settings.offline);
    assert_eq!(layered.settings.retention.logs, "2d".parse::<Duration>().unwrap());
    assert_eq!(layered.settings.listen.unwrap().to_string(), "[::]:9100");
}

#[test]
fn every_setting_can_come_from_the_environment_and_from_flags() {
    let values = [
        ("alertmanager_url", "http://localhost:9093"),
        ("build_user", "1000"),
        ("cache_budget", "5G"),
        ("cgroups", "off"),
        ("connect_timeout", "3s"),
        ("fetches", "7"),
        ("grace", "1m"),
        ("jobs", "3"),
        ("linger", "20"),
        ("listen", "127.0.0.1:1"),
        ("log_format", "json"),
        ("offline", "true"),
        ("retention.archives", "1d"),
        ("retention.ledger", "2d"),
        ("retention.logs", "3d"),
        ("sandbox", "require"),
        ("state", "/var/x"),
        ("web_config_file", "/etc/w.yaml"),
    ];
    let host = Host::new("", None, None);
    let variables: Vec<_> = values
        .iter()
        .map(|(key, value)| (format!("KILN_SET_{}", key.to_uppercase().replace('.', "__")), *value))
        .collect();
    let variables: Vec<_> = variables.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let from_environment = host.layered(&variables, &[]).unwrap();
    let from_flags = host.layered(&[], &values).unwrap();
    assert_eq!(from_environment.settings, from_flags.settings);
    assert!(from_environment.origins.iter().all(|origin| origin.origin.starts_with("environment KILN_SET_")));
    assert!(from_flags.origins.iter().all(|origin| origin.origin.starts_with("flag --")));
    let settings = from_flags.settings;
    assert_eq!(settings.build_user.unwrap(), "1000");
    assert_eq!((settings.cgroups, settings.sandbox), (Switch::Off, Sandbox::Require));
    assert_eq!((settings.cache_budget, settings.log_format), (Size(5 << 30), Some(LogFormat::Json)));
    assert_eq!(settings.state.unwrap(), Path::new("/var/x"));
}

#[test]
fn settings_count_in_whichever_document_they_stand() {
    let space = tempfile::tempdir().unwrap();
    let kiln = "# first\n---\n---\nbuild_phases: {all: {order: 1, steps: [a]}}\nsettings: {jobs: 3}\n";
    fs::write(space.path().join("kiln.yaml"), kiln).unwrap();
    let definition = load(Root::Directory(space.path().to_owned())).map_err(|p| p.diagnostics).unwrap().0;
    let inputs = Inputs { definition: Some(&definition), ..Inputs::default() };
    let layered = layered(&inputs).map_err(|problems| problems.diagnostics).unwrap();
    assert_eq!(layered.settings.jobs, Some(3));
    let jobs = layered.origins.iter().find(|origin| origin.setting == "jobs").unwrap();
    assert!(jobs.origin.ends_with("kiln.yaml:5:12"), "{}", jobs.origin);
}

#[test]
fn an_empty_value_takes_a_setting_back() {
    let host = Host::new("settings: {jobs: 3}\n", Some("listen: localhost:80\n"), None);
    let layered = host.layered(&[("KILN_SET_JOBS", ""), ("KILN_SET_LISTEN", "")], &[]).unwrap();
    assert_eq!((layered.settings.jobs, layered.settings.listen), (None, None));
    assert_eq!(host.origin(&layered, "jobs"), ("null".to_owned(), "environment KILN_SET_JOBS".to_owned()));
}

#[test]
fn switches_are_written_as_words_or_as_booleans() {
    for (text, switch) in
        [("on", Switch::On), ("true", Switch::On), ("off", Switch::Off), ("false", Switch::Off)]
    {
        let host = Host::new(&format!("settings: {{cgroups: {text}}}\n"), None, None);
        assert_eq!(host.layered(&[], &[]).unwrap().settings.cgroups, switch, "{text}");
        let host = Host::new("", Some(&format!("cgroups: {text}\n")), None);
        assert_eq!(host.layered(&[], &[]).unwrap().settings.cgroups, switch, "{text}");
    }
}

#[test]
fn mistakes_of_all_layers_are_shown_at_once_with_their_place() {
    let host = Host::new("", Some("jobs: 0\nlistn: x\n"), Some("retention:\n  logs: long\nlisten: here\n"));
    let found = host
        .layered(
            &[
                ("KILN_SET_JOBZ", "4"),
                ("KILN_SET_OFFLINE", "maybe"),
                ("KILN_SET_RETENTION", "1d"),
                ("KILN_SET_JOBS", "1.5"),
            ],
            &[("jobs", "many"), ("grace", "-1")],
        )
        .unwrap_err();
    assert_eq!(
        found,
        [
            "host.yaml:1:7: error[out-of-range]: 0 is out of range: expected a whole number from 1 to 4294967295",
            "host.yaml:2:1: error[unknown-key]: unknown key `listn`",
            "   = hint: did you mean `listen`?",
            "d/kiln.local.yaml:2:9: error[bad-value]: `long` is not a duration: write `90s`, `20m`, `2h`, `1h30m`, \
             `30d`, or a number of seconds",
            "d/kiln.local.yaml:3:9: error[bad-value]: `here` is not an address to listen on: write `ADDRESS:PORT`, such as \
             `127.0.0.1:10978`",
            "error[unknown-setting]: environment KILN_SET_JOBZ: unknown setting `jobz`",
            "   = hint: did you mean `KILN_SET_JOBS`?",
            "error[wrong-type]: environment KILN_SET_OFFLINE: expected `true` or `false`, found the text `maybe`",
            "error[unknown-setting]: environment KILN_SET_RETENTION: unknown setting `retention`",
            "   = hint: settings: KILN_SET_ALERTMANAGER_URL, KILN_SET_BUILD_USER, KILN_SET_CACHE_BUDGET, \
             KILN_SET_CGROUPS, KILN_SET_CONNECT_TIMEOUT, KILN_SET_FETCHES, KILN_SET_GRACE, KILN_SET_JOBS, \
             KILN_SET_LINGER, KILN_SET_LISTEN, KILN_SET_LOG_FORMAT, KILN_SET_OFFLINE, KILN_SET_RETENTION__ARCHIVES, \
             KILN_SET_RETENTION__LEDGER, KILN_SET_RETENTION__LOGS, KILN_SET_SANDBOX, KILN_SET_STATE, \
             KILN_SET_WEB_CONFIG_FILE",
            "error[wrong-type]: environment KILN_SET_JOBS: expected a whole number, found the number 1.5",
            "error[wrong-type]: flag --jobs: expected a whole number, found the text `many`",
            "error[bad-value]: flag --grace: `-1` is not a duration: write `90s`, `20m`, `2h`, `1h30m`, `30d`, or a \
             number of seconds",
        ]
    );
}

#[test]
fn a_variable_that_is_not_utf8_is_not_passed_over() {
    let host = Host::new("", None, None);
    let variable =
        |name: &[u8], value: &[u8]| (OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned());
    let environment = vec![
        variable(b"KILN_SET_JOBS", b"4\xff"),
        variable(b"KILN_SET_J\xff", b"4"),
        variable(b"OTHER\xff", b"4"),
        variable(b"OTHER", b"\xff"),
    ];
    let found = host.layered_os(environment, &[]).unwrap_err();
    assert_eq!(found[0], "error[not-utf-8]: environment KILN_SET_JOBS: `4\\xff` is not UTF-8");
    assert_eq!(
        found[1],
        "error[unknown-setting]: environment KILN_SET_J\u{fffd}: unknown setting `j\u{fffd}`"
    );
    assert_eq!(found.len(), 3, "the hint of the second, and nothing of what is not kiln's: {found:?}");
}

#[test]
fn alertmanager_is_at_a_web_url() {
    let found = |url: &str| {
        let host = Host::new("", Some(&format!("alertmanager_url: {url}\n")), None);
        host.layered(&[], &[]).err()
    };
    for url in ["http://a", "https://a.example:9093/alerts/", "HTTP://[::1]:80", "http://me:x@a"] {
        assert_eq!(found(url), None, "{url}");
    }
    for url in [
        "foo",
        "localhost:9093",
        "//a",
        "http:a",
        "http://",
        "http:///a",
        "http://:80",
        "ftp://a",
        "'http://a b'",
    ] {
        let said = found(url).unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
        let expected =
            format!("host.yaml:1:19: error[bad-value]: `{}` is not the URL", url.trim_matches('\''));
        assert!(said[0].starts_with(&expected), "{said:?}");
    }
    let host = Host::new("", None, None);
    let said = host.layered(&[("KILN_SET_ALERTMANAGER_URL", "foo")], &[]).unwrap_err();
    assert!(
        said[0].starts_with("error[bad-value]: environment KILN_SET_ALERTMANAGER_URL: `foo`"),
        "{said:?}"
    );
}

#[test]
fn files_that_say_nothing_say_nothing() {
    for text in ["", "# nothing\n", "---\n"] {
        let host = Host::new("", Some(text), Some(text));
        let layered = host.layered(&[], &[]).unwrap();
        assert_eq!(layered.settings, Settings::default());
    }
}

#[test]
fn the_host_may_set_what_a_definition_may_not() {
    let host = Host::new(
        "",
        Some(
            "listen: 0.0.0.0:80\nstate: /s\nbuild_user: kiln\nweb_config_file: /w\nalertmanager_url: http://a\n",
        ),
        None,
    );
    let layered = host.layered(&[], &[]).unwrap();
    for (setting, _) in HOST_ONLY {
        assert!(host.origin(&layered, setting).1.starts_with("host.yaml:"), "{setting}");
    }
}
