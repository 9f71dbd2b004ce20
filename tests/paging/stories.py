"""What people are told of a build in which a package fails, and what kills, stops, silences and answers make of it.

Each story begins where the one before has ended. That nobody is told of something is known when what came later has been told (`settle`).
"""

import json
import re
import urllib.request

import counters
from builds import DEPENDENTS, MOST, PHASE
from common import demand, say
from servers import until

ESCALATED, GATE, UNATTENDED = "KilnPackageEscalated", "KilnPersonRequired", "KilnPersonRequiredUnattended"
RUNBOOKS = "/usr/share/kiln/alerts/runbooks"


def escalation(world):
    """info, warning, critical: shown, mailed and written down in that order, once each, whoever serves the metrics"""
    for build in world.builds:
        build.start()
        world.seen(build, 'kiln_run_state{state="running"} == 1')
        build.let("try1")
        alert = until(lambda: world.alert_of(build, "KilnPackageRetrying"), f"Alertmanager does not show that {build.package} has failed")
        demand(alert["labels"]["severity"] == "info", f"of one failed attempt: {alert}")
        demand(not world.told(build), f"of one failed attempt somebody was told: {world.told(build)}")
        build.let("try2")
        warning = world.mail(build, "team", "WARNING", build.package)
        world.written(build, ESCALATED, "firing")
        build.let("try3")
        critical = world.mail(build, "on-call", "CRITICAL", build.package)
        world.written(build, GATE, "firing")
        world.seen(build, f'kiln_packages{{phase="{PHASE}",state="pending"}} == {len(DEPENDENTS)}')
        read(build, warning, f"kiln log {build.package}", f"{RUNBOOKS}/{ESCALATED}.md")
        read(build, critical, *commands(critical), f"{RUNBOOKS}/{GATE}.md")
        failed = build.times("task_failed")
        demand(len(failed) == MOST, f"{build.package} failed {len(failed)} times")
        took = f"{warning.came - failed[1]:.1f} s (warning) and {critical.came - failed[2]:.1f} s (critical)"
        say(f"{build.name}: from the record of a failure to its mail {took}, of which Alertmanager waits 1 s for others")
    world.settle()
    for build in world.builds:
        escalated = [("team", "WARNING", build.package), ("on-call", "CRITICAL", build.package)]
        demand(world.told(build) == escalated, f"people were told {world.told(build)}")
        wanted = [("failed", "1"), ("failed", "2"), (ESCALATED, "firing"), ("failed", "3"), ("gate", "1"), (GATE, "firing")]
        demand(world.story(build.package) == wanted, f"the journal has {world.story(build.package)}")
        for name in ("KilnPackageRetrying", ESCALATED):
            demand(world.alert_of(build, name)["status"]["inhibitedBy"], f"{name} of {build.name} is not kept back by a higher level")


def read(build, mail, *told):
    """It says what it is about, which is one alert, and what to do, as text and as a page."""
    demand(", and " not in mail["Subject"], f"what waits for {build.package} is told of, too: {mail['Subject']}")
    for part in ("plain", "html"):
        text = mail.get_body([part]).get_content()
        for what in (build.package, build.name, PHASE, "compilation_failure", *told):
            demand(what in text, f"the {part} mail does not say {what}:\n{text}")


def commands(mail):
    """Of a mail about a gate: what answers it, and what says that somebody is on it."""
    text = mail.get_body(["plain"]).get_content()
    found = [re.search(command, text) for command in (r"kiln resolve \d+ retry [^(\n]*[^(\s]", r"kiln gates ack \d+ .*\S")]
    demand(all(found), f"the mail says neither how to answer nor how to acknowledge:\n{text}")
    return [command.group() for command in found]


class Before:
    """What was known before something happened: the pages, and what people and the journal were told."""

    def __init__(self, world):
        self.world = world
        self.pages = {build: world.alert_of(build, GATE) for build in world.builds}
        self.told = {build: len(world.told(build)) for build in world.builds}
        self.written = {build: len(world.story(build.package)) for build in world.builds}

    def told_since(self, build):
        return self.world.told(build)[self.told[build] :]

    def written_since(self, build):
        return self.world.story(build.package)[self.written[build] :]

    def pages_stay(self):
        """They are the alerts that they were."""
        for build, page in self.pages.items():
            now = self.world.alert_of(build, GATE)
            demand(now, f"the page of {build.name} was taken back")
            demand(not now["status"]["inhibitedBy"], f"the page of {build.name} is kept back")
            for part in ("fingerprint", "startsAt"):
                demand(now[part] == page[part], f"{part} of the page of {build.name} was {page[part]}, and is {now[part]}")


def kills(world):
    """a runner that is killed is told of, and takes no page back; nobody is paged again when it is there again"""
    before = Before(world)
    for build in world.builds:
        build.kill()
    world.after_a_second("KilnRunnerDown")
    for build in world.builds:
        world.mail(build, "on-call", "CRITICAL", "kiln")
    world.after_a_second()
    world.settle()
    before.pages_stay()
    for build in world.builds:
        build.start()
    for build in world.builds:
        world.mail(build, "on-call", "RESOLVED", "kiln")
    world.settle()
    before.pages_stay()
    for build in world.builds:
        wanted = [("on-call", "CRITICAL", "kiln"), ("on-call", "RESOLVED", "kiln")]
        demand(before.told_since(build) == wanted, f"people were told {world.told(build)}")
    written = [entry["ALERT_STATUS"] for entry in world.journal.entries("ALERT=KilnRunnerDown")]
    demand(sorted(written) == ["firing"] * 2 + ["resolved"] * 2, f"of runners that are gone the journal has {written}")


