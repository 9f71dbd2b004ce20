//! Twenty kills at random moments of a definition of 400 packages, and the result is as if nothing had been.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::fifo::Bell;
use super::ledger::Ledger;
use super::space::{RUN, Space, one_phase};

const PACKAGES: u64 = 400;
const KILLS: u32 = 20;

/// Numbers that a seed decides (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Packages with files, symlinks, shared directories, sources, dependencies; each of their scripts rings the bell.
fn recipes(space: &Space, bell: &Bell, random: &mut Random) -> String {
    let archives: Vec<String> = ["a.tar.gz", "b.zip", "c.tar.xz"]
        .map(|name| space.tarball(name, &[("top/one", name), ("top/sub/two", "2")]).as_sources())
        .into();
    let mut out = String::new();
    for at in 0..PACKAGES {
        let name = format!("p{at}");
        let _ = write!(out, "---\npackage: {name}\nversion: 1.{}\n", random.below(9));
        if at > 0 && !random.one_in(3) {
            // Chains stay short: the framework's max_depth is 10.
            let group = at - at % 8;
            let deps: Vec<String> =
                (group..at).filter(|_| random.one_in(3)).map(|other| format!("p{other}")).collect();
            let kind = if random.one_in(3) { "runtime_deps" } else { "build_deps" };
            let _ = writeln!(out, "{kind}: [{}]", deps.join(", "));
        }
        if random.one_in(5) {
            out.push_str(&archives[usize::try_from(random.below(3)).unwrap()]);
        }
        let ring = format!("echo > {}", bell.path());
        out.push_str("tasks:\n");
        let staged = !random.one_in(20);
        if !staged || random.one_in(3) {
            let _ = writeln!(out, "  configure: test ! -e made; echo {name} > made; {ring}");
            let _ = writeln!(out, "  build: cat made > built; {ring}");
        }
        if !staged {
            continue;
        }
        let _ = write!(
            out,
            "  install: |\n    {ring}\n    cd \"$DESTDIR\"; mkdir -p usr/bin usr/share/{}/{name}\n    \
             echo {name} > usr/bin/{name}; chmod 755 usr/bin/{name}; ln -s {name} usr/bin/{name}.link\n",
            random.below(7)
        );
        for file in 0..random.below(4) {
            let _ = writeln!(out, "    echo {} > usr/share/{name}.{file}", random.next());
        }
        if random.one_in(4) {
            let _ = writeln!(out, "    ln usr/bin/{name} usr/bin/{name}.hard; {ring}");
        }
    }
    out
}

fn space(seed: u64) -> (Space, Bell) {
    let space = Space::new();
    let bell = space.bell("bell");
    let recipes = recipes(&space, &bell, &mut Random(seed));
    space.recipes(&recipes);
    space.document(&one_phase(&recipes, ""));
    (space, bell)
}

/// How often each package was completed, since it was last taken away.
fn completions(ledger: &Ledger) -> BTreeMap<String, u32> {
    let mut count = BTreeMap::new();
    for package in ledger.all("package_completed", "package") {
        *count.entry(package).or_default() += 1;
    }
    count
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been() {
    let seed = std::env::var("KILN_SEED").map_or(1, |seed| seed.parse().unwrap());
    eprintln!("KILN_SEED={seed}");
    let undisturbed = std::thread::spawn(move || {
        let (space, _bell) = space(seed);
        space.run(0);
        space.sysroot()
    });

    let (space, mut bell) = space(seed);
    let mut random = Random(seed ^ u64::MAX);
    let mut completed = BTreeMap::new();
    for kill in 0..KILLS {
        let kiln = space.start(&RUN);
        let rings = 1 + random.below(2 * 650 / u64::from(KILLS));
        assert!(bell.wait_for_or(usize::try_from(rings).unwrap(), kiln.end()), "it ended before kill {kill}");
        kiln.kill();
        bell.silence();
        let ledger = space.ledger();
        for package in completed.keys() {
            assert!(
                !ledger.last_start().worked_on().contains(package),
                "{package} was complete before kill {kill}"
            );
        }
        completed = completions(&ledger);
    }
    space.run(0);
    let ledger = space.ledger();
    for package in completed.keys() {
        assert!(!ledger.last_start().worked_on().contains(package), "{package} was complete");
    }
    assert_eq!(ledger.of("run_started").count(), 1);
    assert_eq!(ledger.of("task_failed").collect::<Vec<_>>(), Vec::<&serde_json::Value>::new());
    let completed = completions(&ledger);
    assert_eq!(completed.len(), usize::try_from(PACKAGES).unwrap());
    assert!(completed.values().all(|times| *times == 1), "{completed:?}");
    space.sysroot().assert_identical(&undisturbed.join().unwrap());
}
