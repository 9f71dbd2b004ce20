//! Random definitions, and the numbers for whatever else is random.
//!
//! Does not know: what is done with them (`simulation`).

use std::fmt::Write as _;

/// Small, fast, and the same everywhere: splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A random definition in the words of `sketch`.
pub(super) fn words(random: &mut Random) -> String {
    let mut out = String::new();
    let methods = ["topological", "parallel", "parallel", "dynamic", "dynamic"];
    let method = methods[usize::try_from(random.below(5)).unwrap()];
    let kind = if random.chance(30) { " full" } else { "" };
    writeln!(out, "checkpoints {}{kind}", 1 + random.below(4)).unwrap();
    writeln!(out, "method {method}\nattempts {}\ndelay {}", 1 + random.below(3), random.below(20)).unwrap();
    let levels = ["", "build", "build", "build runtime", "runtime", "optional", "build runtime optional"];
    let strict = levels[usize::try_from(random.below(7)).unwrap()];
    if !strict.is_empty() {
        writeln!(out, "strict {strict}").unwrap();
    }
    if random.chance(50) {
        writeln!(out, "gates").unwrap();
    }
    if random.chance(10) {
        writeln!(out, "same").unwrap();
    }
    if random.chance(60) {
        let actions = ["cleanup_failed_build", "verify_dependencies", "retry_build", "free_resources"];
        let actions: Vec<&str> = actions.into_iter().filter(|_| random.chance(60)).collect();
        writeln!(out, "recover {}", actions.join(" ")).unwrap();
    }
    let mut names: Vec<String> = Vec::new();
    for phase in 0..=random.below(3) {
        writeln!(out, "phase{} p{phase}", if random.chance(60) { "" } else { "?" }).unwrap();
        if random.chance(20) {
            writeln!(out, "needs disk 500").unwrap();
        }
        for _ in 0..=random.below(5) {
            let name = format!("k{}", names.len());
            write!(out, "{name}: ").unwrap();
            if random.chance(40) {
                write!(out, "fetch unpack ").unwrap();
            }
            write!(
                out,
                "{} ",
                ["build", "configure build", "configure build check", "build check?"]
                    [usize::try_from(random.below(4)).unwrap()]
            )
            .unwrap();
            if random.chance(70) {
                write!(out, "install ").unwrap();
            }
            write!(out, "< ").unwrap();
            for other in &names {
                if random.chance(25) {
                    write!(out, "{}{other} ", ["", "", "?", "~"][usize::try_from(random.below(4)).unwrap()])
                        .unwrap();
                }
            }
            match random.below(6) {
                0 => write!(out, "(timeout {} jobs {})", 1 + random.below(40), 1 + random.below(3)).unwrap(),
                1 => write!(out, "(silent {})", 1 + random.below(20)).unwrap(),
                2 => write!(out, "(accept 1 memory {})", 1 + random.below(1000)).unwrap(),
                3 => write!(out, "(memory {})", 1 + random.below(1000)).unwrap(),
                _ => {}
            }
            writeln!(out).unwrap();
            names.push(name);
        }
    }
    out
}
