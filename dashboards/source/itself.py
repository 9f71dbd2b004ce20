"""kiln itself: is what it says durable and complete, and what does watching cost."""

from failures import counted
from grafana import (
    BLUE, COUNT, DASHED, GREEN, GREY, MINUTES, ORANGE, RED, dashboard, fixed, graph, known, mapping, override, query, stat, steps, table,
)  # fmt: skip
from overview import COLORED, last

# The invariant of src/observe/metrics.rs. Phases are those that have counters: of earlier definitions, too.
BOUND = (
    "350 + 60 * count by (instance) (kiln_task_peak_memory_bytes_count{@}) + 4 * sum by (instance) (kiln_job_slots{@}) "
    "+ 4 * clamp_max(count by (instance) (kiln_escalation_level{@}) or 0 * sum by (instance) (kiln_job_slots{@}), 100)"
)


def age(metric):
    """At the moment of the scrape: what has passed since is Prometheus's, not kiln's."""
    return f"clamp_min(max by (instance) (timestamp({metric}{{@}}) - {metric}{{@}}), 0)"


HEALTH = [
    stat("Ledger durable", "How far what is on disk lags behind what has happened; it is synced four times a second. "
         "Seconds: the disk is slow, or does not work, and the run pauses.", 4,
         query(age("kiln_ledger_durable_timestamp_seconds"), "{{instance}}"),
         empty="nobody writes the ledger", unit="s", decimals=1, thresholds=steps(GREY, (0, GREEN), (2, ORANGE), (10, RED))),
    stat("Collectors", "Readers of live facts (filesystems, memory, pressure, process) that work.", 4,
         query("sum by (instance) (kiln_collector_success{@}) / count by (instance) (kiln_collector_success{@})", "{{instance}}"),
         empty="nothing answers", unit="percentunit", decimals=0, thresholds=steps(GREY, (0, ORANGE)),
         mappings=mapping({1: ("all work", GREEN)})),
    stat("Series of bound", "Series that kiln exports, as a part of the most that it promises, whatever the size of the "
         "definition.", 4,
         query(f"sum by (instance) (kiln_series{{@}}) / ({BOUND})", "{{instance}}"),
         empty="nothing answers", unit="percentunit", decimals=0, thresholds=steps(GREY, (0, GREEN), (1.0001, RED))),
    stat("Last checkpoint", "How long ago the last one was taken that is known of.", 4,
         query(f"clamp_min(max by (instance) (time() - {known('kiln_checkpoint_last_timestamp_seconds{@}')}), 0)", "{{instance}}"),
         empty="none known", color="none", unit="dthms"),
    stat("Not covered", "Packages that were completed and that no checkpoint covers yet: after a power cut their files are "
         "read before they are trusted.", 4, last("kiln_checkpoint_uncovered_packages"),
         empty="nothing known", color="none", unit="none"),
    stat("Up since", "When this kiln was started.", 4, query("1000 * max by (instance) "
         "(process_start_time_seconds{@})", "{{instance}}"),
         empty="nothing answers", color="none", unit="dateTimeAsIsoNoDateIfToday"),
]  # fmt: skip

IDENTITY = [
    table("Run and version", "Which run is shown, where its definition is, and which kiln answers, or answered last.", 18,
          {"build_id": "Run", "definition": "Definition", "directory": "Directory", "state_directory": "State directory",
           "definition_digest": "Digest",
           "version": "kiln", "revision": "Revision", "rustversion": "Rust"},
          query("max by (build_id, definition, directory, state_directory, definition_digest, version, revision, rustversion) "
                f"({known('kiln_run_info{@}')} * on (job, instance) group_left (version, revision, rustversion) "
                f"{known('kiln_build_info{@}')})"),
          empty="There was no run in this time.", unit="none",
          overrides=[override("Run", custom_width=215), override("kiln", custom_width=80), override("Rust", custom_width=90)]),
    table("Permissions", "What kiln may do on this machine; `kiln doctor` says how to grant what is missing, and what is "
          "done without.", 6,
          {"permission": "Permission", "A": "Granted"}, query("min by (permission) (kiln_permission_granted{@})"),
          empty="Nothing answers.", unit="none",
          overrides=[override("Granted", mappings=mapping({0: ("no", RED), 1: ("yes", GREEN)}), custom_cellOptions=COLORED)]),
]  # fmt: skip

