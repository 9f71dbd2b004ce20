//! Build script: the revision and the compiler, for `kiln_build_info` and `--version`.

use std::process::Command;

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|o| o.status.success())?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}

fn main() {
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/logs/HEAD");
    // A source archive has no repository: then nothing is set, and kiln says `unknown`.
    if let Some(revision) = first_line("git", &["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo::rustc-env=KILN_REVISION={revision}");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if let Some(version) = first_line(&rustc, &["--version"]) {
        let number = version.split_whitespace().nth(1).unwrap_or("unknown").to_owned();
        println!("cargo::rustc-env=KILN_RUSTVERSION={number}");
    }
}
