"""What a real Alertmanager does with kiln's alerts: who is told, how often, and who is not.

Each story has a target of its own. That nobody is told of something is known when what came later has been told (`settle`).
"""

import contextlib
import re
import tempfile
import urllib.request
from pathlib import Path

from common import demand, say
from receivers import Hooks, Mails, configuration, moment
from servers import Alertmanager, until
from shipped import CHANNELS, RUNBOOK_URL, alerts


def check():
    with contextlib.ExitStack() as after:
        scratch = Path(after.enter_context(tempfile.TemporaryDirectory()))
        hooks, mails = Hooks(), Mails()
        after.callback(hooks.stop)
        after.callback(mails.stop)
        world = World(Alertmanager(scratch, configuration(scratch, hooks, mails)), hooks, mails)
        after.callback(world.alertmanager.stop)
        for story in (fifty, levels, runner_down, ledger, recovery, again, acknowledged, channels, dead_man, failures_counted):
            story(world)
            say(f"Alertmanager: {story.__doc__.splitlines()[0]}")


class World:
    def __init__(self, alertmanager, hooks, mails):
        self.alertmanager, self.hooks, self.mails = alertmanager, hooks, mails
        self.rules = {rule["alert"]: rule for rule in alerts()}
        self.canaries = 0

    def alert(self, name, instance, **labels):
        """As its rule would send it."""
        own = {"alertname": name, "job": "kiln", "instance": instance, "definition": "pocket", **self.rules[name]["labels"]}
        own |= dict.fromkeys(CHANNELS, "on") | labels
        texts = {"summary": f"{name} {labels.get('package', '')}".strip(), "description": "kiln gates", "runbook_url": f"{RUNBOOK_URL}{name}.md"}
        return {"labels": own, "annotations": texts, "startsAt": moment()}

    def failed(self, name, instance, package, category="compilation_failure", **labels):
        labels |= {"phase": "base", "package": package}
        if name.startswith("KilnPersonRequired"):
            labels = {"gate": "1", "reason": "critical_build_failure", "task": "build", "category": category} | labels
        return self.alert(name, instance, **labels)

    def phase(self, name, instance, gate="9", **labels):
        """A gate about a phase."""
        return self.alert(name, instance, gate=gate, reason="system_resource_exhaustion", phase="desktop", **labels)

    def fire(self, *alerts):
        self.alertmanager.post("alerts", list(alerts))

    def mails_to(self, whom, instance):
        return [mail for to, mail in self.mails.got if to == whom and f"on {instance})" in mail["Subject"]]

    def posts_to(self, whom, instance):
        return [said for path, said in self.hooks.got if path == f"/{whom}" and said["commonLabels"].get("instance") == instance]

    def state(self, alert):
        """active, or which of its kinds of being suppressed; None while it is not known."""
        for known in self.alertmanager.alerts():
            if known["labels"] == alert["labels"]:
                status = known["status"]
                return "inhibited" if status["inhibitedBy"] else "silenced" if status["silencedBy"] else status["state"]
        return None

    def becomes(self, state, *alerts):
        for alert in alerts:
            name, instance = alert["labels"]["alertname"], alert["labels"]["instance"]
            until(lambda: self.state(alert) == state, f"{name} of {instance} is not {state}")

    def settle(self):
        """All groups have been looked at again: twice, since what is being sent was begun before."""
        for _ in range(2):
            self.canaries += 1
            name = f"canary{self.canaries}:1"
            self.fire(self.failed("KilnPersonRequired", name, "canary"), self.failed("KilnPackageEscalated", name, "other"))
            for whom in ("on-call", "team"):
                until(lambda: self.mails_to(whom, name), f"{whom} is not told of anything")
            until(lambda: len(self.posts_to("system_log", name)) == 2, "system_log is not told of anything")


def fifty(world):
    """fifty packages that fail for one reason are one message, and one more when they need a person"""
    names, here = [f"package{number}" for number in range(50)], "fifty:1"
    for alert, whom in (("KilnPackageEscalated", "team"), ("KilnPersonRequired", "on-call")):
        world.fire(*(world.failed(alert, here, name, "network_issues") for name in names))
        mail = until(lambda: world.mails_to(whom, here), f"{whom} is not told of fifty")[0]
        demand(", and 49 more (pocket on fifty:1)" in mail["Subject"], f"the subject is {mail['Subject']}")
        for part in ("plain", "html"):
            text = mail.get_body([part]).get_content()
            demand(all(f"{alert} {name}" in text for name in names), f"the {part} mail does not name all of the fifty")
    # What it is another reason for is another message.
    world.fire(world.failed("KilnPersonRequired", here, "odd", "link_failure"))
    mail = until(lambda: world.mails_to("on-call", here)[1:], "the odd one is not told of")[0]
    demand("odd (pocket" in mail["Subject"], f"the odd one is told of with the others: {mail['Subject']}")
    world.settle()
    posts = world.posts_to("system_log", here)
    cut = [said["truncatedAlerts"] for said in posts if said["truncatedAlerts"]]
    demand(not cut, f"system_log was not told of {cut}")
    told = [len(world.mails_to("team", here)), len(world.mails_to("on-call", here)), len(posts)]
    demand(told == [1, 2, 3], f"team, on-call and system_log were told {told} times")