LEDGER = [
    graph("Records", "What is written to the ledger, a second.", 8,
          query("sum(rate(kiln_ledger_writes_total{@}[$__rate_interval]))", "records"),
          unit="wps", min=0),
    graph("Not yet on disk", "How far the disk lags behind. While it cannot be written, the run is paused.", 8,
          query(age("kiln_ledger_durable_timestamp_seconds"), "lag"),
          empty="Nobody wrote the ledger in this time.", unit="s", min=0),
    graph("What went wrong", "Tries to write or sync the ledger that failed, checkpoints that could not be taken, messages "
          "that were dropped because the journal did not take them.", 8,
          query("sum(increase(kiln_ledger_write_failures_total{@}[$__rate_interval]))", "ledger writes"),
          query("sum(increase(kiln_checkpoint_failures_total{@}[$__rate_interval]))", "checkpoints"),
          query("sum(increase(kiln_log_messages_dropped_total{@}[$__rate_interval]))", "messages dropped"),
          **COUNT),
]  # fmt: skip

CHECKPOINTS = [
    graph("Checkpoints taken", "A minute at a time: every so many packages (frequency), and at the end of each phase.", 8,
          query(counted("kiln_checkpoints_total", "instance"), "taken"),
          empty="None was taken in this time.", **MINUTES, color=fixed(BLUE)),
    graph("Age of the last checkpoint", "Of the last one, and of the last of which everything was read back and was right.", 8,
          query(age("kiln_checkpoint_verified_timestamp_seconds"), "verified"),
          query(age("kiln_checkpoint_last_timestamp_seconds"), "last"),
          empty="There was none yet in this time.", unit="s", min=0),
    graph("Packages not covered", "Completed ones that no checkpoint covers yet.", 8,
          query("sum(kiln_checkpoint_uncovered_packages{@})", "packages"),
          stepped=True, **COUNT),
]  # fmt: skip

SCRAPES = [
    graph("Scrapes", "How long Prometheus waited for an answer.", 8, query("max by (instance) "
          "(scrape_duration_seconds{@})", "scrape"),
          empty="Not scraped in this time.", unit="s", min=0),
    graph("Time of collectors", "How long each took to read live facts, at each scrape.", 8,
          query("max by (collector) (kiln_collector_duration_seconds{@})", "{{collector}}"),
          fill=0, unit="s", min=0),
    graph("Series against bound", "What kiln exports, and the most that it promises: 350, 60 for each phase, 4 for each "
          "job slot and 4 for each of the first 100 packages that failed.", 8,
          query("sum by (instance) (kiln_series{@})", "series"), query(BOUND, "bound"),
          **COUNT,
          overrides=[override("bound", color=fixed(RED), custom_fillOpacity=0, custom_lineStyle=DASHED)]),
]  # fmt: skip

PROCESS = [
    graph("CPU of kiln", "Of the process itself, without the tasks; 100 % is one core.", 8,
          query("sum by (instance) (rate(process_cpu_seconds_total{@}[$__rate_interval]))", "kiln"),
          unit="percentunit", min=0),
    graph("Memory of kiln", "Resident memory of the process itself, without the tasks.", 8,
          query("sum by (instance) (process_resident_memory_bytes{@})", "resident"),
          unit="bytes", min=0),
    graph("Threads and files", "Threads, and open file descriptors.", 8,
          query("sum by (instance) (process_threads{@})", "threads"),
          query("sum by (instance) (process_open_fds{@})", "open files"),
          **COUNT),
]  # fmt: skip


def make():
    return dashboard(
        "itself", "kiln itself", "Is what it says durable and complete, and what does watching cost.",
        (4, *HEALTH), (6, *IDENTITY), (7, *LEDGER), (7, *CHECKPOINTS), (7, *SCRAPES), (7, *PROCESS),
    )  # fmt: skip
