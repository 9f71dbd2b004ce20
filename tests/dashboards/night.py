"""What the dashboards say to somebody who opens them at night: the runner was killed, and nothing answers; then a sidecar does.

What failed and what is asked is there to read, and nothing looks well, or as if it went on. Does not know: how that is asked of
Prometheus.
"""

import time

from definition import ASKS, FIRST
from lint import GREY, targets
from watched import demand, interpolate, until

# Panels of one moment that say something though nothing answers: what was known last, and what was counted in the time that is shown.
KNOWN = {
    "overview.json": {"Definition", "Run", "Runner", "Gates", "Progress", "Open gates", "What failed", "Firing alerts", "Phases"},
    "failures.json": {
        "Open gates by reason", "Packages by escalation level", "Failed attempts", "Failed part", "Open gates",
        "Packages that failed in this run", "Recovery actions", "Notifications",
    },
    "durations.json": {"What attempts took", "How long tasks waited", "Time of each phase", "CPU time of each phase"},
    "resources.json": {"Requirements of phases", "Peak memory of attempts", "Source cache"},
    "itself.json": {"Last checkpoint", "Not covered", "Run and version"},
}  # fmt: skip
# The same with a sidecar, which has read the ledger, and without.
AT_NIGHT = {
    ("overview.json", "Run"): [{"": "WAS RUNNING"}],
    ("overview.json", "Runner"): [{"": "DOWN"}],
    ("overview.json", "Gates"): [{"": "1"}],
    ("overview.json", "Time left"): [{}, {}],
    ("overview.json", "Ends at"): [{}, {}],
    ("overview.json", "Running tasks"): [{}, {}, {}],
    ("failures.json", "Packages by escalation level"): [{"": "3"}, {"": "0"}, {"": "0"}, {"": "1"}],
}


class Night:
    def __init__(self, prometheus, dashboards, start):
        self.prometheus, self.dashboards, self.start = prometheus, dashboards, start

    def ask(self, expression, now):
        return self.prometheus.query(interpolate(expression, self.start, now, 1), now)

    def panels(self, name, now):
        """Of each panel of one moment, what each of its queries has: series, with the word that stands for its value, and its colour."""
        found = {}
        for panel, target in targets(self.dashboards[name]):
            if target["instant"]:
                said = [(each["metric"], *shown(panel, target, each["value"][1])) for each in self.ask(target["expr"], now)]
                found.setdefault(panel["title"], []).append(said)
        return found

    def check(self, when, now):
        """What is the same with a sidecar and without."""
        wrong = []
        said = {(name, title): each for name in self.dashboards for title, each in self.panels(name, now).items()}

        def expect(name, title, queries, expected, label=""):
            has = [{metric.get(label, ""): word for metric, word, _ in said[name, title][at] if word != "0" or not label} for at in queries]
            if has != expected:
                wrong.append(f"{name}: {title}: {has}, not {expected}")

        for (name, title), expected in AT_NIGHT.items():
            expect(name, title, range(len(expected)), expected)
        expect("failures.json", "Open gates by reason", [0], [{"critical_build_failure": "1"}], "reason")
        needed = {ASKS: "3 person needed"}
        expect("overview.json", "What failed", [0], [needed], "package")
        recovered = dict.fromkeys((FIRST, "glibc", "make"), "0 recovered")
        expect("failures.json", "Packages that failed in this run", [0], [{**needed, **recovered}], "package")
        states = {"toolchain": "COMPLETED", "base_system": "WAS RUNNING", "desktop": "PENDING"}
        expect("overview.json", "Phases", [1], [states], "phase")
        expect("overview.json", "Phases", [4], [{"base_system": "1"}], "phase")
        expect("resources.json", "Requirements of phases", [1], [states], "phase")
        for name in ("overview.json", "failures.json"):
            # The first was answered in the run before, the second in this one.
            expect(name, "Open gates", [0], [{"3": "1"}], "gate")
            about = {metric["package"] for metric, *_ in said[name, "Open gates"][1]}
            if about != {ASKS}:
                wrong.append(f"{name}: Open gates: since when those of {about} are open")
        for name, title, at in (("overview.json", "Phases", 6), ("durations.json", "Time of each phase", 0)):
            took = {metric["phase"] for metric, *_ in said[name, title][at]}
            if took != {"toolchain"}:
                wrong.append(f"{name}: {title}: {took} took a time, or still do")
        demand(not wrong, "\n".join([when, *wrong]))
        return said


def shown(panel, target, value):
    """What stands for a value, and in which colour if that is said by a word's mapping."""
    mappings = panel["fieldConfig"]["defaults"].get("mappings", [])
    if panel["type"] == "table":
        names = panel["transformations"][1]["options"]["renameByName"]
        column = names.get(f"Value #{target['refId']}")
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["options"] == column:
                mappings = next((it["value"] for it in override["properties"] if it["id"] == "mappings"), mappings)
    word = next((each["options"][value] for each in mappings if value in each["options"]), {})
    return word.get("text", value), word.get("color")


def check(build, dashboards):
    start = time.time()
    night = Night(build.prometheus, dashboards, start - 60)
    until(lambda: build.prometheus.has("up == 0"), "the run that has ended still answers")
    said = night.panels("overview.json", time.time())
    for title, word in (("Gates", "none"), ("Runner", "none"), ("Run", "COMPLETED")):
        ((_, has, color),) = said[title][0]
        demand(has == word and (has != "none" or color == GREY), f"after the end: {title}: {has} in {color}")

    asked, changed, answered, now = build.ask_again()
    check_answer(night, changed, start, now)
    check_live(night, asked, changed, answered)
    said = night.check("killed, nothing answers:", build.die())
    has = {name: {title for at, title in said if at == name and any(said[at, title])} for name in dashboards}
    demand(has == KNOWN, f"killed, nothing answers: {has}, not {KNOWN}")
    night.check("killed, with a sidecar:", build.serve())
    check_timeline(night, time.time())


def check_answer(night, changed, start, now):
    """That a gate was answered is no failure: its moment is not marked as one; others are."""
    for name, dashboard in night.dashboards.items():
        (note,) = (each for each in dashboard["annotations"]["list"] if each["name"] == "Failures")
        series = night.prometheus.query_range(interpolate(note["expr"], start, now, 1), start, now, 1)
        marked = {float(value) / 1000 for each in series if each["metric"]["package"] == ASKS for _, value in each["values"]}
        demand(len(marked) >= 3 and changed not in marked, f"{name}: failures of {ASKS} at {marked}, it was answered at {changed}")


def check_live(night, asked, changed, answered):
    """While kiln answers nothing else counts: a gate is not open that was at the last step of a subquery, and was answered after it."""
    steps = (step for step in range(1000, 3_600_000) if asked * 1000 < int(answered * 1000) // step * step < changed * 1000)
    step = next(steps, None)
    demand(step, f"no step ends between {asked} and {changed}")
    for name in ("overview.json", "failures.json"):
        expression = next(target["expr"] for panel, target in targets(night.dashboards[name]) if panel["title"] == "Open gates")
        found = night.ask(expression.replace("$__interval", f"{step}ms"), answered)
        demand(not found, f"{name}: answered, and still open: {found}")


def check_timeline(night, now):
    (pair,) = (each for each in targets(night.dashboards["durations.json"]) if each[0]["title"] == "Phases over time")
    panel, target = pair
    states = {each["metric"]["phase"]: shown(panel, target, each["value"][1])[0] for each in night.ask(target["expr"], now)}
    demand(states["base_system"] == "WAS RUNNING", f"Phases over time, with a sidecar: {states}")
