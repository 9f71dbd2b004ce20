//! What a recipe says about owners and privileges of its files.
//!
//! Owns: reading `owners` and `privileged`. Does not know: the files.

use std::collections::{BTreeMap, BTreeSet};

use super::super::path::RelPath;
use super::StageError;

/// A recipe's `owners` and `privileged`, resolved.
#[derive(Debug, Clone, Default)]
pub struct StagingRules {
    owners: BTreeMap<RelPath, (u32, u32)>,
    privileged: BTreeSet<RelPath>,
    root_owned: bool,
}

/// Users and groups by name. The host's: the sysroot's own may not exist yet.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Accounts {
    /// The host's /etc/passwd and /etc/group.
    pub fn of_host() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/etc/passwd"), &read("/etc/group"))
    }

    /// From the text of a passwd and a group file.
    pub fn parse(passwd: &str, group: &str) -> Self {
        let ids = |text: &str| {
            let line = |line: &str| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((name, fields.nth(1)?.parse().ok()?))
            };
            text.lines().filter_map(line).collect()
        };
        Self { users: ids(passwd), groups: ids(group) }
    }
}

impl StagingRules {
    /// `owners`: path to `USER:GROUP` or `UID:GID`; `privileged`: paths that may be setuid, setgid or device nodes. A
    /// leading slash or `./` is ignored. With `root_owned` whatever `owners` leaves out is recorded as root:root,
    /// else as it is. `accounts` is only asked when there is a name.
    pub fn new<'a>(
        owners: impl IntoIterator<Item = (&'a str, &'a str)>,
        privileged: impl IntoIterator<Item = &'a str>,
        root_owned: bool,
        accounts: impl FnOnce() -> Accounts,
    ) -> Result<Self, StageError> {
        let accounts = std::cell::LazyCell::new(accounts);
        let mut rules = Self { root_owned, ..Self::default() };
        for (path, owner) in owners {
            let bad =
                || StageError::Rule { path: path.into(), reason: format!("`{owner}` is no `USER:GROUP`") };
            let unknown = |what: &str, name: &str| StageError::Rule {
                path: path.into(),
                reason: format!("this host knows no {what} `{name}`"),
            };
            let (user, group) = owner.split_once(':').ok_or_else(bad)?;
            if user.is_empty() || group.is_empty() {
                return Err(bad());
            }
            let uid = user.parse().ok().or_else(|| accounts.users.get(user).copied());
            let gid = group.parse().ok().or_else(|| accounts.groups.get(group).copied());
            let owner =
                (uid.ok_or_else(|| unknown("user", user))?, gid.ok_or_else(|| unknown("group", group))?);
            rules.owners.insert(rule_path(path)?, owner);
        }
        for path in privileged {
            rules.privileged.insert(rule_path(path)?);
        }
        Ok(rules)
    }

    /// Who `path`, which belongs to `found`, is recorded to belong to.
    pub fn owner(&self, path: &RelPath, found: (u32, u32)) -> (u32, u32) {
        let default = if self.root_owned { (0, 0) } else { found };
        self.owners.get(path).copied().unwrap_or(default)
    }

    /// Whether `path` may be setuid, setgid or a device node.
    pub fn is_privileged(&self, path: &RelPath) -> bool {
        self.privileged.contains(path)
    }

    /// Paths that `owners` names.
    pub fn owned_paths(&self) -> impl Iterator<Item = &RelPath> {
        self.owners.keys()
    }
}

fn rule_path(path: &str) -> Result<RelPath, StageError> {
    RelPath::parse(path.trim_start_matches('/').as_bytes())
        .map_err(|error| StageError::Rule { path: path.into(), reason: format!("the path {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::parse("root:x:0:0:root:/root:/bin/sh\nmail:x:8:12::/:/bin/false\nbroken\n", "mail:x:12:\n")
    }

    #[test]
    fn an_owner_is_a_name_of_the_host_or_a_number() {
        let owners = [("/var/mail", "mail:mail"), ("srv", "1000:12")];
        let rules = StagingRules::new(owners, [], true, accounts).unwrap();
        let path = |text: &str| RelPath::parse(text.as_bytes()).unwrap();
        assert_eq!(rules.owner(&path("var/mail"), (7, 7)), (8, 12));
        assert_eq!(rules.owner(&path("srv"), (7, 7)), (1000, 12));
        assert_eq!(rules.owner(&path("var"), (7, 7)), (0, 0));
        for owner in ["nobody-here:mail", "mail:none", "mail", ":", "mail:"] {
            assert!(StagingRules::new([("x", owner)], [], true, accounts).is_err(), "{owner}");
        }
        assert!(StagingRules::new([("../x", "0:0")], [], true, accounts).is_err());
    }
}
