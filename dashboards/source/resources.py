"""Resources against requirements: will disk and memory do, and what do tasks wait for."""

from durations import summary
from grafana import (
    COUNT, DASHED, GREEN, GREY, ORANGE, RED, bars, coded, dashboard, fixed, graph, known, override, query, stat, steps, table,
)  # fmt: skip
from overview import COLORED, IN_ORDER, PHASE_STATES, STATE

FREE = {"disk": 'kiln_filesystem_avail_bytes{@, role="state"}', "memory": "kiln_memory_available_bytes{@}"}
# Those whose requirement still matters.
UNFINISHED = 'on (job, instance, phase) (kiln_phase_state{@, state=~"pending|running"} == 1)'


def needed(resource, of=str):
    selector = f'kiln_phase_required_bytes{{@, resource="{resource}"}}'
    return f"({of(selector)} > 0)"


def spare(resource):
    free = f"on (job, instance) group_left max by (job, instance) ({FREE[resource]})"
    return f"max by (phase) (- {needed(resource)} + {free} and {UNFINISHED})"


def against(title, says, resource, *free):
    """What is free, and as dashed lines what phases need that have not finished."""
    dashed = override("^needed by .*", custom_lineStyle=DASHED, custom_fillOpacity=0, color=fixed(RED))
    dashed["matcher"]["id"] = "byRegexp"
    return graph(title, says, 12, *free, query(f"max by (phase) ({needed(resource)} and {UNFINISHED})", "needed by {{phase}}"),
                 fill=0, unit="bytes", min=0, overrides=[dashed])  # fmt: skip


REQUIREMENTS = [
    table("Requirements of phases", "What must be free when a phase starts, and how much more than that is free now. Where "
          "it is not, the first phase does not start (exit status 5), and a later one waits at a gate "
          "(system_resource_exhaustion). What is spare is not known while nothing answers.", 24,
          {"phase": "Phase", "B": "State",
           "C": "Disk needed", "D": "Disk to spare", "E": "Memory needed", "F": "Memory to spare"},
          query(IN_ORDER),
          query(coded("kiln_phase_state", "phase", *PHASE_STATES, past=True)),
          query(f"max by (phase) {needed('disk', known)}"), query(spare("disk")),
          query(f"max by (phase) {needed('memory', known)}"), query(spare("memory")),
          empty="There was no run in this time.", unit="bytes",
          overrides=[
              STATE, *(override(f"{of} needed", noValue="nothing") for of in ("Disk", "Memory")),
              *(override(f"{of} to spare", noValue="", custom_cellOptions=COLORED, thresholds=steps(RED, (0, GREEN)))
                for of in ("Disk", "Memory")),
          ]),
]  # fmt: skip

LINES = [
    against("Free disk against requirements", "Below a dashed line that phase cannot start. What counts is the filesystem "
            "of the state directory; often all of these are the same one.", "disk", query("min by (role) "
            "(kiln_filesystem_avail_bytes{@})", "{{role}}")),
    against("Available memory against requirements", "Below a dashed line that phase cannot start. Available: what can be "
            "used without swapping, within the limit of the control group.", "memory",
            query("min(kiln_memory_available_bytes{@})", "available")),
]  # fmt: skip

USE = [
    bars("Filesystems in use", "By what is on them; several may be the same one.", 8,
         query("max by (role) (1 - kiln_filesystem_avail_bytes{@} / kiln_filesystem_size_bytes{@})", "{{role}}"),
         empty="Nothing answers.", unit="percentunit", decimals=0, min=0, max=1,
         thresholds=steps(GREY, (0, GREEN), (0.9, ORANGE), (0.97, RED))),
    stat("Free inodes", "Files that can still be made. 0 where the filesystem has no fixed number of them (btrfs).", 8,
         query("min by (role) (kiln_filesystem_free_inodes{@})", "{{role}}"),
         empty="Nothing answers.", color="value", unit="short",
         thresholds=steps(GREY, (1, RED), (10_000, ORANGE), (100_000, GREEN))),
    graph("Job slots", "Tasks that hold a slot, of those that may run at once. Fetches and merges have slots of their own.", 8,
          query("sum(kiln_job_slots_in_use{@})", "in use"), query("sum(kiln_job_slots{@})", "slots"),
          stepped=True, fill=30, **COUNT,
          overrides=[override("slots", color=fixed(GREY), custom_fillOpacity=0, custom_lineStyle=DASHED)]),
]  # fmt: skip

WAITING = [
    graph("Pressure: some tasks wait", "Part of the last 10 seconds in which at least one task of the host waited for CPU, "
          "memory or I/O. A build that uses its machine has CPU pressure; memory pressure slows everything.", 12,
          query('max by (resource) (kiln_pressure_ratio{@, kind="some"})', "{{resource}}"),
          empty="The kernel does not tell (no PSI), or nothing answered.", unit="percentunit", min=0, max=1),
    graph("Pressure: all tasks wait", "Part of the last 10 seconds in which all tasks waited that were not idle: nothing "
          "was done meanwhile.", 12,
          query('max by (resource) (kiln_pressure_ratio{@, kind="full"})', "{{resource}}"),
          empty="The kernel does not tell (no PSI), or nothing answered.", unit="percentunit", min=0, max=1),
]  # fmt: skip

TASKS = [
    graph("Memory of running tasks", "By phase.", 12, query("sum by (phase) (kiln_tasks_memory_bytes{@})", "{{phase}}"),
          empty="No task ran in this time.", stacked=True, unit="bytes", min=0),
    summary("Peak memory of attempts", "Of those that ended in the time that is shown. Quantiles are read from buckets "
            "that double from 16 MiB, and so are estimates.",
            "kiln_task_peak_memory_bytes", "phase", "No attempt has ended in this time.", "bytes"),
]  # fmt: skip

ASKED, HAD = (f"sum(increase(kiln_cache_{what}_total{{@}}[$__range]))" for what in ("requests", "hits"))
SOURCES = [
    graph("CPU used by tasks", "As cores, by phase; counted when a task ends, so that long ones stand out.", 8,
          query("sum by (phase) (rate(kiln_task_cpu_seconds_total{@}[$__rate_interval]))", "{{phase}}"),
          empty="No task ended in this time.", stacked=True, unit="none", min=0),
    graph("Sources over the network", "What came from mirrors; nothing while the cache has everything.", 8,
          query("sum(rate(kiln_fetched_bytes_total{@}[$__rate_interval]))", "fetched"),
          unit="binBps", min=0),
    stat("Source cache", "Sources that were asked for in the time that is shown, and how many of them the cache had.", 8,
         query(ASKED, "asked for"), query(HAD, "in the cache"), query(f"{HAD} / {ASKED}", "part"),
         empty="nothing known", color="none", unit="none", decimals=0,
         overrides=[override("part", unit="percentunit", noValue="none asked for")]),
]  # fmt: skip


def make():
    return dashboard(
        "resources", "Resources against requirements", "Will disk and memory do, and what do tasks wait for.",
        (6, *REQUIREMENTS), (8, *LINES), (7, *USE), (8, *WAITING), (8, *TASKS), (7, *SOURCES),
    )  # fmt: skip
