"""Run overview: is somebody needed, does it run, how far is it, when is it done."""

from grafana import (
    BLUE, COUNT, GREEN, GREY, NEVER, ORANGE, RED, YELLOW,
    bars, codes, coded, dashboard, fixed, graph, known, mapping, override, painted, query, stat, steps, table,
)  # fmt: skip

RUN_STATES = ("idle", "running", "paused", "completed", "error")
PHASE_STATES = ("pending", "running", "completed", "failed", "skipped")
# From bottom to top of a stack.
PACKAGE_STATES = ("completed", "running", "pending", "skipped", "failed")
TASK_STATES = ("completed", "running", "ready", "backoff", "blocked", "skipped", "failed")
LEVELS = {0: ("0 recovered", GREEN), 1: ("1 failed", YELLOW), 2: ("2 repeatedly", ORANGE), 3: ("3 person needed", RED)}
SEVERITIES = {"info": ("info", BLUE), "warning": ("warning", ORANGE), "critical": ("critical", RED)}

# Phases in their order; what has not started comes last. A table whose first query this is has its rows so.
STARTED = known("kiln_phase_start_timestamp_seconds{@}")
PENDING = known('kiln_phase_state{@, state="pending"}')
IN_ORDER = f"sort(max by (phase) ({STARTED} or on (job, instance, phase) {NEVER} * ({PENDING} == 1)))"
# Until now, if it has not finished, and somebody works on it.
PHASE_TIME = (
    f"max by (phase) (({known('kiln_phase_completion_timestamp_seconds{@}')} "
    "or 0 * kiln_phase_start_timestamp_seconds{@} + time() and on (job, instance) kiln_runner_up{@} == 1) "
    f"- {STARTED})"
)
ELAPSED = "(time() - kiln_active_task_start_timestamp_seconds{@})"
EXPECTED = "kiln_active_task_expected_duration_seconds{@}"
# Of packages that failed; by what a table of them has.
BY = "max by (phase, package, task, category)"
SINCE = known("kiln_escalation_timestamp_seconds{@}")
ESCALATED = known("kiln_escalation_level{@}")
FAILED = f"on (job, instance, phase, package) group_right () {known('kiln_failed_package_info{@}')}"
GATE = {
    "gate": "Gate", "package": "Package", "phase": "Phase", "task": "Task", "category": "Category", "reason": "Reason",
}  # fmt: skip
# 0 of what nobody is there to raise is not good news, but the last: -1.
GATES = "sum by (instance) (last_over_time(kiln_gates_open{@}[$__range]))"
GATES = f"sum by (instance) (kiln_gates_open{{@}}) or {GATES} > 0 or {GATES} - 1"

FAILURES = {"A": "Level", "package": "Package", "phase": "Phase", "task": "Task", "category": "Category", "B": "For"}
COLORED = {"type": "color-text"}
FILLED = {"type": "color-background", "mode": "basic"}
BAR = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
LEVEL = override("Level", mappings=mapping(LEVELS), custom_cellOptions=FILLED, custom_width=130, custom_align="left")
FOR = override("For", unit="dthms", noValue="", custom_width=80)
# What has short names is narrow.
SMALL = [FOR, override("Phase", custom_width=120), override("Task", custom_width=85)]
STATE = override(
    "State", unit="none", mappings=codes(*PHASE_STATES), custom_cellOptions=COLORED, custom_width=130, custom_align="left"
)
UNKNOWN = "unknown, paused, or no runner"
BAND = [
    override("9 of 10 (p90)", color=fixed("light-blue"), custom_fillBelowTo="likely (p50)"),
    override("likely (p50)", color=fixed(BLUE)),
]


def estimates(metric, factor=""):
    """Both ends of the band, the likely one first."""
    ends = (("likely (p50)", "p50"), ("9 of 10 (p90)", "p90"))
    return [query(f'{factor}{metric}{{@, estimate="{estimate}"}}', legend) for legend, estimate in ends]


def short(queries):
    """For names that stand beside large figures."""
    return [{**each, "legendFormat": each["legendFormat"].split(" (")[0]} for each in queries]


def gates(*where):
    """Open ones with labels of the run, and since when they wait: of one about a phase that is not known."""
    asked = known("kiln_gate_info{@}")
    by = f"max by (gate, package, phase, task, category, reason{''.join(f', {label}' for label in where)})"
    asked = f"{asked} * on (job, instance) group_left ({', '.join(where)}) {known('kiln_run_info{@}')}"
    return query(f"{by} ({asked})"), query(f"{by} ({asked} * 0 + on (job, instance, phase, package) group_left () (time() - {SINCE}))")


