//! A run of 400 packages is killed after each few dozen steps of its scripts, and the result is as if nothing had been.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::fifo::{Bell, Tickets};
use super::ledger::Ledger;
use super::space::{RUN, Space, one_phase};

const PACKAGES: u64 = 400;
/// Steps of scripts between two kills, at most.
const STEPS_MOST: u64 = 65;

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

/// Packages with files, symlinks, shared directories, sources, dependencies; each of their scripts waits at each step until it
/// may take that, and tells of it.
fn recipes(space: &Space, step: &str, random: &mut Random) -> String {
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
        out.push_str("tasks:\n");
        let staged = !random.one_in(20);
        if !staged || random.one_in(3) {
            let _ = writeln!(out, "  configure: test ! -e made; echo {name} > made; {step}");
            let _ = writeln!(out, "  build: cat made > built; {step}");
        }
        if !staged {
            continue;
        }
        let _ = write!(
            out,
            "  install: |\n    {step}\n    cd \"$DESTDIR\"; mkdir -p usr/bin usr/share/{}/{name}\n    \
             echo {name} > usr/bin/{name}; chmod 755 usr/bin/{name}; ln -s {name} usr/bin/{name}.link\n",
            random.below(7)
        );
        for file in 0..random.below(4) {
            let _ = writeln!(out, "    echo {} > usr/share/{name}.{file}", random.next());
        }
        if random.one_in(4) {
            let _ = writeln!(out, "    ln usr/bin/{name} usr/bin/{name}.hard; {step}");
        }
    }
    out
}

/// A space, what lets scripts take a step, what tells of each, and how many they take when nobody disturbs them.
fn space(seed: u64) -> (Space, Tickets, Bell, u64) {
    let space = Space::new();
    let (tickets, bell) = (space.tickets("tickets"), space.bell("bell"));
    let step = format!("read x < {}; echo > {}", tickets.path(), bell.path());
    let recipes = recipes(&space, &step, &mut Random(seed));
    space.recipes(&recipes);
    space.document(&one_phase(&recipes, ""));
    let steps = recipes.matches(&step).count();
    (space, tickets, bell, steps.try_into().unwrap())
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
        let (space, tickets, _bell, _) = space(seed);
        tickets.give(Tickets::MOST);
        space.run(0);
        space.sysroot()
    });

    let (space, tickets, mut bell, steps) = space(seed);
    let mut random = Random(seed ^ u64::MAX);
    let mut completed = BTreeMap::new();
    let mut kills = 0;
    loop {
        let kiln = space.start(&RUN);
        let may = usize::try_from(1 + random.below(STEPS_MOST)).unwrap();
        tickets.give(may);
        if !bell.wait_for_or(may, kiln.end()) {
            kiln.wait().exits(0);
            break;
        }
        kiln.kill();
        kills += 1;
        let ledger = space.ledger();
        for package in completed.keys() {
            assert!(
                !ledger.last_start().worked_on().contains(package),
                "{package} was complete before kill {kills}"
            );
        }
        completed = completions(&ledger);
    }
    eprintln!("{kills} kills");
    assert!(kills >= steps / STEPS_MOST, "{kills} kills in {steps} steps");
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