def levels(world):
    """a package is told of at its highest level, and another one is not kept back by that"""
    here = "levels:1"
    low = [world.failed(name, here, "zlib") for name in ("KilnPackageRetrying", "KilnPackageEscalated")]
    other = [world.failed(name, here, "m4", "link_failure") for name in ("KilnPackageRetrying", "KilnPackageEscalated")]
    high = world.failed("KilnPersonRequired", here, "zlib")
    elsewhere = world.failed("KilnPackageEscalated", "levels:2", "zlib")
    # These are about the package, and no level of it.
    others = [world.failed("KilnTaskOverrun", here, "zlib", "link_failure"), world.failed("KilnPackageRetrying", here, "zlib", alertname="Others")]
    world.fire(*low, high, *other, elsewhere, *others)
    world.becomes("inhibited", *low, other[0])
    world.becomes("active", high, other[1], elsewhere, *others)
    world.settle()
    demand(len(world.mails_to("on-call", here)) == 1, "on-call was not told once")
    subjects = sorted(mail["Subject"] for mail in world.mails_to("team", here))
    told = ["[WARNING] KilnPackageEscalated m4 (pocket on levels:1)", "[WARNING] KilnTaskOverrun zlib (pocket on levels:1)"]
    demand(subjects == told, f"the team was told {subjects}")
    demand(len(world.mails_to("team", "levels:2")) == 1, "the same package elsewhere was not told of")


def runner_down(world):
    """a runner that is gone keeps back what follows from it, and no gate"""
    here = "down:1"
    down = world.alert("KilnRunnerDown", here)
    gates = [
        world.failed("KilnPersonRequired", here, "zlib"),
        world.failed("KilnPersonRequiredUnattended", here, "zlib"),
        world.phase("KilnPersonRequired", here),
        world.failed("KilnPackageEscalated", here, "m4"),
        world.alert("KilnRunFailed", here),
        world.alert("KilnLedgerUnreadable", here),
    ]
    follows = [
        world.alert("KilnRunStalled", here),
        world.failed("KilnTaskOverrun", here, "gcc"),
        world.alert("KilnCompletionSlipping", here),
        world.alert("KilnMemoryPressure", here),
        world.alert("KilnNotWatched", here),
        world.alert("KilnDiskFilling", here, role="state"),
    ]
    elsewhere = world.alert("KilnRunStalled", "down:2")
    world.fire(down, *gates, *follows, elsewhere)
    world.becomes("inhibited", *follows)
    world.becomes("active", down, *gates, elsewhere)
    until(lambda: len(world.mails_to("on-call", here)) == 4, "on-call is not told of a runner, two gates and a ledger")
    until(lambda: world.mails_to("lead", here), "the lead is not told of a gate")


def ledger(world):
    """a ledger that cannot be written, or read, keeps back what follows from it, and a gate what was warned of"""
    here = "ledger:1"
    broken = world.alert("KilnLedgerNotDurable", here)
    follows = [world.alert(name, here) for name in ("KilnRunStalled", "KilnCheckpointFailing")]
    gate = world.phase("KilnPersonRequired", here)
    ahead, later = (world.alert("KilnPhaseRequirementUnmet", here, phase=phase, resource="disk") for phase in ("desktop", "docs"))
    unreadable, frozen = (world.alert(name, "ledger:2") for name in ("KilnLedgerUnreadable", "KilnRunStalled"))
    world.fire(broken, *follows, gate, ahead, later, unreadable, frozen)
    world.becomes("inhibited", *follows, ahead, frozen)
    world.becomes("active", broken, gate, later, unreadable)


def recovery(world):
    """who was told of a gate is told that it is answered, once"""
    here = "recovery:1"
    gate = world.failed("KilnPersonRequired", here, "zlib")
    world.fire(gate)
    until(lambda: world.mails_to("on-call", here), "on-call is not told of a gate")
    world.fire(gate | {"endsAt": moment()})
    until(lambda: len(world.mails_to("on-call", here)) == 2, "on-call is not told of an answer")
    until(lambda: len(world.posts_to("system_log", here)) == 2, "system_log is not told of an answer")
    world.settle()
    subjects = [mail["Subject"].split()[0] for mail in world.mails_to("on-call", here)]
    demand(subjects == ["[CRITICAL]", "[RESOLVED]"], f"on-call was told {subjects}")
    demand([said["status"] for said in world.posts_to("system_log", here)] == ["firing", "resolved"], "system_log was told otherwise")


