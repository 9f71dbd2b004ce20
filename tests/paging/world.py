"""All that watches: Prometheus with the shipped rules, Alertmanager with the shipped routes, a mail server, a web server for the dead
man's switch, the journal. And what can be asked of these about a build.

Does not know: what should happen.
"""

import contextlib
import re
import signal

import live
import yaml
from builds import Beside, Inside
from common import say
from journal import Journal
from receivers import Hooks, Mails, configuration
from servers import Alertmanager, Prometheus, until
from shipped import RULES, read

# `MESSAGE_ID` of what escalation leaves in the journal.
TASK_FAILED = "473ed99f90024da0a3619db43a687f47"
GATE_OPENED = "3cb659713f1143a4958bf09d03f02a2b"
ALERT = "9fab361099fa4532ab6452de36a355ac"


class World(live.World):
    def __init__(self, directory, program):
        self.after = contextlib.ExitStack()
        try:
            self.start(directory, program)
        except BaseException:
            self.after.close()
            raise

    def start(self, directory, program):
        self.journal = Journal(directory)
        self.after.callback(self.journal.stop)
        self.beside = self.after.enter_context(Beside(program, directory, self.journal, "beside", "zlib"))
        self.inside = self.after.enter_context(Inside(program, directory, self.journal, "inside", "m4"))
        self.builds = (self.beside, self.inside)
        hooks, mails = Hooks(), Mails()
        self.after.callback(hooks.stop)
        self.after.callback(mails.stop)
        config = configuration(directory, hooks, mails, system_log=f"http://{self.beside.address}/api/v1/alerts")
        super().__init__(Alertmanager(directory, config), hooks, mails)
        self.after.callback(self.alertmanager.stop)
        for build in self.builds:
            build.environment["KILN_SET_ALERTMANAGER_URL"] = self.alertmanager.url
        self.copy = directory / "rules.yml"
        self.write_rules({})
        targets = [build.address for build in self.builds]
        self.prometheus = Prometheus(directory, targets, self.copy, self.alertmanager)
        self.after.callback(self.prometheus.stop)

    def stop(self):
        self.after.close()

    def write_rules(self, spans):
        """As they are shipped, but that these alerts wait for another span. And evaluations are a second apart, not a minute: what is no
        older than some of them is the last seconds, so that what is older has to be carried on."""
        rules = read(RULES)
        for rule in rules["groups"][0]["rules"]:
            rule["expr"] = re.sub(r"\[\d+m:1s\]", "[5s:1s]", rule["expr"])
            if rule.get("alert") in spans:
                rule["for"] = spans[rule["alert"]]
        self.copy.write_text(yaml.safe_dump(rules, sort_keys=False, width=1000))

    def after_a_second(self, *names):
        """These alerts need only that long to be so now; what they have waited already counts. The others wait as shipped."""
        self.write_rules(dict.fromkeys(names, "1s"))
        self.prometheus.process.send_signal(signal.SIGHUP)

        def taken():
            rules = self.prometheus.get("rules", type="alert")["groups"][0]["rules"]
            return {rule["name"] for rule in rules if rule["duration"] == 1} == set(names)

        until(taken, "Prometheus does not take new rules")

    def seen(self, build, expression):
        """Waits until Prometheus has that, of this build."""
        wanted = expression.replace("{", f'{{instance="{build.address}",')
        until(lambda: self.prometheus.has(wanted), f"Prometheus does not see {wanted}")

    def alerts_of(self, build, name):
        """As Alertmanager has them."""
        labels = {"alertname": name, "instance": build.address}
        return [alert for alert in self.alertmanager.alerts() if labels.items() <= alert["labels"].items()]

    def alert_of(self, build, name):
        """The first of them; None while there is none."""
        return next(iter(self.alerts_of(build, name)), None)

    def told(self, build):
        """Who got which mail about it, in order: the recipient, how bad, the first word of what."""
        about = [(to, mail["Subject"].split()) for to, mail in self.mails.got if f"({build.name} on {build.address})" in mail["Subject"]]
        return [(to, words[0].strip("[]"), words[1]) for to, words in about]

    def mail(self, build, to, how, what):
        """Waits for one, and returns the last."""

        def found():
            return [mail for mail in self.mails_to(to, build.address) if mail["Subject"].startswith(f"[{how}] {what} ")]

        return until(found, f"{to} is not told {how} {what} of {build.name}")[-1]

    def story(self, package):
        """What the journal has of a package's escalation, in order."""
        found = []
        for entry in self.journal.entries(f"PACKAGE={package}"):
            kind = entry.get("MESSAGE_ID")
            if kind == TASK_FAILED:
                found.append(("failed", entry["ATTEMPT"]))
            elif kind == GATE_OPENED:
                found.append(("gate", entry["GATE_ID"]))
            elif kind == ALERT:
                found.append((entry["ALERT"], entry["ALERT_STATUS"]))
        return found

    def written(self, build, name, status):
        found = (name, status)
        until(lambda: found in self.story(build.package), f"the journal does not have {name} of {build.package} as {status}")

    def settle(self):
        """All groups of Alertmanager's have been looked at again: twice, since what is being sent was begun before."""
        for _ in range(2):
            self.canaries += 1
            name = f"canary{self.canaries}"
            # Of another phase than the others: it would be kept back.
            self.fire(self.alert("KilnPackageEscalated", name, package=name, phase="another"))
            self.fire(*(self.alert(alert, name, package=name) for alert in ("KilnPersonRequired", "KilnPersonRequiredUnattended")))
            for whom in ("team", "on-call", "lead"):
                until(lambda: self.mails_to(whom, name), f"{whom} is not told of anything")
            until(lambda: len(self.story(name)) == 3, "system_log is not told of anything")

    def tell(self):
        """What there is to know when something is not as it should be."""
        for build in self.builds:
            say(f"{build.name}: people were told {self.told(build)}; the journal has {self.story(build.package)}; kiln said:\n{build.said()}")
        for where, alerts in (("Prometheus", self.prometheus.get("alerts")["alerts"]), ("Alertmanager", self.alertmanager.alerts())):
            for alert in alerts:
                labels = alert["labels"]
                what = [labels.get(name, "") for name in ("alertname", "instance", "package", "reason")]
                if not labels.get("instance", "").startswith("canary"):
                    say(f"{where}: {' '.join(what)}: {alert.get('state') or alert['status']}")