def last(metric):
    """What was known last, if nothing answers now."""
    return query(f"sum by (instance) (last_over_time({metric}{{@}}[$__range]))", "{{instance}}")


ALL_PACKAGES = f"sum by (phase) ({known('kiln_packages{@}')})"


def of_packages(state):
    selector = f'kiln_packages{{@, state="{state}"}}'
    return f"sum by (phase) ({known(selector)})"


def stack(metric, states):
    return [query(f'sum({metric}{{@, state="{state}"}})', state) for state in states]


RUN = [
    stat("Definition", "What is built: the name of the definition.", 3,
         query(f"max by (definition) ({known('kiln_run_info{@}')})", "{{definition}}"),
         empty="no run yet", color="none", text="name", unit="none"),
    stat("Run", "The state of the run, the last known one if nothing answers now. WAS RUNNING: its runner is gone. PAUSED: only a "
         "person can go on (see Gates), or the ledger cannot be written.", 4,
         query(coded("kiln_run_state", "instance", *RUN_STATES, past=True), "{{instance}}"),
         empty="nothing known", unit="none", mappings=codes(*RUN_STATES)),
    stat("Runner", "Whether there is a process that builds. DOWN: it is gone, or does not answer, although the run was RUNNING; "
         "`kiln run` goes on where it was. Without a sidecar (`kiln serve`) nothing answers once `kiln run` has ended.", 3,
         query("2 * sum by (instance) (kiln_runner_up{@} or 0 * up{@}) - "
               'sum by (instance) (last_over_time(kiln_run_state{@, state="running"}[$__range]))', "{{instance}}"),
         empty="not scraped", unit="none",
         mappings=mapping({-1: ("DOWN", RED), 0: ("none", GREY), 1: ("alive", GREEN), 2: ("alive", GREEN)})),
    stat("Gates", "Open requests for a person. `kiln gates` shows them, `kiln resolve` answers them; the build does not go "
         "on there by itself. Grey: there was none when kiln answered last.", 3, query(GATES, "{{instance}}"),
         empty="nothing known", unit="none", thresholds=steps(GREY, (0, GREEN), (1, RED)),
         mappings=mapping({-1: ("none", GREY), 0: ("none", GREEN)})),
    bars("Progress", "Part of the work that is done, weighted by how long it is expected to take. What failed stays undone.", 3,
         last("kiln_run_progress_ratio"),
         empty="no run yet", size=30, unit="percentunit", decimals=0, min=0, max=1, thresholds=steps(GREY, (0, BLUE), (1, GREEN))),
    stat("Time left", "If nothing (else) fails: as likely more as less, and enough nine times out of ten. Unknown "
         "until a task was timed, while only a person can go on, and while there is no runner.", 4,
         *short(estimates("kiln_run_estimated_remaining_seconds")),
         empty=UNKNOWN, color="none", unit="dthms"),
    stat("Ends at", "When the run is expected to end, or has ended. Unknown as its time left is.", 4,
         *short(estimates("kiln_run_expected_completion_timestamp_seconds", "1000 * ")),
         empty=UNKNOWN, color="none", unit="dateTimeAsIsoNoDateIfToday"),
]  # fmt: skip

TROUBLE = [
    table("Open gates", "What a person has to answer, by its number, on the machine of the build (the Instance): "
          "`kiln resolve GATE retry` (or skip, abort). Without a package it is about the phase. The first 100, and those that "
          "were open when kiln answered last.", 14,
          {**GATE, "B": "For"}, *gates(),
          empty="None is known to be open. (Does nothing answer? Then ask `kiln gates`.)", sort="Gate", unit="none",
          overrides=[override("Gate", custom_width=60), *SMALL]),
    table("Firing alerts", "Alerts about this kiln, and since when what they watch is so. The runbook is named in the "
          "message and in Alertmanager.", 10,
          {"severity": "Severity", "alertname": "Alert", "package": "Package", "A": "For"},
          query("max by (alertname, severity, package) (time() - "
                '(ALERTS_FOR_STATE{@} and ignoring (alertstate) ALERTS{@, alertstate="firing"}))'),
          empty="No alert is firing, if Prometheus has kiln's rules.", sort="For", unit="none",
          overrides=[FOR, override("Package", custom_width=130),
                     override("Severity", mappings=mapping(SEVERITIES), custom_cellOptions=COLORED, custom_width=85)]),
]  # fmt: skip

