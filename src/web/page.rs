//! The page for people: one HTML document, no scripts, nothing loaded from elsewhere.
//!
//! Owns: what it shows and how. Does not know: HTTP.
//!
//! **Invariant**: every text of others goes through `Text`, which escapes it.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use crate::engine::state::{PACKAGE_STATES, RunState};
use crate::observe::Snapshot;
use crate::observe::failures::FailedPackage;
use crate::observe::human::{between, duration, timestamp};
use crate::observe::snapshot::{PHASE_STATES, RUN_STATES, phase_state_index, run_state_index};

/// The whole page.
pub(super) fn render(snapshot: &Snapshot) -> String {
    let mut out = String::with_capacity(16 * 1024);
    // Writing to a string cannot fail.
    let _ = write(&mut out, snapshot);
    out
}

/// Text of others.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() => f.write_char(' ')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn write(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let name = Text(&snapshot.run.definition);
    let state = RUN_STATES[run_state_index(snapshot.state())];
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"refresh\" content=\"10\">\n<title>{name}: {state} - kiln</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><h1>{name}</h1> <span class=\"state {state}\">{state}</span></header>\n"
    )?;
    if snapshot.run.state == RunState::Idle {
        out.write_str("<p>There has been no run yet.</p>\n")?;
    } else {
        if let Some(why) = snapshot.blocked() {
            writeln!(
                out,
                "<p>Nothing can be recorded, and nothing is started until it can: {}</p>",
                Text(why)
            )?;
        }
        if let Some(why) = &snapshot.run.paused {
            writeln!(out, "<p>Nothing more is started: {}</p>", Text(why))?;
        }
        summary(out, snapshot)?;
        gates(out, snapshot)?;
        phases(out, snapshot)?;
        running(out, snapshot)?;
        failed(out, snapshot)?;
    }
    write!(
        out,
        "<footer><a href=\"/metrics\">metrics</a> <a href=\"/api/v1/status\">status</a> \
         <a href=\"/api/v1/monitoring\">monitoring</a> <span>kiln {}, {}</span></footer>\n\
         </main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        timestamp(snapshot.now)
    )
}

fn summary(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let (run, packages) = (&snapshot.run, snapshot.packages);
    let percent = (run.ratio * 100.0).clamp(0.0, 100.0);
    write!(
        out,
        "<progress max=\"100\" value=\"{percent:.1}\">{percent:.0} %</progress>\n<dl>\n\
         <div><dt>Done</dt><dd>{percent:.0} % of the work</dd></div>\n\
         <div><dt>Packages</dt><dd>{} of {}</dd></div>\n",
        packages.completed, packages.total
    )?;
    if let Some(started) = run.started {
        let until = run.ended.unwrap_or(snapshot.now);
        let what = if run.ended.is_some() { "Took" } else { "Started" };
        let span = duration(between(started, until));
        let text = if run.ended.is_some() { span } else { format!("{span} ago") };
        writeln!(out, "<div><dt>{what}</dt><dd>{text}</dd></div>")?;
    }
    if run.ended.is_none() {
        let left = match run.remaining {
            Some(left) => range(left.p50, left.p90),
            None => "not known yet".to_owned(),
        };
        writeln!(out, "<div><dt>Left</dt><dd>{left}</dd></div>")?;
    }
    write!(
        out,
        "<div><dt>Failed attempts</dt><dd>{} of {}</dd></div>\n\
         <div><dt>Run</dt><dd><code>{}</code></dd></div>\n</dl>\n",
        run.failed_attempts,
        run.attempts,
        Text(&run.build_id)
    )
}

fn gates(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    if snapshot.gates.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<h2>A person is needed</h2>\n<table>\n<tr><th>Gate</th><th>About</th><th>Since</th><th>Answer</th></tr>\n",
    )?;
    for gate in &snapshot.gates {
        let since = duration(between(gate.opened, snapshot.now));
        let about = gate.package.as_ref().unwrap_or(&gate.phase);
        writeln!(
            out,
            "<tr><td>{0}</td><td>{1}<br><span class=\"state failed\">{2}</span></td><td>{since}</td>\
             <td><code>kiln resolve {0} retry|skip|abort</code></td></tr>",
            gate.number,
            Text(about),
            gate.reason
        )?;
    }
    out.write_str("</table>\n")
}

