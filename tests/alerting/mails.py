"""What mails look like: the templates, rendered by amtool for what can happen, as plain text and as HTML."""

import json
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from common import demand, say
from shipped import RUNBOOK_URL, TEMPLATES, run

SINCE, UNTIL = "2026-03-01T23:50:07Z", "2026-03-02T07:10:00Z"
DIRECTORIES = "--state=/var/lib/kiln/pocket '/srv/my pocket'"
VOID = {"meta", "br"}


def check(keep):
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in stories().items():
            subject, text, page = (render(part, data, Path(scratch)) for part in ("subject", "text", "html"))
            look(name, data, subject, text, page)
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}.txt").write_text(f"Subject: {subject}\n\n{text}")
                (keep / f"{name}.html").write_text(page)
    say(f"amtool: mails for {', '.join(stories())}")


def alert(name, severity, *, status="firing", summary, description, **labels):
    """As a webhook or a template gets it."""
    labels |= {"alertname": name, "severity": severity, "job": "kiln", "instance": "build1:10978", "definition": "pocket"}
    labels["directories"] = DIRECTORIES
    texts = {"summary": summary, "description": description, "runbook_url": f"{RUNBOOK_URL}{name}.md"}
    ends = "0001-01-01T00:00:00Z" if status == "firing" else UNTIL
    return {"status": status, "labels": labels, "annotations": texts, "startsAt": SINCE, "endsAt": ends, "fingerprint": "0"}


def gate(package, category="compilation_failure", number="3", **more):
    return alert(
        "KilnPersonRequired", "critical", level="3", package=package, phase="base_system", task="build", category=category, gate=number,
        reason="critical_build_failure", summary=f"{package} needs a person: {category}",
        description=f"Package {package} (phase base_system) failed in task build: {category}. To answer: kiln resolve {number} retry",
        **more,
    )  # fmt: skip


def message(*alerts, receiver="on-call"):
    """What Alertmanager makes of alerts of a group."""
    common = dict(set.intersection(*(set(alert["labels"].items()) for alert in alerts)))
    status = "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved"
    return {
        "receiver": receiver, "status": status, "alerts": list(alerts), "externalURL": "http://alerts.mine:9093",
        "groupLabels": {}, "commonLabels": common, "commonAnnotations": {},
    }  # fmt: skip


def stories():
    phase = alert(
        "KilnPersonRequired", "critical", level="3", reason="system_resource_exhaustion", gate="4", phase="desktop",
        summary="Phase desktop needs a person: system_resource_exhaustion", description="To see what is missing: kiln gates",
    )  # fmt: skip
    more = alert(
        "KilnPersonRequired", "critical", level="3", reason="security_violation",
        summary="More gates are open: security_violation", description="To see which: kiln gates",
    )  # fmt: skip
    down = alert("KilnRunnerDown", "critical", level="3", summary="kiln is gone", description="To go on: kiln run")
    stalled = alert("KilnRunStalled", "warning", level="2", summary="The run is stalled", description="To see what it does: kiln status")
    return {
        "gate": message(gate("zlib")),
        "fifty-gates": message(*(gate(f"package{number}", "network_issues", str(number)) for number in range(50))),
        "phase": message(phase),
        "more-gates": message(more),
        "runner-down": message(down),
        "warning": message(stalled, receiver="team"),
        "one-of-two-resolved": message(gate("zlib"), gate("m4", status="resolved")),
        "resolved": message(gate("m4", status="resolved")),
        # Names come from definitions, and need not be nice.
        "markup": message(gate('<b>"zlib" & co</b>')),
    }


def render(part, data, scratch):
    given = scratch / "data.json"
    given.write_text(json.dumps(data))
    good, said = run(
        "amtool", "template", "render", f"--template.glob={TEMPLATES}/*.tmpl", f"--template.data={given}",
        f"--template.type={'html' if part == 'html' else 'text'}", f'--template.text={{{{ template "kiln.{part}" . }}}}',
    )  # fmt: skip
    demand(good, f"kiln.{part}: {said}")
    return said


