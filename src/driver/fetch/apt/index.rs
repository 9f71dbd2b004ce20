//! What apt's commands print.
//!
//! Owns: reading `apt-cache showsrc` and `apt-get source --print-uris`. Does not know: running them.

/// One version of a source package.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) version: String,
    pub(super) files: Vec<String>,
}

/// One file that apt can fetch.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Item {
    pub(super) uri: String,
    pub(super) file: String,
    /// From the signed index, when that has one.
    pub(super) sha256: Option<String>,
}

/// The versions in `apt-cache showsrc`'s output.
pub(super) fn packages(text: &str) -> Vec<Package> {
    text.split("\n\n").filter_map(package).collect()
}

fn package(stanza: &str) -> Option<Package> {
    let mut version = None;
    let mut files = Vec::new();
    let mut in_files = false;
    for line in stanza.lines() {
        if let Some(entry) = line.strip_prefix(' ') {
            // `DIGEST SIZE NAME`
            if in_files && let Some(name) = entry.split_whitespace().nth(2) {
                files.push(name.to_owned());
            }
            continue;
        }
        let (name, value) = line.split_once(':')?;
        in_files = name == "Files" || (name == "Checksums-Sha256" && files.is_empty());
        if name == "Version" {
            version = Some(value.trim().to_owned());
        }
    }
    Some(Package { version: version?, files })
}

/// The files in `apt-get source --print-uris`' output: `'URI' NAME SIZE SHA256:DIGEST`.
pub(super) fn items(text: &str) -> Vec<Item> {
    text.lines()
        .filter_map(|line| {
            let (uri, rest) = line.strip_prefix('\'')?.split_once('\'')?;
            let mut words = rest.split_whitespace();
            let file = words.next()?.to_owned();
            let sha256 = words.find_map(|word| word.strip_prefix("SHA256:")).map(str::to_ascii_lowercase);
            Some(Item { uri: uri.to_owned(), file, sha256 })
        })
        .collect()
}

/// What the distribution has of `name`, for somebody who wanted another file of it.
pub(super) fn instead(name: &str, packages: &[Package]) -> String {
    let mut names = Vec::new();
    for package in packages {
        // The upstream part: neither signatures nor Debian's own files.
        for file in &package.files {
            let extension = file.rsplit('.').next().unwrap_or_default();
            let packaging = matches!(extension, "dsc" | "asc") || file.contains(".debian.tar.");
            if !packaging && !names.contains(&file.as_str()) {
                names.push(file.as_str());
            }
        }
    }
    match names.as_slice() {
        [] => format!("the distribution has no source package `{name}`"),
        names => format!("the distribution's `{name}` now has `{}`", names.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "\
Package: zlib
Binary: zlib1g, zlib1g-dev
Version: 1:1.2.13.dfsg-1
Files:
 0d8e 2922 zlib_1.2.13.dfsg-1.dsc
 6a3b 272704 zlib_1.2.13.dfsg.orig.tar.bz2
 8ad1 18932 zlib_1.2.13.dfsg-1.debian.tar.xz
Checksums-Sha256:
 11 2922 zlib_1.2.13.dfsg-1.dsc
 22 272704 zlib_1.2.13.dfsg.orig.tar.bz2
 33 18932 zlib_1.2.13.dfsg-1.debian.tar.xz
Package-List: 
 zlib1g deb libs required arch=any

Package: zlib
Version: 1:1.3.dfsg-3
Checksums-Sha256:
 44 1 zlib_1.3.dfsg.orig.tar.xz
";

    #[test]
    fn every_version_has_its_files() {
        let packages = packages(SHOWN);
        assert_eq!(packages.len(), 2);
        assert_eq!(packages[0].version, "1:1.2.13.dfsg-1");
        assert_eq!(
            packages[0].files,
            ["zlib_1.2.13.dfsg-1.dsc", "zlib_1.2.13.dfsg.orig.tar.bz2", "zlib_1.2.13.dfsg-1.debian.tar.xz"]
        );
        assert_eq!(packages[1].files, ["zlib_1.3.dfsg.orig.tar.xz"]);
    }

    #[test]
    fn what_the_distribution_has_instead_is_named() {
        assert_eq!(
            instead("zlib", &packages(SHOWN)),
            "the distribution's `zlib` now has `zlib_1.2.13.dfsg.orig.tar.bz2`, `zlib_1.3.dfsg.orig.tar.xz`"
        );
        assert_eq!(instead("zlob", &packages("")), "the distribution has no source package `zlob`");
    }

    #[test]
    fn uris_come_with_digests() {
        let text = "Reading package lists...\n\
                    'http://host/pool/a_1.dsc' a_1.dsc 12 SHA256:ABCD\n\
                    'http://host/pool/a_1.tar' a_1.tar 12 MD5Sum:00\n";
        let items = items(text);
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].uri, "http://host/pool/a_1.dsc");
        assert_eq!(items[0].sha256.as_deref(), Some("abcd"));
        assert_eq!((items[1].file.as_str(), &items[1].sha256), ("a_1.tar", &None));
    }
}
