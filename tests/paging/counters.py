"""Counters as Prometheus saw them, over kills, stops and starts, held against the ledgers.

`kiln_task_queue_duration_seconds` is only known not to go back: since when a task could have run is not in the ledger.
"""

import json
import math
import re
from collections import Counter, defaultdict

from builds import THRESHOLD
from checks import true_counters
from common import demand, say
from servers import until

NOT_IN_THE_LEDGER = "kiln_task_queue_duration_seconds"


def check(world):
    """no counter ever goes back, and what each has counted is what the ledger says"""
    beside, inside = world.builds
    written = len(beside.records())
    until(lambda: world.prometheus.has(f'kiln_ledger_writes_total{{instance="{beside.address}"}} == {written}'), "the end is not seen")
    seen = {build: samples(world.prometheus, build) for build in world.builds}
    for build, series in seen.items():
        for name, values in series.items():
            back = [(before, after) for (_, before), (_, after) in zip(values, values[1:]) if after < before]
            demand(not back, f"{build.name}: {name} went back: {back}")
    # All of it was there before anything had happened.
    start = min(values[0][0] for values in seen[beside].values())
    late = [name for name, values in seen[beside].items() if values[0] != (start, 0.0)]
    demand(not late, f"did not begin at 0 with the first scrape: {late}")
    demand(set(seen[inside]) == set(seen[beside]), f"one of the two serves more: {set(seen[inside]) ^ set(seen[beside])}")
    for build, series in seen.items():
        compare(build, {name: values[-1][1] for name, values in series.items()})


def samples(prometheus, build):
    """Of each series that only grows: all of them, as (time, value)."""
    kinds = {name: about[0]["type"] for name, about in prometheus.get("metadata").items()}
    found = {}
    for series in prometheus.query(f'{{__name__=~"kiln_.+",instance="{build.address}"}}[1d]'):
        labels = series["metric"]
        name = labels.pop("__name__")
        histogram = name.rpartition("_")[0]
        if kinds.get(name) == "counter" or kinds.get(histogram) == "histogram":
            found[written_out(name, labels)] = [(time, float(value)) for time, value in series["values"]]
    return found


def written_out(name, labels):
    shown = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()) if label not in ("job", "instance"))
    return f"{name}{{{shown}}}" if shown else name


def compare(build, seen):
    counted = {name: value for name, value in seen.items() if not name.startswith(NOT_IN_THE_LEDGER)}
    true = true_counters(build.records()) + the_rest(build, counted)
    differ = [name for name in counted.keys() | true.keys() if not math.isclose(counted.get(name, 0), true[name], rel_tol=1e-9)]
    for name in sorted(differ):
        say(f"{build.name}: {name}: {true[name]} by the ledger's records, {counted.get(name)} in Prometheus")
    demand(not differ, f"{build.name}: {len(differ)} counters are not what the ledger says")
    say(f"{build.name}: {len(counted)} counters are what the ledger says, {len([name for name in counted if true[name]])} of them not 0")


def the_rest(build, seen):
    """What `true_counters` leaves out; of histograms those buckets that were seen."""
    true, running, level, failures, answered = Counter(), {}, Counter(), Counter(), Counter()
    took, memory = defaultdict(list), defaultdict(list)

    def rises(package, to):
        for channel, least in (("system_log", 2), ("dashboard", 1)):
            true[f'kiln_notifications_total{{channel="{channel}"}}'] += level[package] < to >= least
        level[package] = to

    for elapsed, text in build.select("SELECT elapsed, record FROM records ORDER BY seq", []):
        record = json.loads(text)
        kind, package, task = record["record"], record.get("package"), record.get("task")
        if kind == "task_started":
            running[package, task] = elapsed, record
        elif kind == "task_interrupted":
            running.pop((package, task), None)
        elif kind in ("task_finished", "task_failed"):
            began, started = running.pop((package, task))
            usage, phase = record["usage"], started["phase"]
            true[f'kiln_task_cpu_seconds_total{{phase="{phase}"}}'] += usage["cpu"] / 1e9
            true["kiln_fetched_bytes_total"] += usage.get("fetched", 0)
            true["kiln_cache_requests_total"] += usage.get("cache_requests", 0)
            true["kiln_cache_hits_total"] += usage.get("cache_hits", 0)
            if not started.get("restore"):
                took[f'task="{task}"'].append((elapsed - began) / 1e9)
                memory[f'phase="{phase}"'] += [usage["peak_memory"]] if usage["peak_memory"] else []
                if kind == "task_failed":
                    failures[package] += 1
                    rises(package, 2 if failures[package] - answered[package] >= THRESHOLD else 1)
        elif kind == "gate_opened":
            rises(package, 3)
        elif kind == "gate_answered":
            level[build.package], answered[build.package] = 1, failures[build.package]
        elif kind == "package_completed":
            level[package] = failures[package] = answered[package] = 0
        elif kind == "action_finished":
            true[f'kiln_recovery_action_failures_total{{action="{record["action"]}"}}'] += record["result"] == "failed"
        true["kiln_checkpoints_total"] += kind == "checkpoint_taken"
        true["kiln_checkpoint_failures_total"] += kind == "checkpoint_failed"
    for name, kinds in (("kiln_task_duration_seconds", took), ("kiln_task_peak_memory_bytes", memory)):
        for label, values in kinds.items():
            true[f"{name}_count{{{label}}}"] = len(values)
            true[f"{name}_sum{{{label}}}"] = sum(values)
    for series in seen:
        if bucket := re.fullmatch(r'(\w+)_bucket\{le="(.+)",(\w+=".+")\}', series):
            name, bound, label = bucket.groups()
            values = (took if name == "kiln_task_duration_seconds" else memory)[label]
            true[series] = sum(value <= float(bound) for value in values)
    return true
