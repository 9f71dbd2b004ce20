"""Rules and runbooks: promtool, and what it does not look at."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from common import cannot, demand, say
from shipped import ALERTS, CONFIG, ROOT, RULE_TESTS, RULES, RUNBOOK_URL, RUNBOOKS, alerts, read, rules, run

SEVERITIES = {"1": "info", "2": "warning", "3": "critical"}
# Rules that look at these are about packages, and say what failed.
ABOUT_PACKAGES = re.compile(r"kiln:(package_failed|package_escalated|gate_open):seen")
SECTIONS = ["What it means", "If it waits until the morning", "Look", "Do", "Silence"]
# Always so.
NEVER_QUIET = {"KilnWatchdog"}
# About no target of kiln's: they carry neither channels nor directories.
OF_NO_TARGET = {"KilnWatchdog", "KilnAlertsNotSent"}
# Of other programs; that these have them is known in `live.py` and `tests/paging`.
FOREIGN = {"alertmanager_notifications_failed_total", "prometheus_notifications_errors_total"}
# What kiln takes of Alertmanager at once, and what all that an alert says but its labels is short of. Labels are names: of the target, the
# package, directories.
MOST_BYTES, LABELS_BYTES = 1 << 20, 2048
# Gates beyond the hundredth are one alert for each.
REASONS = ("critical_build_failure", "system_resource_exhaustion", "security_violation")
TARGET_LABELS = {"job", "instance"}


def check():
    promtool()
    named()
    known()
    told()
    fits()
    tested()
    pages()
    commands()


def promtool():
    good, said = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)
    demand(good, said)
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        for path, (good, said) in zip(RULE_TESTS, workers.map(lambda path: run("promtool", "test", "rules", path), RULE_TESTS)):
            demand(good, f"{path.name}: {said}")
    say(f"promtool: {len(rules())} rules, tests in {len(RULE_TESTS)} files")


def named():
    names = [rule["alert"] for rule in alerts()]
    demand(len(set(names)) == len(names), "an alert's name is taken twice")
    demand(all(name.startswith("Kiln") for name in names), "an alert's name does not begin with Kiln")
    unknown = set(re.findall(r"\bKiln\w+", CONFIG.read_text())) - set(names)
    demand(not unknown, f"alertmanager.yml names alerts that do not exist: {sorted(unknown)}")


def families():
    """Name and labels of each metric, from where kiln has them."""
    found = {}
    table = (ROOT / "src/observe/families.rs").read_text()
    for kind, name, labels in re.findall(r'\b(COUNTER|GAUGE|HISTOGRAM) "(\w+)" \[([^]]*)\]', table):
        labels = set(re.findall(r'"(\w+)"', labels))
        if kind == "HISTOGRAM":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found


def known():
    """Metrics, their labels and recorded series exist; nothing is recorded in vain; no rule knows what jobs are called."""
    exported = families()
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = set()
    for rule in rules():
        of, text = rule.get("alert") or rule["record"], re.sub(r"#.*", "", rule["expr"])
        words = re.sub(r'"[^"]*"', '""', text)
        for name in re.findall(r"\bkiln_\w+", words):
            demand(name in exported, f"{of}: kiln exports no {name}")
        foreign = set(re.findall(r"\b(?:alertmanager|prometheus|go|process)_\w+", words))
        demand(foreign <= FOREIGN, f"{of}: who knows {foreign - FOREIGN}")
        for name, selector in re.findall(r"\b(kiln_\w+)\{([^}]*)\}", text):
            labels = set(re.findall(r"(\w+)\s*[=!]", selector))
            demand(labels <= exported[name], f"{of}: {name} has no label {labels - exported[name]}")
        for labels in re.findall(r"\bon \(([^)]*)\)", words):
            labels = set(re.split(r",\s*", labels))
            demand(TARGET_LABELS <= labels, f"{of}: joins targets on {labels}")
        demand(not re.search(r"\b(job|instance)\s*(=|!|=~)", words), f"{of}: knows the name of a job or instance")
        asked = " ".join(rule.get("annotations", {}).values())
        series = set(re.findall(r"\bkiln:\w+(?::\w+)?", words + asked))
        demand(series <= recorded, f"{of}: nothing records {series - recorded}")
        used |= series - {rule.get("record")}
    demand(recorded <= used, f"recorded and never used: {sorted(recorded - used)}")
    say(f"rules know {len(exported)} metrics and {len(recorded)} recorded series")


def told():
    for rule in alerts():
        name, labels, texts = rule["alert"], rule["labels"], rule["annotations"]
        demand(labels["severity"] in SEVERITIES.values(), f"{name}: its severity is {labels['severity']}")
        level = labels.get("level")
        demand(SEVERITIES.get(level) == labels["severity"], f"{name}: level {level} is no {labels['severity']}")
        demand(set(texts) == {"summary", "description", "runbook_url"}, f"{name}: has annotations {sorted(texts)}")
        demand(texts["runbook_url"] == f"{RUNBOOK_URL}{name}.md", f"{name}: runbook_url is {texts['runbook_url']}")
        demand(re.search(r"\b(kiln [a-z]+|curl) ?", texts["description"]), f"{name}: its description names no command")
        if ABOUT_PACKAGES.search(rule["expr"]):
            for label in ("$labels.package", "$labels.category|label `category`"):
                demand(re.search(label.replace("$", r"\$"), texts["description"]), f"{name}: its description has no {label}")
        if name in OF_NO_TARGET:
            continue
        demand("kiln:target_info" in rule["expr"], f"{name}: does not carry its channels")
        for command in re.findall(rf"\bkiln (?:{'|'.join(COMMANDS)})\b(?:(?![;(]|\. ).)*", texts["description"]):
            demand("$labels.directories" in command, f"{name}: works only in the definition's directory: {command}")


def fits():
    """As many alerts as Alertmanager is told to post at once are no more than kiln takes, and all gates are among them."""
    (system_log,) = (receiver for receiver in read(CONFIG)["receivers"] if receiver["name"] == "system_log")
    most = system_log["webhook_configs"][0]["max_alerts"]
    # Each has the rule's expression in a link.
    largest = max(len("".join(rule["annotations"].values())) + len(quote(rule["expr"])) for rule in alerts())
    demand(most * (largest + LABELS_BYTES) < MOST_BYTES, f"{most} alerts of {largest} bytes and their labels are more than kiln takes")
    demand(most > 100 + len(REASONS), f"{most} alerts are less than there may be gates")


def tested():
    """Each alert fires in a test, with all that it says, and in another it does not."""
    fires, quiet = set(), set()
    for path in RULE_TESTS:
        for group in read(path)["tests"]:
            for case in group.get("alert_rule_test", []):
                (fires if case["exp_alerts"] else quiet).add(case["alertname"])
    names = {rule["alert"] for rule in alerts()}
    demand(names <= fires, f"never seen to fire: {sorted(names - fires)}")
    demand(names - NEVER_QUIET <= quiet, f"never seen not to fire: {sorted(names - NEVER_QUIET - quiet)}")


def pages():
    names = {rule["alert"] for rule in alerts()}
    there = {page.stem for page in RUNBOOKS.iterdir()}
    demand(names == there, f"alerts without a runbook, or runbooks without an alert: {sorted(names ^ there)}")
    for page in RUNBOOKS.iterdir():
        lines = page.read_text().splitlines()
        demand(lines[0] == f"# {page.stem}", f"{page.name} is titled {lines[0]}")
        sections = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
        demand(sections == SECTIONS, f"{page.name} has the sections {sections}")
        for link in re.findall(r"\]\(([^)]*)\)", page.read_text()):
            demand((RUNBOOKS / link).exists(), f"{page.name} links to {link}")


def commands():
    """Each `kiln …` that somebody is told to run exists, with its options."""
    named = os.environ.get("KILN") or Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/kiln"
    if not Path(named).exists():
        return cannot(f"{named} is not built") if "CI" in os.environ else say(f"commands: skipped, {named} is not built")
    texts = {page.name: quoted(page) for page in RUNBOOKS.iterdir()} | {CONFIG.name: quoted(CONFIG)}
    texts |= {rule["alert"]: re.sub(r"\{\{.*?\}\}", "X", rule["annotations"]["description"]) for rule in alerts()}
    helps, wrong, seen = {(): help_of(named)}, set(), set()
    for where, text in texts.items():
        for told in re.findall(r"\bkiln ([a-z]+(?: [\w/-]+)*)", text):
            words, path = told.split(), ()
            while words and re.search(rf"^  {re.escape(words[0])}\b", subcommands(helps[path]), re.MULTILINE):
                path += (words.pop(0),)
                if path not in helps:
                    helps[path] = help_of(named, *path)
            options = [word for word in words if word.startswith("--")]
            bad = [option for option in options if not re.search(rf"{option}\b", helps[path])]
            # "kiln cannot read" is no command; after `kiln gates` stands a name in capitals, or another command.
            missing = told.split()[0] in COMMANDS if not path else subcommands(helps[path]) and words[:1] and words[0].islower()
            if bad or missing:
                wrong.add(f"{where}: kiln {told}")
            elif path:
                seen.add(" ".join(path))
    demand(not wrong, "commands that do not exist:\n  " + "\n  ".join(sorted(wrong)))
    say(f"commands that are named and exist: {', '.join(sorted(seen))}")


def quoted(path):
    return "\n".join(re.findall(r"`(kiln [^`]*)`", path.read_text()))


# Where one of these stands after `kiln`, a command is meant.
COMMANDS = set(
    "check plan graph fetch run serve status pause resume stop gates resolve log why history checkpoint clean doctor classify simulate".split()
)


def help_of(kiln, *path):
    return subprocess.run([kiln, *path, "--help"], capture_output=True, text=True, check=True).stdout


def subcommands(text):
    return text.partition("Commands:\n")[2].partition("\n\n")[0]