def again(world):
    """a gate that opens when another one of its package has just been answered is told of, acknowledged or not"""
    here = "again:1"
    first, second = (world.failed("KilnPersonRequired", here, "zlib", gate=gate) for gate in ("1", "2"))
    world.fire(first)
    until(lambda: world.mails_to("on-call", here), "on-call is not told of a gate")
    world.alertmanager.post("silences", acknowledgement(first["labels"]))
    world.becomes("silenced", first)
    # Before its group is looked at again.
    world.fire(first | {"endsAt": moment()}, second)
    until(lambda: len(world.mails_to("on-call", here)) == 2, "on-call is not told of the next gate")
    demand(world.state(second) == "active", f"the next gate is {world.state(second)}")


def acknowledgement(labels):
    """The silence that `kiln gates ack` makes, as the head of alertmanager.yml has it."""
    matchers = [{"name": "alertname", "value": "KilnPersonRequired.*", "isRegex": True, "isEqual": True}]
    equal = {name: labels.get(name, "") for name in ("definition", "gate", "package", "job", "instance")}
    matchers += [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in equal.items()]
    return {"matchers": matchers, "startsAt": moment(), "endsAt": moment(3600), "createdBy": "somebody", "comment": "on it"}


def acknowledged(world):
    """an acknowledged gate wakes no lead; others do"""
    here, definition = "acknowledged:1", "acknowledged"

    def gates(name):
        mine = world.failed(name, here, "zlib", definition=definition)
        phase = world.phase(name, here, definition=definition)
        others = [
            world.failed(name, here, "m4", "link_failure", definition=definition, gate="2"),
            world.failed(name, "acknowledged:2", "zlib", definition="another"),
        ]
        return [mine, phase], others

    for state in ("active", "silenced"):
        mine, others = gates("KilnPersonRequired")
        world.fire(*mine, *others)
        world.becomes(state, *mine)
        world.becomes("active", *others)
        if state == "active":
            until(lambda: len(world.mails_to("on-call", here)) == 3, "on-call is not told of three gates")
            for gate in mine:
                world.alertmanager.post("silences", acknowledgement(gate["labels"]))
    mine, others = gates("KilnPersonRequiredUnattended")
    world.fire(*mine, *others)
    world.becomes("silenced", *mine)
    until(lambda: world.mails_to("lead", here) and world.mails_to("lead", "acknowledged:2"), "the lead is not told of others")
    world.settle()
    subjects = [mail["Subject"] for mail in world.mails_to("lead", here)]
    demand(len(subjects) == 1 and "m4" in subjects[0], f"the lead was told {subjects}")


def channels(world):
    """channels that are off get nothing, and the others what they should"""
    world.fire(
        world.failed("KilnPersonRequired", "nomail:1", "zlib", email="off"),
        world.failed("KilnPackageEscalated", "nolog:1", "zlib", system_log="off"),
        world.failed("KilnPersonRequired", "none:1", "zlib", email="off", system_log="off", dashboard="off"),
        world.failed("KilnPackageRetrying", "info:1", "zlib"),
    )
    until(lambda: world.posts_to("system_log", "nomail:1"), "system_log is not told")
    until(lambda: world.mails_to("team", "nolog:1"), "the team is not told")
    world.settle()
    mailed = [name for name in ("nomail:1", "none:1", "info:1") for whom in ("team", "on-call", "lead") if world.mails_to(whom, name)]
    demand(not mailed, f"mails were sent about {mailed}")
    posted = [name for name in ("nolog:1", "none:1", "info:1") if world.posts_to("system_log", name)]
    demand(not posted, f"system_log was told about {posted}")


def dead_man(world):
    """the dead man's switch hears again and again, and nobody else"""
    watchdog = {"labels": {"alertname": "KilnWatchdog", "severity": "info"}, "annotations": {}, "startsAt": moment()}
    world.fire(watchdog)
    until(lambda: [path for path, _ in world.hooks.got].count("/dead-man-switch") >= 2, "the dead man's switch is not told again")
    told = {path for path, said in world.hooks.got if said["commonLabels"]["alertname"] == "KilnWatchdog"}
    demand(told == {"/dead-man-switch"}, f"the watchdog went to {told}")


def failures_counted(world):
    """Alertmanager counts what it could not send, as rules have it"""
    metrics = urllib.request.urlopen(f"{world.alertmanager.url}/metrics", timeout=30).read().decode()
    for integration in ("email", "webhook"):
        series = rf'^alertmanager_notifications_failed_total{{[^}}]*integration="{integration}"[^}}]*}} \d'
        demand(re.search(series, metrics, re.MULTILINE), f"there is no {series}")