def look(name, data, subject, text, page):
    firing = [alert for alert in data["alerts"] if alert["status"] == "firing"]
    demand("\n" not in subject and subject == subject.strip(), f"{name}: the subject is no line: {subject!r}")
    how_bad = f"[{firing[0]['labels']['severity'].upper()}]" if firing else "[RESOLVED]"
    demand(subject.startswith(how_bad), f"{name}: the subject does not say how bad: {subject}")
    demand(data["alerts"][0]["annotations"]["summary"] in subject, f"{name}: the subject does not say what: {subject}")
    demand("(pocket on build1:10978)" in subject, f"{name}: the subject does not say where: {subject}")
    demand(f", and {len(firing) - 1} more" in subject if len(firing) > 1 else "more" not in subject, f"{name}: {subject}")
    parsed = Parsed(page, name)
    for shown, kind in ((text, "text"), (parsed.text, "html")):
        demand("<no value>" not in shown, f"{name}: something is missing in {kind}")
        for number, alert in enumerate(data["alerts"]):
            told = [alert["annotations"]["summary"]]
            if alert in firing and number < 5:
                told += [alert["annotations"]["description"], "2026-03-01 23:50:07 UTC"]
                told.append(alert["annotations"]["runbook_url"].removeprefix("file://"))
                if "reason" in alert["labels"]:
                    told.append(f"kiln gates ack {alert['labels'].get('gate', 'GATE')} {DIRECTORIES}")
            elif alert not in firing:
                told.append("2026-03-01 23:50:07 to 2026-03-02 07:10:00 UTC")
            for what in told:
                demand(what in shown, f"{name}: {kind} does not say {what!r}")
    # One for each that is told of in full, and one for all.
    wanted = min(len(firing), 5) + (len(firing) > 1)
    links = [link for link in parsed.links if "silences/new?filter=" in link]
    demand(len(links) == wanted, f"{name}: html has {len(links)} links to silences")
    silences(name, firing, [unquote(link).partition("?filter=")[2] for link in links])
    demand(all(link in text for link in links) and text.count("silences/new?filter=") == wanted, f"{name}: text has other links to silences")
    demand(all(link.startswith("http://alerts.mine:9093/#/") for link in parsed.links), f"{name}: links to {parsed.links}")


def silences(name, firing, filters):
    """A gate's is about this gate; that of all is about these, and none that opens later."""
    for alert, said in zip(firing[:5], filters):
        if gate := alert["labels"].get("gate"):
            demand('alertname=~"KilnPersonRequired.*"' in said and f'gate="{gate}"' in said, f"{name}: a silence is {said}")
        else:
            demand(f'alertname="{alert["labels"]["alertname"]}"' in said, f"{name}: a silence is {said}")
        demand('job="kiln",instance="build1:10978"' in said, f"{name}: a silence is about other targets, too: {said}")
    if len(firing) > 1:
        gates = "|".join(alert["labels"]["gate"] for alert in firing)
        demand(f'gate=~"{gates}"' in filters[-1], f"{name}: the silence of all is {filters[-1]}")


class Parsed(HTMLParser):
    """Demands that what is opened is closed."""

    def __init__(self, page, name):
        super().__init__()
        self.name, self.open, self.text, self.links = name, [], "", []
        self.feed(page)
        self.close()
        demand(not self.open, f"{name}: html leaves {self.open} open")

    def handle_starttag(self, tag, attributes):
        demand(tag != "b", f"{self.name}: a package's name became markup")
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value for key, value in attributes if key == "href"]

    def handle_endtag(self, tag):
        demand(self.open and self.open.pop() == tag, f"{self.name}: html closes {tag} where it is not open")

    def handle_data(self, data):
        self.text += data
