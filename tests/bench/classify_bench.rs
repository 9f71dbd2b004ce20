//! How fast the output of a build is read: `classify_bench [MEGABYTES [FILE]]`, built in release mode.
//!
//! Without FILE a build in which nothing goes wrong is made up: command lines, probes, warnings with alarming words.
//! Own CPU, not wall: the machine may be busy.
#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::time::Duration;

use anyhow::Context as _;
use kiln::failure::classify::{Case, End};
use kiln::failure::output::Output;

const LINES: [&str; 10] = [
    "libtool: compile:  gcc -DHAVE_CONFIG_H -I. -I../lib -Wall -Werror=format -g -O2 -MT error_N.lo -MD -MP -c error_N.c -fPIC -o .libs/error_N.o",
    "  CC      drivers/net/ethernet/error_N.o",
    "checking for error_at_line_N... no",
    "[ 42%] Building CXX object src/CMakeFiles/x.dir/file_N.cpp.o",
    "src/file_N.c:17:12: warning: unused variable 'error' [-Wunused-variable]",
    "make[2]: Entering directory '/build/src/dir_N'",
    "  123 |   int error = do_something(x, N);",
    "/bin/bash ./libtool  --tag=CC   --mode=link gcc  -g -O2 -o x_N.la  a.lo b.lo -lm",
    "PASS: tests/test-N.sh",
    "-- Looking for header_N.h - found",
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let megabytes: usize = arguments.first().map_or(Ok(200), |text| text.parse()).context("MEGABYTES")?;
    let sample = match arguments.get(1) {
        Some(file) => std::fs::read(file)?,
        None => (0..20_000).flat_map(|n| line(n).into_bytes()).collect(),
    };
    let before = own_cpu()?;
    drop(Output::default());
    println!("rules are read in {:.0} ms", own_cpu()?.saturating_sub(before).as_secs_f64() * 1e3);
    for _ in 0..3 {
        let before = own_cpu()?;
        let mut output = Output::default();
        let mut bytes = 0;
        while bytes < megabytes * 1_000_000 {
            output.feed(&sample);
            bytes += sample.len();
        }
        let failure = Case { kind: None, facts: &[], end: End::Unknown }.classify(output);
        let took = own_cpu()?.saturating_sub(before).as_secs_f64();
        let found = failure.map_or("nothing", |failure| failure.category.name());
        println!(
            "{:.0} MB/s of own CPU ({} MB; {found} found)",
            bytes as f64 / 1e6 / took,
            bytes / 1_000_000
        );
    }
    Ok(())
}

fn line(n: usize) -> String {
    // Not in order: what is next to each other in a build differs.
    let line = LINES[n.wrapping_mul(2_654_435_761) / 7 % LINES.len()];
    format!("{}\n", line.replace('N', &n.to_string()))
}

/// Of all threads of this process.
fn own_cpu() -> anyhow::Result<Duration> {
    let stat = procfs::process::Process::myself()?.stat()?;
    Ok(Duration::from_millis((stat.utime + stat.stime) * 1000 / procfs::ticks_per_second()))
}