NOW = [
    table("What failed", "Packages that failed in this run and have not recovered, or had not when kiln answered last, and since "
          "when they are at this level. `kiln why PACKAGE` says why, `kiln log PACKAGE` what was printed.", 12,
          FAILURES,
          query(f"{BY} ({ESCALATED} * {FAILED})"), query(f"{BY} (time() - {SINCE} * {FAILED})"),
          empty="Nothing is known that has failed and not recovered. (Does nothing answer? Then ask `kiln history`.)",
          sort="Level", unit="none",
          overrides=[
              LEVEL, *SMALL,
              override("Package", links=[{
                  "title": "Failures and escalation", "targetBlank": False,
                  "url": "/d/kiln-failures?${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&"
                  "${__url_time_range}"}]),
          ]),
    table("Running tasks", "What runs now, the longest first, how long it is expected to take in all, and how much of that "
          "has passed.", 12,
          {"package": "Package", "task": "Task", "phase": "Phase", "A": "Running for", "B": "Expected", "C": "Of expected"},
          query(f"max by (phase, package, task) {ELAPSED}"),
          query(f"max by (phase, package, task) ({EXPECTED})"),
          query(f"max by (phase, package, task) ({ELAPSED} / {EXPECTED})"),
          empty="Nothing is running: see Run, Runner and Gates.", sort="Running for", unit="none",
          overrides=[
              *SMALL, override("Running for", unit="dthms", custom_width=105),
              override("Expected", unit="dthms", noValue="unknown", custom_width=90),
              override("Of expected", unit="percentunit", decimals=0, noValue="unknown", min=0, max=2, custom_cellOptions=BAR,
                       custom_width=200, thresholds=steps(BLUE, (1.5, ORANGE), (3, RED))),
          ]),
]  # fmt: skip

PROGRESS = [
    table("Phases", "In their order, as they are or were when kiln answered last; WAS RUNNING: the runner is gone. "
          "Done: packages that are completed, built or reused. A phase is SKIPPED if something in it was left out, by answer or by selection.", 12,
          {"phase": "Phase", "B": "State", "C": "Done", "D": "Packages", "E": "Failed", "F": "Skipped", "G": "Took"},
          query(IN_ORDER),
          query(coded("kiln_phase_state", "phase", *PHASE_STATES, past=True)),
          query(f"{of_packages('completed')} / {ALL_PACKAGES}"), query(ALL_PACKAGES),
          query(of_packages("failed")), query(of_packages("skipped")),
          query(PHASE_TIME),
          empty="There was no run in this time.", unit="none",
          overrides=[
              STATE,
              override("Done", unit="percentunit", decimals=0, min=0, max=1, custom_cellOptions=BAR, custom_width=200,
                       thresholds=steps(BLUE, (1, GREEN))),
              override("Packages", custom_width=90), override("Skipped", custom_width=80),
              override("Failed", custom_width=65, custom_cellOptions=COLORED, thresholds=steps("text", (1, RED))),
              override("Took", unit="dthms", noValue="", custom_width=85),
          ]),
    graph("Packages by state", "All packages of the run. Failed: their attempts are spent. Skipped: by answer, or because "
          "of what failed.", 12,
          *stack("kiln_packages", PACKAGE_STATES),
          empty="There was no run in this time.", stacked=True, **COUNT, overrides=painted(PACKAGE_STATES)),
]  # fmt: skip

HISTORY = [
    graph("Progress over time", "Part of the work that is done. Flat: nothing is being completed.", 8,
          query("kiln_run_progress_ratio{@}", "progress"),
          empty="There was no run in this time.", unit="percentunit", min=0, max=1, color=fixed(BLUE)),
    graph("Time left over time", "What was expected to be left: a band from p50 to p90. It falls to 0 as time passes; "
          "where it rises, something took longer than expected, or failed.", 8,
          *estimates("kiln_run_estimated_remaining_seconds"),
          empty="Not known in this time: no run, no task timed yet, paused, or no runner.", fill=0, unit="s", min=0, overrides=BAND),
    graph("Tasks by state", "Ready: waits for a job slot. Backoff: waits for its next attempt. Blocked: waits for other "
          "tasks.", 8,
          *stack("kiln_tasks", TASK_STATES),
          empty="There was no run in this time.", stacked=True, **COUNT, overrides=painted(TASK_STATES)),
]  # fmt: skip

def make():
    return dashboard(
        "overview", "Run overview", "Is somebody needed, does it run, how far is it, when is it done.",
        (4, *RUN), (6, *TROUBLE), (8, *NOW), (8, *PROGRESS), (8, *HISTORY),
    )  # fmt: skip
