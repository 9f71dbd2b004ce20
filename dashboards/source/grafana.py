"""What Grafana wants of a dashboard: panels, their place, variables, annotations, links.

Owns: what all of kiln's dashboards have in common. Does not know: which metrics there are.

In an expression `@` stands for the matchers that every selector has.
"""

MATCHERS = 'job=~"$job", instance=~"$instance"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
# A time behind all others.
NEVER = "1e12"
# As many as Prometheus gives in one answer.
POINTS = 11_000
DASHED = {"fill": "dash", "dash": [8, 6]}
# What is counted; and in graphs that count it a minute at a time.
COUNT = {"unit": "none", "decimals": 0, "min": 0}
MINUTES = {**COUNT, "style": "bars", "stacked": True, "interval": "1m"}

GREY, BLUE, GREEN, YELLOW, ORANGE, RED, PURPLE = (
    "#8e8e99", "blue", "green", "yellow", "orange", "red", "purple"
)  # fmt: skip
# What a state looks like, wherever it is shown.
COLORS = {
    "idle": GREY, "pending": GREY, "blocked": GREY, "ready": "light-blue", "running": BLUE, "backoff": YELLOW,
    "paused": ORANGE, "completed": GREEN, "failed": RED, "error": RED, "skipped": PURPLE,
}  # fmt: skip
# What is `running` by its records, and has no runner.
LOST = "was running"


def query(expression, legend="", **more):
    return {"expr": expression.replace("@", MATCHERS), "legendFormat": legend, **more}


def known(selector):
    """What it selects, or, if nothing answers now, what it did when its target answered last (a killed `kiln run` answers no more).

    last_over_time alone would bring back what had ended by then, as a gate that was answered: what holds was there as long as
    kiln_series. A step of the subquery is no longer than a scrape interval, up to POINTS of them. (timestamp() would say the same, and
    begin anew at each step: half a minute for half a day.)
    """
    seen = "max_over_time((time() + 0 * %s)[$__range:$__interval])"
    return (
        f"({selector} or last_over_time({selector}[$__range]) and {seen % selector} == on (job, instance) group_left () "
        f"{seen % 'kiln_series{@}'} unless on (job, instance) kiln_series{{@}})"
    )


def codes(*states):
    """A number for each state, so that a panel can give each its word and colour: `coded` makes them."""
    shown = [(state.upper(), COLORS[state]) for state in states] + [(LOST.upper(), ORANGE)]
    return mapping(dict(enumerate(shown)))


def coded(metric, by, *states, past=False):
    """Which of `states` holds, or LOST: `metric` has a series of 0 or 1 for each. `past`: the last known, if nothing answers now."""
    runner = "kiln_runner_up{@}"
    if past:
        runner = f"({runner} or 0 * last_over_time({runner}[$__range]))"
    parts = []
    for number, state in enumerate(states):
        holds = f'{metric}{{@, state="{state}"}}'
        if state == "running":
            number = f"on (job, instance) group_left () ({len(states)} - {len(states) - number} * {runner})"
        parts.append(f"{known(holds) if past else holds} * {number}")
    return f"sum by ({by}) ({' or '.join(parts)})"


def mapping(of):
    """{value: (text, colour)}."""
    options = {str(key): {"text": text, "color": color, "index": at} for at, (key, (text, color)) in enumerate(of.items())}
    return [{"type": "value", "options": options}]


def steps(first, *more):
    """Thresholds: a colour, and from which value on another."""
    return {
        "mode": "absolute",
        "steps": [{"color": first, "value": None}] + [{"color": color, "value": value} for value, color in more],
    }


