"""What a dashboard must be like: the rules of Grafana's dashboard-linter, under their names there, and some of our own.

A rule is a function of a dashboard that yields what is wrong. Does not know: whether queries are right (a real Prometheus is
asked).
"""

import copy
import re
from pathlib import Path

FAMILIES = Path(__file__).resolve().parents[2] / "src/observe/families.rs"
# Prometheus's own, with their labels.
PROMETHEUS = {
    "up": [], "scrape_duration_seconds": [], "scrape_samples_scraped": [],
    "ALERTS": ["alertname", "alertstate", "severity", "phase", "package"],
    "ALERTS_FOR_STATE": ["alertname", "severity", "phase", "package"],
}  # fmt: skip
# Named in the design, and not in families.rs yet. What is there by now is held to all rules, whether it stands here or not.
PENDING = {
    "kiln_log_messages_dropped_total": [], "kiln_tasks_memory_bytes": ["phase"], "kiln_permission_granted": ["permission"],
    "kiln_notification_failures_total": ["channel"],
}  # fmt: skip
# Grafana's ids of the units that we use (tests/dashboards/render asks Grafana itself).
UNITS = {"none", "short", "percentunit", "s", "dthms", "dateTimeAsIsoNoDateIfToday", "bytes", "binBps", "wps"}
GREY = "#8e8e99"
DATASOURCES = ("$datasource", "${datasource}")
MATCHERS = {"job": 'job=~"$job"', "instance": 'instance=~"$instance"'}

METRIC = re.compile(r"\b(kiln_\w+|process_\w+|scrape_\w+|up|ALERTS\w*)\b(\{[^}]*\})?")
COUNTED = re.compile(r"\b(?:rate|irate|increase)\(\w+_total(\{[^}]*\})?\[[^]]+\]\)")


def families():
    """Labels of each metric family that kiln exports, by name; of histograms, of their series."""
    found = {}
    for kind, name, labels in re.findall(r'^    \w+ (\w+) "(\w+)" \[(.*)\]$', FAMILIES.read_text(), re.MULTILINE):
        labels = re.findall(r'"(\w+)"', labels)
        for suffix in ("_bucket", "_sum", "_count") if kind == "HISTOGRAM" else ("",):
            found[name + suffix] = [*labels, "le"] if suffix == "_bucket" else labels
    return found


def pending():
    return {name: labels for name, labels in PENDING.items() if name not in families()}


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def targets(dashboard):
    """Each panel with each of its queries."""
    return [(panel, target) for panel in panels(dashboard) for target in panel.get("targets", [])]


def expressions(dashboard):
    """Each query with where it stands: those of panels and of annotations."""
    for panel, target in targets(dashboard):
        yield f"{panel['title']}, {target['refId']}", target["expr"]
    for note in dashboard["annotations"]["list"]:
        yield f"annotation {note['name']}", note["expr"]


def variable(dashboard, name):
    return next((each for each in dashboard["templating"]["list"] if each["name"] == name), None)


def template_datasource(dashboard):
    found = [each for each in dashboard["templating"]["list"] if each["type"] == "datasource"]
    if [(each["name"], each["label"], each["query"]) for each in found] != [("datasource", "Data source", "prometheus")]:
        yield "there must be one variable for the data source: datasource, labelled Data source, of Prometheus"


def template(name):
    def rule(dashboard):
        found = variable(dashboard, name)
        if not found:
            yield f"no variable {name}"
        elif found["datasource"]["uid"] not in DATASOURCES or found["type"] != "query":
            yield f"{name} must be a query of the data source"
        elif found["label"] != name.title() or not found["multi"] or found["allValue"] != ".+":
            yield f"{name} must be labelled {name.title()}, multi, with allValue .+"

    return rule


def template_label_promql(dashboard):
    for each in dashboard["templating"]["list"]:
        query = each["query"]["query"] if each["type"] == "query" else "label_values(ok, ok)"
        if not re.fullmatch(r"(label_names|label_values|metrics|query_result)\(.+\)", query):
            yield f"{each['name']}: {query}"


