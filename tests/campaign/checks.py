"""What must hold of a build, and of two that should be the same."""

from collections import Counter

from common import demand, say


def check_redone(build, after, complete, allowed=()):
    """Of what was complete when the ledger ended there, nothing was started again since, but for such tasks."""
    started = (record for record in build.records(after) if record["record"] == "task_started")
    redone = {(record["package"], record["task"]) for record in started if record["package"] in complete}
    redone = sorted(f"{package} {task}" for package, task in redone if task not in allowed)
    demand(not redone, f"were complete, and ran again: {', '.join(redone)}")


def failures(records):
    """How often each task failed."""
    return Counter((record["package"], record["task"]) for record in records if record["record"] == "task_failed")


def check_failures(undisturbed, disturbed):
    """None that an undisturbed run has not; and less only of what was cut off: that took a number, which tells a task when to fail."""
    records = disturbed.records()
    ours, theirs = failures(records), failures(undisturbed.records())
    cut_off = {(record["package"], record["task"]) for record in records if record["record"] == "task_interrupted"}
    demand(not ours - theirs, f"failed attempts that an undisturbed run has not: {ours - theirs}")
    missing = sorted((theirs - ours).keys() - cut_off)
    demand(not missing, f"never cut off, and failed less than undisturbed: {missing}")


def difference(theirs, ours):
    """What is not the same in two listings, in words."""
    differ = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    return [f"{name}: {theirs.get(name)} undisturbed, {ours.get(name)} disturbed" for name in differ]


def demand_same(theirs, ours, what):
    differ = difference(theirs, ours)
    for line in differ[:20]:
        say(line)
    demand(not differ, f"{len(differ)} {what} differ")


def compare(undisturbed, disturbed):
    """As if nothing had been: each package completed once, the same failures, sysroot and archives."""
    names = sorted(disturbed.completed())
    demand(names == sorted(undisturbed.completed()), f"completed: {names}")
    check_failures(undisturbed, disturbed)
    sysroot, archives = disturbed.sysroot(), disturbed.archives()
    demand_same(undisturbed.sysroot(), sysroot, "paths of the sysroot")
    demand_same(undisturbed.archives(), archives, "archives")
    say(f"identical: {len(sysroot)} paths of the sysroot, {len(archives)} archives; {len(names)} packages, each completed once")


def true_counters(records):
    """What /metrics must say of a ledger with these records, found out without kiln."""
    true, running, tried, mended = Counter(), {}, set(), set()
    for record in records:
        kind, package, work = record["record"], record.get("package"), (record.get("package"), record.get("task"))
        true["kiln_ledger_writes_total"] += 1
        if kind == "run_started" or (kind == "run_resumed" and record.get("afresh")):
            running, tried = {}, set()
        elif kind == "decided":
            mended = set()
        elif kind == "task_started":
            running[work] = record
        elif kind == "task_interrupted":
            running.pop(work, None)
        elif kind in ("task_finished", "task_failed") and work in running:
            started = running.pop(work)
            if not started.get("restore"):
                labels = f'{{phase="{started["phase"]}",task="{work[1]}"}}'
                true[f"kiln_task_attempts_total{labels}"] += 1
                true[f"kiln_task_retries_total{labels}"] += work in tried
                if kind == "task_failed":
                    tried.add(work)
                    true[f"kiln_task_failures_total{labels}"] += 1
                    true[f'kiln_errors_total{{category="{record["failure"]["category"]}"}}'] += 1
        elif kind == "action_finished":
            true[f'kiln_recovery_actions_total{{action="{record["action"]}"}}'] += 1
        elif kind == "package_damaged":
            # Merged again is not built again.
            (mended.add if record.get("archive", True) else mended.discard)(package)
        elif kind == "package_completed":
            true[f'kiln_packages_completed_total{{phase="{record["phase"]}"}}'] += package not in mended
            mended.discard(package)
        elif kind == "run_ended":
            true[f'kiln_runs_total{{state="{record["state"]}"}}'] += 1
    return true


COUNTED = (
    "kiln_ledger_writes_total", "kiln_runs_total", "kiln_packages_completed_total", "kiln_task_attempts_total",
    "kiln_task_failures_total", "kiln_task_retries_total", "kiln_errors_total", "kiln_recovery_actions_total",
)  # fmt: skip


def check_counters(build, metrics):
    """`metrics` is what a run wrote at its end (`--textfile`)."""
    build.read_counters(metrics.read_text())
    ours = {series: value for series, value in build.counters.items() if series.split("{")[0] in COUNTED and value}
    theirs = {series: float(value) for series, value in true_counters(build.records()).items() if value}
    differ = sorted(series for series in ours.keys() | theirs.keys() if ours.get(series) != theirs.get(series))
    for series in differ:
        say(f"{series}: the ledger's records say {theirs.get(series)}, /metrics {ours.get(series)}")
    demand(not differ, f"{len(differ)} counters are not what the ledger says")
    total = Counter()
    for series, value in ours.items():
        total[series.split("{")[0]] += int(value)
    say("true counters: " + ", ".join(f"{name} {value}" for name, value in sorted(total.items())))