def override(name, **properties):
    """Of the field with this name. `custom_…` is a property of the panel's own."""
    listed = [{"id": key.replace("custom_", "custom."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": listed}


def fixed(color):
    return {"mode": "fixed", "fixedColor": color}


def painted(names):
    """Series that are called as a state is, in its colour; what only waits is pale."""
    return [override(name, color=fixed(COLORS[name]), custom_fillOpacity=15 if COLORS[name] == GREY else 70) for name in names]


def panel(
    kind, title, says, width, queries, options, empty,
    overrides=(), custom=None, interval=None, transformations=(), **defaults,
):  # fmt: skip
    """`empty` is what stands there while there is no data, and why."""
    made = {
        "type": kind,
        "title": title,
        "description": says,
        "width": width,
        "datasource": SOURCE,
        "targets": [],
        "fieldConfig": {"defaults": {"noValue": empty, "custom": custom or {}, **defaults}, "overrides": list(overrides)},
        "options": options,
        "transformations": list(transformations),
        "pluginVersion": "11.0.0",
    }
    if interval:
        made["interval"] = interval
    if any("$__interval" in each["expr"] for each in queries):
        made["maxDataPoints"] = POINTS
    instant = kind in ("stat", "bargauge", "table")
    for letter, each in zip("ABCDEFGHIJ", queries, strict=False):
        made["targets"].append(
            {"refId": letter, "datasource": SOURCE, "editorMode": "code", "instant": instant, "range": not instant,
             "format": "table" if kind == "table" else "time_series", **each}
        )  # fmt: skip
    return made


def stat(title, says, width, *queries, empty, color="background", text="auto", **defaults):
    """`thresholds` begin with GREY, as those of bars: the first is the colour of `empty`, too."""
    defaults.setdefault("thresholds", steps(GREY))
    options = {
        "colorMode": color,
        "graphMode": "none",
        "justifyMode": "center",
        "textMode": text,
        "orientation": "auto",
        "wideLayout": True,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("stat", title, says, width, queries, options, empty, **defaults)


def bars(title, says, width, *queries, empty, size=20, **defaults):
    """`size` of the figures, in pixels."""
    options = {
        "text": {"titleSize": 14, "valueSize": size},
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("bargauge", title, says, width, queries, options, empty, **defaults)


def graph(title, says, width, *queries, empty="Nothing answered in this time.", style="line", fill=10, stacked=False, stepped=False, **defaults):
    """`thresholds` are dashed lines."""
    defaults.setdefault("color", {"mode": "palette-classic"})
    custom = {
        "thresholdsStyle": {"mode": "dashed" if "thresholds" in defaults else "off"},
        "drawStyle": style,
        "lineWidth": 1 if stacked or style == "bars" else 2,
        "fillOpacity": 70 if stacked or style == "bars" else fill,
        "pointSize": 6,
        "showPoints": "always" if style == "points" else "never",
        "spanNulls": False,
        "lineInterpolation": "stepAfter" if stepped else "linear",
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    options = {
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    return panel("timeseries", title, says, width, queries, options, empty, custom=custom, **defaults)


def timeline(title, says, width, *queries, empty, **defaults):
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.8,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {"fillOpacity": 80, "lineWidth": 0, "spanNulls": False}
    return panel("state-timeline", title, says, width, queries, options, empty, custom=custom, **defaults)


def table(title, says, width, columns, *queries, empty, sort=None, **defaults):
    """`columns`: {label, or letter of a query: how the column is called}, in their order; what is not named is not shown.

    What stands in a cell without a value is for the column's override to say (noValue).
    """
    values = {letter: f"Value #{letter}" for letter in "ABCDEFGHIJ"[: len(queries)]}
    names = {values.get(key, key): name for key, name in columns.items()}
    hidden = [name for name in ["Time", *values.values()] if name not in names]
    # Grafana calls the only query's column so, and that of the first if the others have no data.
    if "A" in columns:
        names["Value"] = columns["A"]
    else:
        hidden.append("Value")
    organize = {
        "renameByName": names,
        "indexByName": {name: at for at, name in enumerate(names)},
        "excludeByName": dict.fromkeys(hidden, True),
    }
    transformations = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "fields": ""}}
    if sort:
        options["sortBy"] = [{"displayName": sort, "desc": True}]
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False, "minWidth": 60}
    return panel("table", title, says, width, queries, options, empty, custom=custom, transformations=transformations, **defaults)


def text(title, says, width, markdown):
    options = {"mode": "markdown", "content": markdown}
    return {"type": "text", "title": title, "description": says, "width": width, "options": options}


def dashboard(name, title, says, *lines):
    """Each line: its height, and panels that fill it from left to right. All of it is there once for each instance."""
    row = {"type": "row", "title": "$instance", "repeat": "instance", "collapsed": False, "panels": []}
    panels, top = [{**row, "gridPos": {"x": 0, "y": 0, "w": WIDTH, "h": 1}}], 1
    for height, *line in lines:
        left = 0
        for each in line:
            width = each.pop("width")
            panels.append({**each, "gridPos": {"x": left, "y": top, "w": width, "h": height}})
            left += width
        assert left == WIDTH, f"{title}: the line with {line[0]['title']} is {left} wide, not {WIDTH}"
        top += height
    return {
        "uid": f"kiln-{name}",
        "title": f"kiln / {title}",
        "description": says,
        "tags": ["kiln"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "title": "kiln", "tags": ["kiln"], "asDropdown": False, "includeVars": True, "keepTime": True,
             "targetBlank": False, "icon": "external link", "tooltip": "", "url": ""}
        ],
        "templating": {"list": variables()},
        "annotations": {"list": annotations()},
        "panels": [{"id": number, **each} for number, each in enumerate(panels, 1)],
    }  # fmt: skip


def variables():
    def labels(name, expression):
        return {
            "type": "query", "name": name, "label": name.title(), "datasource": SOURCE, "definition": expression,
            "query": {"qryType": 1, "query": expression, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
            "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".+", "regex": "", "hide": 0,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]}, "options": [],
        }  # fmt: skip

    return [
        {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "regex": "", "hide": 0,
         "refresh": 1, "multi": False, "includeAll": False, "current": {}, "options": []},
        labels("job", "label_values(kiln_build_info, job)"),
        labels("instance", 'label_values(kiln_build_info{job=~"$job"}, instance)'),
    ]  # fmt: skip


def annotations():
    def at(name, color, expression, title, text=""):
        """At the time that is the series' value."""
        return note(name, color, f"1000 * {expression}", title, text) | {"useValueForTime": True}

    def note(name, color, expression, title, text=""):
        return {
            "name": name, "iconColor": color, "datasource": SOURCE, "enable": True, "hide": False, "step": "15s",
            "expr": expression.replace("@", MATCHERS), "titleFormat": title, "textFormat": text, "tagKeys": "",
        }  # fmt: skip

    # An answer to a gate lowers the level, and is no failure.
    risen = "kiln_escalation_level{@} > (kiln_escalation_level{@} offset $__interval or 0 * kiln_escalation_level{@})"
    failed = "on (job, instance, phase, package) group_right kiln_failed_package_info{@}"
    recovered = "and on (job, instance, phase, package) (kiln_escalation_level{@} == 0)"
    return [
        at("Phases start", BLUE, "kiln_phase_start_timestamp_seconds{@}", "phase {{phase}} starts"),
        at("Phases finish", GREEN, "kiln_phase_completion_timestamp_seconds{@}", "phase {{phase}} is finished"),
        at("Failures", ORANGE, f"(kiln_escalation_timestamp_seconds{{@}} and {risen}) * {failed}",
           "{{package}}: {{task}} failed", "{{category}}, phase {{phase}}"),
        at("Recoveries", GREEN, f"(kiln_escalation_timestamp_seconds{{@}} {recovered})", "{{package}} recovered, or is skipped"),
        note("Alerts", RED, 'ALERTS{@, alertname=~"Kiln.*", alertstate="firing"}',
             "{{alertname}}", "{{severity}} {{phase}} {{package}}"),
    ]  # fmt: skip