def template_on_time_change_reload(dashboard):
    for each in dashboard["templating"]["list"]:
        if each["type"] == "query" and each["refresh"] != 2:
            yield f"{each['name']} must be asked for anew when the time range changes"


def panel_datasource(dashboard):
    for panel, target in targets(dashboard):
        if not all(of.get("datasource", {}).get("uid") in DATASOURCES for of in (panel, target)):
            yield f"{panel['title']}: not the variable's data source"
    for note in dashboard["annotations"]["list"]:
        if note["datasource"]["uid"] not in DATASOURCES:
            yield f"annotation {note['name']}: not the variable's data source"


def panel_title_description(dashboard):
    for panel in panels(dashboard):
        if not panel.get("title") or not panel.get("description"):
            yield f"panel {panel['id']} has no title or no description"


def panel_units(dashboard):
    for panel in panels(dashboard):
        if panel["type"] != "text":
            config = panel["fieldConfig"]
            units = [config["defaults"].get("unit")]
            units += [it["value"] for of in config["overrides"] for it in of["properties"] if it["id"] == "unit"]
            if set(units) - UNITS:
                yield f"{panel['title']}: units {units}"


def panel_no_targets(dashboard):
    for panel in panels(dashboard):
        if panel["type"] != "text" and not panel.get("targets"):
            yield f"{panel['title']} asks for nothing"


def target_rate_interval(dashboard):
    for where, expression in expressions(dashboard):
        for window in re.findall(r"\bi?rate\([^][]+\[([^]]+)\]", expression):
            if window != "$__rate_interval":
                yield f"{where}: rate over {window}"


def target(name):
    def rule(dashboard):
        for where, expression in expressions(dashboard):
            for metric, selector in METRIC.findall(expression):
                if MATCHERS[name] not in selector:
                    yield f"{where}: {metric}{selector} is not asked for by {name}"

    return rule


def target_counter_agg(dashboard):
    for where, expression in expressions(dashboard):
        for name, _ in METRIC.findall(COUNTED.sub("", expression)):
            if name.endswith("_total"):
                yield f"{where}: {name} without rate or increase"


def target_histogram(dashboard):
    for where, expression in expressions(dashboard):
        if expression.count("_bucket{") > expression.count("histogram_quantile("):
            yield f"{where}: buckets without histogram_quantile"


def uneditable_dashboard(dashboard):
    if dashboard["editable"]:
        yield "editable"


def known_metrics(dashboard):
    """Names and labels of what is asked for are those of families.rs."""
    known = {**PENDING, **families(), **PROMETHEUS}
    for where, expression in expressions(dashboard):
        for name, selector in METRIC.findall(expression):
            labels = set(re.findall(r"(\w+)=", selector)) - {"job", "instance"}
            if name not in known:
                yield f"{where}: there is no {name}"
            elif labels - set(known[name]):
                yield f"{where}: {name} has no {', '.join(labels - set(known[name]))}"


def layout(dashboard):
    """No gaps, no overlaps."""
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    bottom = 1 + max(y for _, y in taken)
    if sorted(taken) != [(x, y) for x in range(24) for y in range(bottom)]:
        yield "panels leave gaps, or overlap"


def empty_panels(dashboard):
    """Where there is no data it is said why."""
    for panel in panels(dashboard):
        if panel["type"] != "text" and not panel["fieldConfig"]["defaults"].get("noValue"):
            yield f"{panel['title']}: no text for the time without data"


def no_value(dashboard):
    """What stands there while there is no data has the colour of the lowest threshold: that says neither well nor ill."""
    for panel in panels(dashboard):
        if panel["type"] in ("stat", "bargauge") and panel["fieldConfig"]["defaults"].get("color", {}).get("mode") != "fixed":
            config = panel["fieldConfig"]
            thresholds = [config["defaults"].get("thresholds")]
            thresholds += [it["value"] for of in config["overrides"] for it in of["properties"] if it["id"] == "thresholds"]
            if any(not each or each["steps"][0]["color"] != GREY for each in thresholds):
                yield f"{panel['title']}: no data is not grey"