def stops(world):
    """a runner that is stopped is not missed, and takes no page back; nor does a sidecar that is killed"""
    before = Before(world)
    for build in world.builds:
        build.do("stop")
        build.ends(130)
    world.seen(world.inside, "up{} == 0")
    world.seen(world.beside, 'kiln_run_state{state="paused"} == 1')
    world.settle()
    demand(not world.prometheus.has('ALERTS{alertname="KilnRunnerDown"}'), "a runner that was stopped is missed")
    world.beside.serve_no_more()
    world.seen(world.beside, "up{} == 0")
    world.beside.serve()
    world.settle()
    before.pages_stay()
    for build in world.builds:
        build.start()
        world.seen(build, 'kiln_run_state{state="running"} == 1')
    world.settle()
    before.pages_stay()
    for build in world.builds:
        demand(not before.told_since(build), f"people were told {world.told(build)}")


def acknowledgement(world):
    """who acknowledges a gate is named, and the lead is spared; of another one, unattended, the lead is told"""
    acked, other = world.builds
    _, ack = commands(world.mail(acked, "on-call", "CRITICAL", acked.package))
    acked.type(f"{ack} --note 'on it'")
    (silence,) = active(world)
    (gate,) = json.loads(acked.do("gates", "--json"))
    who = gate.get("acknowledged", {})
    demand((who.get("by"), who.get("comment")) == (silence["createdBy"], "on it"), f"{silence}: kiln gates --json has {gate}")
    demand(f"acknowledged by {silence['createdBy']} until " in acked.do("gates"), "kiln gates does not show who is on it")
    demand("acknowledged" not in other.do("gates"), "a gate that nobody acknowledged is shown as such")
    until(lambda: world.alert_of(acked, GATE)["status"]["silencedBy"], "the silence is about nothing")
    before = Before(world)
    world.after_a_second(UNATTENDED)
    world.mail(other, "lead", "CRITICAL", other.package)
    until(lambda: world.alert_of(acked, UNATTENDED), "the gate that is acknowledged is not unattended as well")
    world.settle()
    demand(not before.told_since(acked), f"people were told {world.told(acked)}")
    demand(before.told_since(other) == [("lead", "CRITICAL", other.package)], f"people were told {world.told(other)}")


def active(world):
    return [silence for silence in world.alertmanager.ask("v2/silences") if silence["status"]["state"] == "active"]


def again(world):
    """what is tried again after an answer, and fails, is another gate: people are told anew, though somebody was on the one before"""
    world.after_a_second()
    before = Before(world)
    for build in world.builds:
        for attempt in range(MOST + 1, 2 * MOST + 1):
            build.let(f"try{attempt}")
        answer, _ = commands(world.mail(build, "on-call", "CRITICAL", build.package))
        build.type(answer)
    for build in world.builds:
        until(lambda: ("on-call", "CRITICAL", build.package) in before.told_since(build), f"on-call is not told of {build.name} again")
        mail = world.mail(build, "on-call", "CRITICAL", build.package)
        demand(" 2 " in commands(mail)[0], f"on-call is told of an earlier gate: {mail}")
        (gate,) = json.loads(build.do("gates", "--json"))
        demand("acknowledged" not in gate, f"who was on the first gate of {build.name} is on the second: {gate}")
        until(lambda: len(world.alerts_of(build, GATE)) == 1, f"for Alertmanager the first gate of {build.name} is open")
        (alert,) = world.alerts_of(build, GATE)
        demand(alert["labels"]["gate"] == "2" and not alert["status"]["silencedBy"], f"{build.name}: {alert}")


def answers(world):
    """a gate that is answered is resolved, and a package that succeeds is, too; then the run ends"""
    world.settle()
    before = Before(world)
    for build in world.builds:
        build.let("mended")
        answer, _ = commands(world.mail(build, "on-call", "CRITICAL", build.package))
        build.type(answer)
        until(lambda: not world.alert_of(build, GATE), f"for Alertmanager the gate of {build.name} is open")
        until(lambda: not world.alert_of(build, ESCALATED), f"an answer does not bring {build.name} to level 1")
        demand(world.alert_of(build, "KilnPackageRetrying"), f"{build.package} is taken for well before it has succeeded")
        build.let(f"try{2 * MOST + 1}")
        until(lambda: not world.alert_of(build, "KilnPackageRetrying"), f"{build.package} is not taken for well")
        build.let("go")
        build.ends(0)
    world.settle()
    for build in world.builds:
        # That the first gate is answered may be told with the second: Prometheus says that something is over more than once.
        told = [how for to, how, _ in before.told_since(build) if to == "on-call"]
        demand(told.count("RESOLVED") == 1 and told[-1] == "RESOLVED", f"people were told {world.told(build)}")
        written = before.written_since(build)
        demand((GATE, "resolved") in written, f"the journal has {world.story(build.package)}")


def dead_man(world):
    """the dead man's switch hears of Prometheus again and again, and nobody else"""
    until(lambda: [path for path, _ in world.hooks.got].count("/dead-man-switch") >= 2, "the dead man's switch is not told again")
    told = {(path, said["commonLabels"]["alertname"]) for path, said in world.hooks.got}
    demand(told == {("/dead-man-switch", "KilnWatchdog")}, f"the web server was told {told}")
    # What rules look at, of an Alertmanager that was always there.
    metrics = urllib.request.urlopen(f"{world.prometheus.url}/metrics", timeout=30).read().decode()
    demand(re.search(r"^prometheus_notifications_errors_total{alertmanager=.* 0$", metrics, re.MULTILINE), "Prometheus counts no errors")


STORIES = (escalation, kills, stops, acknowledgement, again, answers, dead_man, counters.check)
