use super::*;

fn version_1(directory: &Path) -> Group {
    let part = |name: &str| {
        let path = directory.join(name).join("kiln-id/7");
        fs::create_dir_all(&path).unwrap();
        Some(path)
    };
    Group(Base::V1 { memory: part("memory"), pids: part("pids"), cpuacct: part("cpuacct") })
}

fn version_2(directory: &Path) -> Group {
    let path = directory.join("unit/kiln-id/7");
    fs::create_dir_all(&path).unwrap();
    Group(Base::V2(path))
}

#[test]
fn version_2_tells_what_became_of_a_group() {
    let space = tempfile::tempdir().unwrap();
    let group = version_2(space.path());
    let own = space.path().join("unit/kiln-id/7");
    fs::write(own.join("memory.events"), "low 0\nhigh 0\nmax 81\noom 3\noom_kill 2\noom_group_kill 1\n")
        .unwrap();
    fs::write(own.join("pids.events"), "max 5\n").unwrap();
    fs::write(own.join("memory.peak"), "1048576\n").unwrap();
    fs::write(own.join("cpu.stat"), "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n").unwrap();
    let expected = Ended {
        oom_kills: 2,
        oom_killed: Vec::new(),
        pids_refused: 5,
        memory_peak: Some(1 << 20),
        cpu: Some(Duration::from_millis(1500)),
    };
    assert_eq!(group.counters(), expected);
}

#[test]
fn version_1_tells_what_became_of_a_group() {
    let space = tempfile::tempdir().unwrap();
    let group = version_1(space.path());
    let below = |name: &str| space.path().join(name).join("kiln-id/7");
    let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
    fs::write(below("memory").join("memory.oom_control"), control).unwrap();
    fs::write(below("memory").join("memory.max_usage_in_bytes"), "4096\n").unwrap();
    fs::write(below("pids").join("pids.events"), "max 0\n").unwrap();
    fs::write(below("cpuacct").join("cpuacct.usage"), "2000000000\n").unwrap();
    let expected = Ended {
        oom_kills: 1,
        oom_killed: Vec::new(),
        pids_refused: 0,
        memory_peak: Some(4096),
        cpu: Some(Duration::from_secs(2)),
    };
    assert_eq!(group.counters(), expected);
}

#[test]
fn what_the_kernel_does_not_say_is_not_made_up() {
    let space = tempfile::tempdir().unwrap();
    assert_eq!(version_2(space.path()).counters(), Ended::default());
    assert_eq!(version_1(space.path()).counters(), Ended::default());
}

#[test]
fn the_log_of_the_kernel_names_whom_it_has_killed_in_this_group() {
    let space = tempfile::tempdir().unwrap();
    let group = version_1(space.path());
    let record = |memcg: &str| {
        format!(
            "6,1039,5140900,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg={memcg},\
             task_memcg={memcg},task=cc1 plus,pid=1234,uid=0\n SUBSYSTEM=x\n"
        )
    };
    assert_eq!(oom_victim(&record("/kiln-id/7"), &group), Some("cc1 plus"));
    assert_eq!(oom_victim(&record("/kiln-id/8"), &group), None);
    assert_eq!(oom_victim(&record("/iln-id/7"), &group), None);
    assert_eq!(oom_victim("6,1,2,-;something else", &group), None);
}