def invented(dashboard):
    """A query that has data whatever is there says so of what nobody knows."""
    for where, expression in expressions(dashboard):
        if re.search(r"\bvector\(", expression):
            yield f"{where}: vector()"


def legends(dashboard):
    for panel, target in targets(dashboard):
        if panel["type"] != "table" and not target["legendFormat"]:
            yield f"{panel['title']}: a series without a name"


def identity(dashboard):
    if not dashboard["uid"].startswith("kiln-") or dashboard["tags"] != ["kiln"]:
        yield "uid or tag"
    if not 39 <= dashboard["schemaVersion"] <= 41:
        yield "schemaVersion"
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(ids) != len(set(ids)):
        yield "two panels with the same id"


RULES = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": template("job"),
    "template-instance-rule": template("instance"),
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_on_time_change_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": target("job"),
    "target-instance-rule": target("instance"),
    "target-counter-agg-rule": target_counter_agg,
    "target-histogram-rule": target_histogram,
    "uneditable-dashboard-rule": uneditable_dashboard,
    "known metrics": known_metrics,
    "layout": layout,
    "empty panels": empty_panels,
    "no value": no_value,
    "invented": invented,
    "legends": legends,
    "identity": identity,
}


def lint(dashboard):
    """What is wrong, each with its rule."""
    return [(name, what) for name, rule in RULES.items() for what in rule(dashboard)]


def broken(dashboard):
    """For each rule the dashboard with something wrong that it must find."""

    def with_(change):
        made = copy.deepcopy(dashboard)
        first = next(panel for panel in made["panels"] if panel.get("targets") and panel["type"] != "table")
        change(made, first)
        return made

    def of_stat(change):
        """All of them, whatever else they are."""
        return with_(lambda made, _: [change(each) for each in panels(made) if each["type"] in ("stat", "bargauge")])

    def ask(expression):
        return with_(lambda _, panel: panel["targets"][0].update(expr=expression.replace("@", ", ".join(MATCHERS.values()))))

    def set_variable(name, **to):
        return with_(lambda made, _: variable(made, name).update(to))

    return {
        "template-datasource-rule": set_variable("datasource", label="Source"),
        "template-job-rule": set_variable("job", allValue=""),
        "template-instance-rule": set_variable("instance", multi=False),
        "template-label-promql-rule": set_variable("job", query={"query": "values(kiln_build_info, job)"}),
        "template-on-time-change-reload-rule": set_variable("job", refresh=1),
        "panel-datasource-rule": with_(lambda _, panel: panel.update(datasource={"uid": "prometheus"})),
        "panel-title-description-rule": with_(lambda _, panel: panel.update(description="")),
        "panel-units-rule": with_(lambda _, panel: panel["fieldConfig"]["defaults"].update(unit="seconds")),
        "panel-no-targets-rule": with_(lambda _, panel: panel.update(targets=[])),
        "target-rate-interval-rule": ask("rate(kiln_ledger_writes_total{@}[5m])"),
        "target-job-rule": ask('kiln_run_progress_ratio{instance=~"$instance"}'),
        "target-instance-rule": ask("kiln_run_progress_ratio"),
        "target-counter-agg-rule": ask("rate(kiln_ledger_writes_total{@}[$__rate_interval]) / kiln_ledger_writes_total{@}"),
        "target-histogram-rule": ask("sum(rate(kiln_task_duration_seconds_bucket{@}[$__rate_interval]))"),
        "uneditable-dashboard-rule": with_(lambda made, _: made.update(editable=True)),
        "known metrics": ask('kiln_run_state{@, status="running"}'),
        "layout": with_(lambda _, panel: panel["gridPos"].update(h=panel["gridPos"]["h"] + 1)),
        "empty panels": with_(lambda _, panel: panel["fieldConfig"]["defaults"].update(noValue="")),
        "no value": of_stat(lambda panel: panel["fieldConfig"]["defaults"].update(thresholds=None, color={})),
        "invented": ask("kiln_gates_open{@} or vector(0)"),
        "legends": with_(lambda _, panel: panel["targets"][0].update(legendFormat="")),
        "identity": with_(lambda made, _: made.update(schemaVersion=42)),
    }
