"""Durations and queue times: where the time goes, and whether expectations hold."""

from failures import counted
from grafana import BLUE, MINUTES, ORANGE, bars, codes, coded, dashboard, fixed, graph, override, query, steps, table, timeline
from overview import BAND, ELAPSED, EXPECTED, PHASE_STATES, PHASE_TIME, estimates


def quantile(part, metric, by):
    """0 and more: where nothing ended there is none."""
    return f"histogram_quantile({part}, sum by (le, {by}) (increase({metric}_bucket{{@}}[$__range]))) >= 0"


def summary(title, says, metric, by, empty, unit):
    """Of a histogram, in the time that is shown."""
    total, count = (f"sum by ({by}) (increase({metric}_{part}{{@}}[$__range]))" for part in ("sum", "count"))
    quantiles = [query(quantile(part, metric, by)) for part in (0.5, 0.9, 0.99)]
    return table(title, says, 12, {by: by.title(), "A": "Attempts", "B": "Mean", "C": "p50", "D": "p90", "E": "p99"},
                 query(f"{count} > 0"), query(f"{total} / ({count} > 0)"), *quantiles, empty=empty, sort="Mean", unit=unit,
                 decimals=1, overrides=[override("Attempts", unit="none", decimals=0)])  # fmt: skip


def mean(metric):
    total, count = (f"sum by (task) (rate({metric}_{part}{{@}}[$__rate_interval]))" for part in ("sum", "count"))
    return query(f"{total} / ({count} > 0)", "{{task}}")


EXPECTATIONS = [
    timeline("Phases over time", "When each phase waited, ran and finished. WAS RUNNING: its runner was gone.", 12,
             query(coded("kiln_phase_state", "phase", *PHASE_STATES), "{{phase}}"),
             empty="There was no run in this time.", unit="none", mappings=codes(*PHASE_STATES)),
    graph("Expected end over time", "When the run was expected to end: a band from p50 to p90. Flat: the expectation "
          "holds; rising: it slips. Unknown while the run is paused or has no runner.", 12,
          *estimates("kiln_run_expected_completion_timestamp_seconds", "1000 * "),
          empty="Not known in this time: no run, no task timed yet, paused, or no runner.", fill=0, unit="dateTimeAsIsoNoDateIfToday",
          overrides=BAND),
]  # fmt: skip

PACE = [
    graph("Running tasks beyond what is expected", "Of each phase the task that is latest: how long it has run, less how "
          "long it is expected to take. Below the line is the rest that is expected, above it the delay. The overview has "
          "each task.", 12,
          query(f"max by (phase) ({ELAPSED} - {EXPECTED})", "{{phase}}"),
          empty="No task with a known duration ran in this time.", unit="s", thresholds=steps("transparent", (0, ORANGE))),
    graph("Packages built", "A minute at a time, by phase. Reused ones are not built.", 12,
          query(counted("kiln_packages_completed_total", "phase"), "{{phase}}"),
          empty="No package was built in this time.", **MINUTES),
]  # fmt: skip

TABLES = [
    summary("What attempts took", "Of those that ended in the time that is shown, failed ones included. Quantiles are read "
            "from buckets (0.1 s, 1 s, 5 s, 15 s, 1 min, …), and so are estimates.",
            "kiln_task_duration_seconds", "task", "No attempt has ended in this time.", "s"),
    summary("How long tasks waited", "Tasks that could have run, and had to wait for a slot. Where waits are long, more "
            "job slots (or a larger machine) would help.",
            "kiln_task_queue_duration_seconds", "task", "No task was started in this time.", "s"),
]  # fmt: skip

TRENDS = [
    graph("Mean duration over time", "Of the attempts that ended around that time.", 12, mean("kiln_task_duration_seconds"),
          empty="No attempt has ended in this time.", style="points", unit="s", min=0),
    graph("Mean wait over time", "Of the tasks that were started around that time.", 12, mean("kiln_task_queue_duration_seconds"),
          empty="No task was started in this time.", style="points", unit="s", min=0),
]  # fmt: skip

PHASES = [
    bars("Time of each phase", "From its start to its end, or until now while a runner is there.", 12, query(f"sort_desc({PHASE_TIME})", "{{phase}}"),
         empty="No phase is known that has ended, and none runs.", unit="s", min=0, color=fixed(BLUE)),
    bars("CPU time of each phase", "User and system, of the tasks that ended in the time that is shown. More than the "
         "phase took: it used several cores.", 12,
         query("sort_desc(sum by (phase) (increase(kiln_task_cpu_seconds_total{@}[$__range])))", "{{phase}}"),
         empty="No task has ended in this time.", unit="s", min=0, color=fixed(BLUE)),
]  # fmt: skip


def make():
    return dashboard(
        "durations", "Durations and queue times", "Where the time goes, and whether expectations hold.",
        (8, *EXPECTATIONS), (8, *PACE), (9, *TABLES), (8, *TRENDS), (6, *PHASES),
    )  # fmt: skip
