"""Failures and escalation: what failed, who is asked, what was done about it."""

from grafana import (
    COUNT, GREEN, GREY, MINUTES, ORANGE, RED, YELLOW,
    dashboard, graph, known, mapping, override, query, stat, steps, table, text, timeline,
)  # fmt: skip
from overview import BY, COLORED, ESCALATED, FAILED, FAILURES, GATE, LEVEL, LEVELS, SINCE, SMALL, gates

COMMANDS = """
A package **fails**; kiln finds out why, runs the recovery procedure of that category and tries again. That is level 1, and nobody
is needed. At level 2 it has failed again and again. At level 3 a **gate** is open: a person has to decide, and the build does not
go on there before.

On the machine of the build (the Instance), with the definition's directory:

| to | |
| --- | --- |
| see what is asked | `kiln gates` |
| see why it failed, what it printed | `kiln why PACKAGE`, `kiln log PACKAGE` |
| see what was done about it | `kiln history` |
| look around where it failed | `kiln gates shell GATE` |
| try again | `kiln resolve GATE retry` |
| do without it | `kiln resolve GATE skip` |
| end the run | `kiln resolve GATE abort` |

If `kiln run` has ended meanwhile, run it again: it goes on.
"""


def at_level(level):
    """How many there are, or were when kiln answered last; none if it did at all."""
    return f"count({ESCALATED} == {level}) or 0 * sum(last_over_time(kiln_series{{@}}[$__range]))"


def counted(metric, by):
    """For bars of a minute: how often. $__rate_interval is longer by a scrape, so that nothing is lost between two of them."""
    return f"sum by ({by}) (increase({metric}{{@}}[$__rate_interval])) > 0"


def in_range(metric, by):
    return f"sum by ({by}) (increase({metric}{{@}}[$__range]))"


NOW = [
    stat("Open gates by reason", "Requests for a person. critical_build_failure: a package of a critical phase has spent "
         "its attempts; system_resource_exhaustion: recovery could not free what is needed; security_violation: something "
         "was not what it should be. Those that were open when kiln answered last, if nothing answers now.", 10,
         query("sum by (reason) (last_over_time(kiln_gates_open{@}[$__range]))", "{{reason}}"),
         empty="nothing known", color="value", unit="none", thresholds=steps(GREY, (1, RED))),
    stat("Packages by escalation level", "Of those in which something failed in this run, as it is or was when kiln answered "
         "last: recovered, or skipped by answer (level 0), failed (1), failed as often as escalation_threshold says or given up "
         "(2), waiting for a person (3).", 8,
         query(at_level(0), "recovered"), query(at_level(1), "failed"), query(at_level(2), "repeatedly"),
         query(at_level(3), "person needed"),
         empty="nothing known", color="value", unit="none", thresholds=steps(GREY, (1, GREEN)),
         overrides=[override(name, thresholds=steps(GREY, (1, color)))
                    for name, color in (("failed", YELLOW), ("repeatedly", ORANGE), ("person needed", RED))]),
    stat("Failed attempts", "Attempts that failed in the time that is shown.", 3,
         query("sum(increase(kiln_task_failures_total{@}[$__range]))", "failed"),
         empty="nothing known", color="value", unit="none", decimals=0, thresholds=steps(GREY, (0.5, YELLOW))),
    stat("Failed part", "Failed attempts, as a part of all attempts in the time that is shown.", 3,
         query("sum(increase(kiln_task_failures_total{@}[$__range])) / "
               "sum(increase(kiln_task_attempts_total{@}[$__range]))", "failed"),
         empty="no attempts", color="value", unit="percentunit", decimals=1, thresholds=steps(GREY, (0, GREEN), (0.1, YELLOW), (0.5, RED))),
]  # fmt: skip

GATES = [
    table("Open gates", "What a person has to answer, by its number, on the machine of the build (the Instance), in "
          "the definition's directory: `kiln resolve GATE retry` (or skip, abort), with --state if that is not where kiln "
          "looks by itself. Without a package it is about the phase. The first 100, and "
          "those that were open when kiln answered last.", 24,
          {**GATE, "directory": "Directory", "state_directory": "State directory", "B": "For"},
          *gates("directory", "state_directory"),
          empty="None is known to be open. (Does nothing answer? Then ask `kiln gates`.)", sort="Gate", unit="none",
          overrides=[override("Gate", custom_width=60), *SMALL]),
]  # fmt: skip

