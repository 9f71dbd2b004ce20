//! The system's apt entries, as entries for sources.
//!
//! Owns: `sources.list`, `sources.list.d/*.list` and `*.sources`, and turning `deb` into `deb-src`. Keyrings,
//! options and everything else stay as they are. Does not know: apt's commands.

use std::fs;
use std::path::Path;

/// All entries, for sources.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    /// One-line entries, for a `.list` file.
    pub(super) lines: String,
    /// Deb822 stanzas, for a `.sources` file.
    pub(super) stanzas: String,
}

impl Entries {
    /// Those below `etc`, in apt's order. Files that we may not read are left out: apt's are readable to all unless
    /// they hold somebody's credentials.
    pub(super) fn of_system(etc: &Path) -> Self {
        let mut entries = Self::default();
        entries.add_lines(&fs::read_to_string(etc.join("sources.list")).unwrap_or_default());
        let mut paths = fs::read_dir(etc.join("sources.list.d"))
            .map(|dir| dir.flatten().map(|entry| entry.path()).collect::<Vec<_>>())
            .unwrap_or_default();
        paths.sort();
        for path in paths {
            let text = || fs::read_to_string(&path).unwrap_or_default();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("list") => entries.add_lines(&text()),
                Some("sources") => entries.add_stanzas(&text()),
                _ => {}
            }
        }
        entries
    }

    fn add_lines(&mut self, text: &str) {
        for line in text.lines().filter_map(line) {
            // `deb` and `deb-src` of the same place: apt would warn.
            if self.lines.lines().all(|other| other != line) {
                self.lines.push_str(&line);
                self.lines.push('\n');
            }
        }
    }

    fn add_stanzas(&mut self, text: &str) {
        let lines = text.lines().collect::<Vec<_>>();
        for stanza in lines.split(|line| line.trim().is_empty()).filter_map(stanza) {
            self.stanzas.push_str(&stanza);
            self.stanzas.push('\n');
        }
    }
}

/// `deb [options] uri suite component…` for sources; nothing for comments and for media.
fn line(line: &str) -> Option<String> {
    let (kind, rest) = line.trim().split_once(char::is_whitespace)?;
    if !matches!(kind, "deb" | "deb-src") {
        return None;
    }
    let rest = rest.trim();
    let uri = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1.trim_start(),
        None => rest,
    };
    // A medium would have to be put in by somebody.
    if uri.starts_with("cdrom:") {
        return None;
    }
    Some(format!("deb-src {rest}"))
}

/// A stanza for sources; nothing for stanzas without an entry and for media.
fn stanza(lines: &[&str]) -> Option<String> {
    let mut text = String::new();
    let mut is_entry = false;
    // Whether continuation lines belong to a field that is left out or replaced.
    let mut dropping = false;
    for line in lines {
        if line.starts_with([' ', '\t']) {
            if dropping {
                continue;
            }
        } else if !line.starts_with('#') {
            let (name, value) = line.split_once(':')?;
            let name = name.to_ascii_lowercase();
            match name.as_str() {
                "types" => {
                    is_entry = true;
                    dropping = true;
                    text.push_str("Types: deb-src\n");
                    continue;
                }
                // Which indexes of `deb`; ours is the only one.
                "targets" => {
                    dropping = true;
                    continue;
                }
                "uris" if value.split_whitespace().any(|uri| uri.starts_with("cdrom:")) => return None,
                _ => dropping = false,
            }
        }
        text.push_str(line);
        text.push('\n');
    }
    is_entry.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(given: &str, expected: Option<&str>) {
        assert_eq!(line(given).as_deref(), expected);
    }

    #[test]
    fn a_one_line_entry_keeps_its_options_and_becomes_deb_src() {
        check_line("deb http://host/debian stable main", Some("deb-src http://host/debian stable main"));
        check_line(
            "  deb\t[arch=amd64 signed-by=/k.gpg] https://host/ stable main contrib # why",
            Some("deb-src [arch=amd64 signed-by=/k.gpg] https://host/ stable main contrib # why"),
        );
        check_line("deb-src http://host/ ./", Some("deb-src http://host/ ./"));
    }

    #[test]
    fn comments_media_and_nonsense_are_left_out() {
        for given in [
            "",
            "# deb http://host/ stable main",
            "deb cdrom:[Debian 12]/ stable main",
            "deb",
            "rpm http://host/ x",
        ] {
            check_line(given, None);
        }
        check_line("deb [trusted=yes] cdrom:[Debian 12]/ stable main", None);
    }

    #[test]
    fn a_stanza_keeps_everything_but_its_types() {
        let mut entries = Entries::default();
        entries.add_stanzas(
            "# Ours\nTypes: deb\n# snapshot\nURIs: http://host/debian\nSuites: stable\n  stable-updates\n\
             Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n\n\n\
             types: deb\n deb-src\nURIs: https://other/\nSuites: ./\nTargets: Packages\n Contents\nEnabled: no\n",
        );
        assert_eq!(
            entries.stanzas,
            "# Ours\nTypes: deb-src\n# snapshot\nURIs: http://host/debian\nSuites: stable\n  stable-updates\n\
             Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n\n\
             Types: deb-src\nURIs: https://other/\nSuites: ./\nEnabled: no\n\n"
        );
    }

    #[test]
    fn a_stanza_of_a_medium_or_of_comments_is_left_out() {
        let mut entries = Entries::default();
        entries
            .add_stanzas("# nothing here\n\nTypes: deb\nURIs: cdrom:[Debian]/\nSuites: stable\n\nno field\n");
        assert_eq!(entries, Entries::default());
    }

    #[test]
    fn the_systems_files_are_read_in_order_and_others_are_not() {
        let etc = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(etc.path().join(name), text).unwrap();
        fs::create_dir(etc.path().join("sources.list.d")).unwrap();
        write("sources.list", "deb http://a/ s m\ndeb-src http://a/ s m\n");
        write("sources.list.d/c.list", "deb http://c/ s m\n");
        write("sources.list.d/b.list", "deb http://b/ s m\n");
        write("sources.list.d/d.list.disabled", "deb http://d/ s m\n");
        write("sources.list.d/e.sources", "Types: deb\nURIs: http://e/\nSuites: s\nComponents: m\n");
        let entries = Entries::of_system(etc.path());
        assert_eq!(entries.lines, "deb-src http://a/ s m\ndeb-src http://b/ s m\ndeb-src http://c/ s m\n");
        assert_eq!(entries.stanzas, "Types: deb-src\nURIs: http://e/\nSuites: s\nComponents: m\n\n");
        assert_eq!(Entries::of_system(Path::new("/nonexistent")), Entries::default());
    }
}
