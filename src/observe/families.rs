//! Every metric family, named once: its name, type, labels and help.
//!
//! Owns: the table. Does not know: values (see `metrics`).

use prometheus::proto::MetricType;

/// A metric family.
#[derive(Debug, Clone, Copy)]
pub struct FamilyInfo {
    /// As scraped.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// Names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// One line for people.
    pub help: &'static str,
}

macro_rules! families {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        /// Names a metric family; the order is the order of the exposition.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "see each family's help")]
        pub enum Family { $($id),* }

        /// Every metric family, in the order of `Family`.
        pub const FAMILIES: &[FamilyInfo] = &[$(FamilyInfo {
            name: $name,
            kind: MetricType::$kind,
            labels: &[$($label),*],
            help: $help,
        }),*];
    };
}

families! {
    BuildInfo GAUGE "kiln_build_info" ["version", "revision", "rustversion"]
        "Which kiln answers here; always 1.";
    RunInfo GAUGE "kiln_run_info" ["build_id", "definition", "definition_digest", "directory", "state_directory"]
        "The current run, or the last; always 1. Its build_id is what the journal, log files and documents call the run.";
    RunState GAUGE "kiln_run_state" ["state"]
        "1 for the state that the run is in, as its records say: of a runner that was killed it stays running, see kiln_runner_up. Paused also while nothing can be recorded.";
    RunProgress GAUGE "kiln_run_progress_ratio" []
        "Part of the wanted work that is done, weighted by what each task is expected to take; what failed or was skipped stays undone.";
    RunStart GAUGE "kiln_run_start_timestamp_seconds" []
        "When the run started; absent before the first.";
    RunLastProgress GAUGE "kiln_run_last_progress_timestamp_seconds" []
        "When a task or package of the run was last completed: while the run is running, the time since then is how long nothing has succeeded.";
    RunCompletion GAUGE "kiln_run_completion_timestamp_seconds" []
        "When the run ended; absent while it has not.";
    RunRemaining GAUGE "kiln_run_estimated_remaining_seconds" ["estimate"]
        "Simulated time to the end of the run if nothing fails: p50 is as likely too short as too long, p90 long enough nine times out of ten. 0 after the end; absent while no duration is known, and while only a person can go on.";
    RunExpected GAUGE "kiln_run_expected_completion_timestamp_seconds" ["estimate"]
        "When the run is expected to end, by the same estimates, or has ended; absent while unknown or paused.";
    Runs COUNTER "kiln_runs_total" ["state"]
        "Runs that ended like this, over the ledger's life; paused ones have not ended.";
    PhaseState GAUGE "kiln_phase_state" ["phase", "state"]
        "1 for the state that the phase is in, of this run.";
    PhaseStart GAUGE "kiln_phase_start_timestamp_seconds" ["phase"]
        "When the phase started in this run; absent before.";
    PhaseCompletion GAUGE "kiln_phase_completion_timestamp_seconds" ["phase"]
        "When the phase finished in this run, however it did; absent before.";
    Packages GAUGE "kiln_packages" ["phase", "state"]
        "Packages of the run in this state; completed ones were built or reused. Absent where only another definition than the run's is known.";
    Tasks GAUGE "kiln_tasks" ["phase", "state"]
        "Tasks (fetch, unpack, configure, build, check, install, merge) of the run in this state; backoff waits for its next attempt. Absent as kiln_packages is.";
    PackagesCompleted COUNTER "kiln_packages_completed_total" ["phase"]
        "Packages built, over all runs of the ledger; reused ones are not counted.";
    TaskAttempts COUNTER "kiln_task_attempts_total" ["phase", "task"]
        "Attempts that ended by themselves, over all runs; neither interrupted ones nor those that only restore a work directory.";
    TaskFailures COUNTER "kiln_task_failures_total" ["phase", "task"]
        "Attempts that failed, over all runs; divided by attempts, the failure ratio.";
    TaskRetries COUNTER "kiln_task_retries_total" ["phase", "task"]
        "Attempts after a failed one, over all runs: what fails and succeeds by itself.";
    TaskDuration HISTOGRAM "kiln_task_duration_seconds" ["task"]
        "What attempts took, failed ones included, by task.";
    TaskQueue HISTOGRAM "kiln_task_queue_duration_seconds" ["task"]
        "How long tasks waited that could have run: fetches, retries, and tasks that follow another of their package.";
    Errors COUNTER "kiln_errors_total" ["category"]
        "Failed attempts, over all runs, each once, by what went wrong (`kiln why PACKAGE` has the line that says so).";
    RecoveryActions COUNTER "kiln_recovery_actions_total" ["action"]
        "Recovery actions that ended, over all runs; `kiln history` says what each looked at.";
    RecoveryFailures COUNTER "kiln_recovery_action_failures_total" ["action"]
        "Recovery actions that could not do what they should, over all runs.";
    EscalationLevel GAUGE "kiln_escalation_level" ["phase", "package"]
        "Packages in which something failed in this run: 0 recovered, 1 failed or tried again after an answer, 2 failed escalation_threshold times or given up, 3 a person is needed.";
    EscalationTime GAUGE "kiln_escalation_timestamp_seconds" ["phase", "package"]
        "When the escalation level of the package last changed.";
    FailedPackage GAUGE "kiln_failed_package_info" ["phase", "package", "task", "category", "reason"]
        "What failed last in a package whose escalation level is above 0; reason is that of its gate, empty while there is none. Always 1.";
    GateInfo GAUGE "kiln_gate_info" ["gate", "reason", "phase", "package", "task", "category"]
        "An open request for a person, up to 100 of them: `kiln resolve GATE retry` (or skip, abort) answers it. No number opens twice. Without package, task and category it is about a phase. Always 1.";
    GatesOpen GAUGE "kiln_gates_open" ["reason"]
        "Requests for a person that are open; `kiln gates` says what is asked and how to answer.";
    ActiveStart GAUGE "kiln_active_task_start_timestamp_seconds" ["phase", "package", "task"]
        "When a running task began; the longest running ones, at most twice as many as job slots and eight more.";
    ActiveExpected GAUGE "kiln_active_task_expected_duration_seconds" ["phase", "package", "task"]
        "How long a running task is expected to take in all, by its own history on this host or its weight; absent while unknown.";
    JobSlots GAUGE "kiln_job_slots" []
        "Tasks that may run at once; fetches and merges have slots of their own.";
    JobSlotsInUse GAUGE "kiln_job_slots_in_use" []
        "Tasks that hold a job slot; fewer than kiln_job_slots while dependencies or memory hold back the rest.";
    TaskCpu COUNTER "kiln_task_cpu_seconds_total" ["phase"]
        "CPU time, user and system, of executions that ended by themselves, waited-for descendants included.";
    TasksMemory GAUGE "kiln_tasks_memory_bytes" ["phase"]
        "Memory of the running tasks' control groups, page cache included; absent where tasks have none, or no runner is there.";
    TaskMemory HISTOGRAM "kiln_task_peak_memory_bytes" ["phase"]
        "Peak memory of attempts: of the task's control group, page cache included; without one (see the log of the run's start) the peak resident memory of its largest single process.";
    PhaseRequired GAUGE "kiln_phase_required_bytes" ["phase", "resource"]
        "What must be free when the phase starts, by its requirements; 0 where nothing is required.";
    FilesystemAvail GAUGE "kiln_filesystem_avail_bytes" ["role"]
        "Bytes free for kiln on the filesystem that holds work directories, the sysroot, the state directory, the source cache.";
    FilesystemSize GAUGE "kiln_filesystem_size_bytes" ["role"]
        "Size of the filesystem that holds this.";
    FilesystemInodes GAUGE "kiln_filesystem_free_inodes" ["role"]
        "Inodes free for kiln on the filesystem that holds this; 0 where it has no fixed number.";
    MemoryAvailable GAUGE "kiln_memory_available_bytes" []
        "Memory that can be used without swapping, capped by the cgroup's limit: what `dynamic` resolution and phases' requirements go by.";
    Pressure GAUGE "kiln_pressure_ratio" ["resource", "kind"]
        "Part of the last 10 seconds in which some or all (full) tasks of the host waited for this; absent where the kernel does not tell (no PSI).";
    Checkpoints COUNTER "kiln_checkpoints_total" []
        "Checkpoints that were taken, over all runs: every frequency packages and at each phase's end.";
    CheckpointFailures COUNTER "kiln_checkpoint_failures_total" []
        "Checkpoints that could not be taken, over all runs; the next one covers what they did not.";
    CheckpointLast GAUGE "kiln_checkpoint_last_timestamp_seconds" []
        "When a checkpoint was last taken; absent before the first.";
    CheckpointVerified GAUGE "kiln_checkpoint_verified_timestamp_seconds" []
        "When a checkpoint was last taken whose archives and files had all been read back and had the right digests.";
    CheckpointUncovered GAUGE "kiln_checkpoint_uncovered_packages" []
        "Packages that were completed and that no checkpoint covers yet, damaged ones included: after a power cut their files are read before they are trusted.";
    FetchedBytes COUNTER "kiln_fetched_bytes_total" []
        "Bytes of sources that came over the network, for failed fetches too; neither apt's lists nor what came for an interrupted fetch.";
    CacheRequests COUNTER "kiln_cache_requests_total" []
        "Sources that were asked for, over all runs.";
    CacheHits COUNTER "kiln_cache_hits_total" []
        "Sources that the cache had; divided by requests, its hit ratio.";
    LedgerWrites COUNTER "kiln_ledger_writes_total" []
        "Records in the ledger: everything else here but live facts is folded from them.";
    LedgerFailures COUNTER "kiln_ledger_write_failures_total" []
        "Tries of this kiln to write or sync the ledger that failed; while they do, the run is paused.";
    LedgerDurable GAUGE "kiln_ledger_durable_timestamp_seconds" []
        "Everything recorded until then is on disk, and nothing later is shown; now, where nothing waits to be.";
    LogDropped COUNTER "kiln_log_messages_dropped_total" []
        "Messages of the runner that nobody took in time (a stuck terminal, pipe or journald), and that are lost; the build never waits for them.";
    Permission GAUGE "kiln_permission_granted" ["permission"]
        "Whether all that belongs to this permission was granted when it was tried; `kiln doctor` says what is missing and how to grant it.";
    ChannelEnabled GAUGE "kiln_notification_channel_enabled" ["channel"]
        "Whether notification_channels of the definition names the channel: alerts carry these, and Alertmanager's routes go by them.";
    Notifications COUNTER "kiln_notifications_total" ["channel"]
        "Rises of a package's escalation level that this channel was told of: the log from level 2 on, the dashboard all. Mail is Alertmanager's to count.";
    NotificationFailures COUNTER "kiln_notification_failures_total" ["channel"]
        "Notifications that could not be given to this channel.";
    RunnerUp GAUGE "kiln_runner_up" []
        "Whether a runner holds the state directory, tried at each scrape; always 1 where the runner itself answers. 0 while kiln_run_state says running: it has died.";
    CollectorDuration GAUGE "kiln_collector_duration_seconds" ["collector"]
        "How long it took to find out this part of what is exported.";
    CollectorSuccess GAUGE "kiln_collector_success" ["collector"]
        "Whether this part could be found out; otherwise its series are absent, or what they were.";
    Series GAUGE "kiln_series" []
        "Series in this exposition, this one included: at most 350, 60 a phase, 4 a job slot and 4 for each of the first 100 packages that failed.";
    ProcessCpu COUNTER "process_cpu_seconds_total" []
        "CPU time of kiln itself, user and system; its tasks' is kiln_task_cpu_seconds_total.";
    ProcessOpenFds GAUGE "process_open_fds" []
        "Open file descriptors of kiln itself.";
    ProcessMaxFds GAUGE "process_max_fds" []
        "Most file descriptors that kiln may have open.";
    ProcessVirtual GAUGE "process_virtual_memory_bytes" []
        "Virtual memory of kiln itself, bytes.";
    ProcessResident GAUGE "process_resident_memory_bytes" []
        "Resident memory of kiln itself, bytes.";
    ProcessThreads GAUGE "process_threads" []
        "Threads of kiln itself.";
    ProcessStart GAUGE "process_start_time_seconds" []
        "When this kiln started.";
}

impl Family {
    /// Its row in `FAMILIES`.
    pub fn info(self) -> &'static FamilyInfo {
        &FAMILIES[self as usize]
    }
}