RECOVERED = f"on (job, instance, phase, package) ({ESCALATED} == 0)"
PACKAGES = [
    table("Packages that failed in this run", "Recovered ones, too, up to 100, as they are or were when kiln answered last. Task and "
          "category are those of the last failure.", 15,
          FAILURES,
          query(f"{BY} ({ESCALATED} * {FAILED} or {ESCALATED} == 0)"),
          query(f"{BY} (time() - ({SINCE} * {FAILED} or {SINCE} and {RECOVERED}))"),
          empty="Nothing is known that has failed in this run.", sort="Level", unit="none",
          overrides=[LEVEL, *SMALL, override("Task", noValue=""), override("Category", noValue="")]),
    text("What to do", "How failures are handled, and which commands help.", 9, COMMANDS),
]  # fmt: skip

HISTORY = [
    timeline("Escalation level of packages", "A line for each package that failed: how it went from level to level, and to "
             "0 when it recovered.", 12,
             query("max by (package) (kiln_escalation_level{@})", "{{package}}"),
             empty="Nothing has failed in this time.", unit="none", mappings=mapping(LEVELS)),
    graph("Gates over time", "How many requests for a person were open. What rises here needs an answer before it can fall.", 12,
          query("sum by (reason) (kiln_gates_open{@})", "{{reason}}"),
          empty="There was no run in this time.", stepped=True, fill=20, **COUNT),
]  # fmt: skip

ATTEMPTS = [
    graph("Failed attempts by category", "How many failed, a minute at a time, by what kiln found to be the cause.", 12,
          query(counted("kiln_errors_total", "category"), "{{category}}"),
          empty="No attempt has failed in this time.", **MINUTES),
    graph("Retries by task", "Attempts after a failed one, a minute at a time.", 12,
          query(counted("kiln_task_retries_total", "task"), "{{task}}"),
          empty="Nothing was tried again in this time.", **MINUTES),
]  # fmt: skip

ACTIONS = in_range("kiln_recovery_actions_total", "action") + " > 0"
DONE = [
    table("Recovery actions", "What kiln did after failures, in the time that is shown, and how often an action could not "
          "do what it should.", 12,
          {"action": "Action", "A": "Done", "B": "Not possible"},
          query(ACTIONS), query(f"{in_range('kiln_recovery_action_failures_total', 'action')} and {ACTIONS}"),
          empty="No recovery was needed in this time.", sort="Done", unit="none", decimals=0,
          overrides=[override("Not possible", custom_cellOptions=COLORED, thresholds=steps("text", (0.5, ORANGE)))]),
    table("Notifications", "Who was told of rises of the escalation level, in the time that is shown. Mail is "
          "Alertmanager's, and counted there.", 12,
          {"channel": "Channel", "A": "Wanted", "B": "Told", "C": "Could not be told"},
          query(f"max by (channel) ({known('kiln_notification_channel_enabled{@}')})"),
          query(in_range("kiln_notifications_total", "channel")),
          query(in_range("kiln_notification_failures_total", "channel")),
          empty="Nothing has answered in this time.", unit="none", decimals=0,
          overrides=[
              override("Wanted", mappings=mapping({0: ("no", GREY), 1: ("yes", GREEN)}), custom_cellOptions=COLORED),
              override("Told", noValue="see Alertmanager"),
              override("Could not be told", noValue="see Alertmanager", custom_cellOptions=COLORED,
                       thresholds=steps("text", (0.5, RED))),
          ]),
]  # fmt: skip


def make():
    return dashboard(
        "failures", "Failures and escalation", "What failed, who is asked, what was done about it.",
        (4, *NOW), (5, *GATES), (13, *PACKAGES), (8, *HISTORY), (8, *ATTEMPTS), (9, *DONE),
    )  # fmt: skip