fn phases(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    out.write_str("<h2>Phases</h2>\n<table>\n<tr><th>Phase</th><th>State</th>")?;
    for name in PACKAGE_STATES {
        write!(out, "<th class=\"n\">{name}</th>")?;
    }
    out.write_str("</tr>\n")?;
    for phase in &snapshot.phases {
        let state = PHASE_STATES[phase_state_index(phase.state)];
        write!(
            out,
            "<tr><td title=\"{}\">{}</td><td><span class=\"state {state}\">{state}</span></td>",
            Text(&phase.key),
            Text(&phase.title)
        )?;
        if phase.counts.is_none() {
            out.write_str(&"<td></td>".repeat(PACKAGE_STATES.len()))?;
        }
        for count in phase.counts.iter().flat_map(|counts| counts.packages) {
            write!(out, "<td class=\"n{}\">{count}</td>", if count == 0 { " none" } else { "" })?;
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</table>\n")
}

fn running(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    if snapshot.running.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<h2>Running</h2>\n<table>\n<tr><th>Package</th><th>Task</th><th class=\"n\">Attempt</th>\
         <th class=\"n\">For</th><th class=\"n\">Expected</th></tr>\n",
    )?;
    for task in &snapshot.running {
        let elapsed = duration(between(task.since, snapshot.now));
        let expected = task.expected.map(duration).unwrap_or_default();
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{elapsed}</td>\
             <td class=\"n\">{expected}</td></tr>",
            Text(&task.package),
            task.task.name(),
            task.attempt
        )?;
    }
    out.write_str("</table>\n")
}

fn failed(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    if snapshot.failed.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<h2>Failures</h2>\n<table>\n<tr><th>Package</th><th>Now</th><th>Last failure</th></tr>\n",
    )?;
    for failed in &snapshot.failed {
        let line = failed.failure.evidence.line.map(|line| format!(" (line {line})")).unwrap_or_default();
        write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}, attempt {}: {}<br><code>{}</code>{line}",
            Text(&failed.package),
            now(failed),
            failed.task.name(),
            failed.attempt,
            failed.category().name(),
            Text(&failed.failure.evidence.text)
        )?;
        if let Some(hint) = &failed.failure.hint {
            write!(out, "<br>{}", Text(hint))?;
        }
        out.write_str("</td></tr>\n")?;
    }
    out.write_str("</table>\n")
}

fn now(failed: &FailedPackage) -> &'static str {
    if failed.gate.is_some() {
        "<span class=\"state failed\">a person is needed</span>"
    } else if failed.over {
        "<span class=\"state failed\">failed</span>"
    } else if failed.level > 0 {
        "<span class=\"state paused\">to be retried</span>"
    } else {
        "<span class=\"state completed\">recovered</span>"
    }
}

/// `14m to 20m`, or once where both are the same.
fn range(p50: Duration, p90: Duration) -> String {
    let (low, high) = (duration(p50), duration(p90));
    if low == high { low } else { format!("{low} to {high}") }
}

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--soft:#888}
body{font:15px/1.5 system-ui,sans-serif;margin:0}
main{max-width:60rem;margin:0 auto;padding:1.5rem}
header{display:flex;align-items:center;gap:1rem}
h1{font-size:1.6rem;margin:0}
h2{font-size:1.05rem;margin:2rem 0 .5rem}
progress{width:100%;height:.8rem;margin:1rem 0;accent-color:#2a7}
dl{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:0}
dt{color:var(--soft);font-size:.85rem}
dd{margin:0;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft);font-size:.85rem}
.n{text-align:right;font-variant-numeric:tabular-nums}
.none{color:var(--soft);opacity:.5}
code{font:13px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
.state{border-radius:1rem;padding:.1rem .7rem;font-size:.85rem;background:#8883;white-space:nowrap}
.running{background:#27c3}.completed{background:#2a73}.paused{background:#c923}.error,.failed{background:#c333}
footer{margin-top:2.5rem;color:var(--soft);font-size:.85rem;display:flex;gap:1rem}
footer span{margin-left:auto}
";
