//! `kiln graph`: drawings, what is near a package, why one needs another.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::building::{DOCUMENT, RECIPES};
use super::documents::golden;
use super::space::Space;

fn space() -> Space {
    let space = Space::new();
    space.document(DOCUMENT);
    space.recipes(RECIPES);
    space
}

/// Names that mean something to those who read drawings, and texts that would end a quotation.
fn odd() -> Space {
    let space = Space::new();
    space.document(
        r#"
build_phases:
  end:
    name: "a \"quoted\" \\N title & <b>more</b> #quot; `x` \n1. it"
    order: 1
    steps: [end, default, graph, subgraph, class, gtk+3.0, libstdc++, "1.0", node, edge, click, style, o, x]
"#,
    );
    let names = "end default graph subgraph class gtk+3.0 libstdc++ \"1.0\" node edge click style o x";
    let names: Vec<&str> = names.split(' ').collect();
    let mut recipes = String::new();
    for (at, name) in names.iter().enumerate() {
        recipes.push_str(&format!("package: {name}\nversion: 1:2.0~rc1+b-1\ntasks: {{build: 'true'}}\n"));
        if at >= 2 {
            recipes.push_str(&format!("build_deps: [{}]\n", names[at - 2]));
        }
        recipes.push_str("---\n");
    }
    space.recipes(recipes.trim_end_matches("---\n"));
    space
}

/// What graphviz makes of it; `None` where there is none.
fn svg(dot: &str) -> Option<String> {
    let command = Command::new("dot")
        .arg("-Tsvg")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match command {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "dot cannot be run: {error}");
            eprintln!("skipped: there is no graphviz");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(dot.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}\n{dot}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn drawings_before_a_run() {
    let space = space();
    golden("graph-dot", &space, &space.kiln(&["graph", "--format", "dot"]).exits(0).stdout);
    golden("graph-mermaid", &space, &space.kiln(&["graph", "--format", "mermaid"]).exits(0).stdout);
}

#[test]
fn drawings_show_what_became_of_packages() {
    let space = space();
    let wrong = RECIPES
        .replace(
            "tasks: {install: 'test -e",
            "tasks: {check: {run: 'false', required: false}, install: 'test -e",
        )
        .replace("optional_deps: [viewer]\n", "")
        .replace("echo vi >", "false >")
        .replace("package: viewer\n", "package: viewer\nbuild_deps: [editor]\n");
    space.recipes(&wrong);
    space.run(0);
    let dot = space.kiln(&["graph", "--format", "dot"]).exits(0).stdout;
    golden("graph-dot-after-a-run", &space, &dot);
    golden(
        "graph-mermaid-after-a-run",
        &space,
        &space.kiln(&["graph", "--format", "mermaid"]).exits(0).stdout,
    );
    svg(&dot);
}

#[test]
fn drawings_show_the_attributes_that_the_document_names() {
    let space = space();
    space.document(&format!("{DOCUMENT}\ndependency_graph: {{nodes: [package_name], edges: []}}\n"));
    let dot = space.kiln(&["graph", "--format", "dot"]).exits(0).stdout;
    let mermaid = space.kiln(&["graph", "--format", "mermaid"]).exits(0).stdout;
    for attribute in [
        "version",
        "build_status",
        "verification_status",
        "dependency_type",
        "requirement_level",
        "build_order",
    ] {
        assert!(!dot.contains(attribute), "{attribute}\n{dot}");
    }
    for text in [&dot, &mermaid] {
        assert!(text.contains("assembler") && !text.contains("2.42") && !text.contains("to build"), "{text}");
    }
    svg(&dot);
}

#[test]
fn what_is_needed_to_build_and_to_run_is_one_arrow() {
    let space = Space::with(
        "package: a\nversion: 1\nbuild_deps: [b]\nruntime_deps: [b]\ntasks: {build: 'true'}\n---\npackage: b\nversion: 1\ntasks: {build: 'true'}\n",
    );
    let dot = space.kiln(&["graph", "--format", "dot"]).exits(0).stdout;
    let edge = "\"a\" -> \"b\" [dependency_type=\"build+runtime\", requirement_level=required, build_order=0, penwidth=2];";
    assert!(dot.contains(edge) && dot.matches(" -> ").count() == 1, "{dot}");
    let mermaid = space.kiln(&["graph", "--format", "mermaid"]).exits(0).stdout;
    assert!(mermaid.contains("\n  p1 ==> p0\n") && mermaid.contains("to build and to run"), "{mermaid}");
}

#[test]
fn graphviz_draws_every_package_and_edge_that_is_to_be_drawn() {
    for space in [space(), odd()] {
        let dot = space.kiln(&["graph", "--format", "dot", "--all-edges"]).exits(0).stdout;
        let Some(svg) = svg(&dot) else { return };
        let graph = space.kiln(&["graph"]).exits(0).json();
        for node in graph["nodes"].as_array().unwrap() {
            let name = node["package_name"].as_str().unwrap().replace('-', "&#45;");
            assert!(svg.contains(&format!("<title>{name}</title>")), "{name}\n{svg}");
        }
        for edge in graph["edges"].as_array().unwrap() {
            let name = |end: &str| edge[end].as_str().unwrap().replace('-', "&#45;");
            let title = format!("<title>{}&#45;&gt;{}</title>", name("from"), name("to"));
            assert!(svg.contains(&title), "{title}\n{svg}");
        }
    }
}

#[test]
fn a_drawing_grows_where_there_is_room() {
    let recipe = |name: usize, needs: usize| {
        format!("package: p{name}\nversion: 1\nbuild_deps: [p{needs}]\ntasks: {{build: 'true'}}\n---\n")
    };
    for (needs, rankdir, mermaid) in
        [(|_| 0, "rankdir=RL", "flowchart RL"), (|n| n - 1, "rankdir=BT", "flowchart BT")]
            as [(fn(usize) -> usize, &str, &str); 2]
    {
        let mut recipes = "package: p0\nversion: 1\ntasks: {build: 'true'}\n---\n".to_owned();
        recipes.extend((1..10).map(|name| recipe(name, needs(name))));
        let space = Space::with(recipes.trim_end_matches("---\n"));
        let dot = space.kiln(&["graph", "--format", "dot"]).exits(0).stdout;
        assert!(dot.contains(rankdir), "{dot}");
        assert!(space.kiln(&["graph", "--format", "mermaid"]).exits(0).stdout.contains(mermaid));
    }
}

#[test]
fn odd_names_and_titles_are_what_they_are() {
    let space = odd();
    let dot = space.kiln(&["graph", "--format", "dot"]).exits(0).stdout;
    golden("graph-mermaid-odd", &space, &space.kiln(&["graph", "--format", "mermaid"]).exits(0).stdout);
    let Some(svg) = svg(&dot) else { return };
    let title = "a &quot;quoted&quot; \\N title &amp; &lt;b&gt;more&lt;/b&gt; #quot; `x` &#160;1. it";
    assert!(svg.contains(title), "{svg}");
}

/// Names of the nodes, and `from>to` of the edges.
fn shape(space: &Space, arguments: &[&str]) -> (String, String) {
    let graph = space.kiln(&[&["graph"], arguments].concat()).exits(0).json();
    let list = |key: &str, name: &dyn Fn(&serde_json::Value) -> String| {
        graph[key].as_array().unwrap().iter().map(name).collect::<Vec<_>>().join(" ")
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (
        list("nodes", &|node| text(&node["package_name"])),
        list("edges", &|edge| format!("{}>{}", text(&edge["from"]), text(&edge["to"]))),
    )
}

#[test]
fn focus_shows_what_is_near() {
    let space = space();
    let near = |arguments: &[&str]| shape(&space, arguments);
    let expected = |nodes: &str, edges: &str| (nodes.to_owned(), edges.to_owned());
    assert_eq!(
        near(&["--focus", "tools"]),
        expected(
            "compiler shell tools editor",
            "shell>compiler shell>tools tools>compiler editor>shell editor>tools"
        )
    );
    assert_eq!(near(&["--focus", "tools", "--depth", "0"]), expected("tools", ""));
    assert_eq!(
        near(&["--focus", "assembler", "--depth", "2"]),
        expected(
            "assembler compiler shell tools",
            "compiler>assembler shell>compiler shell>tools tools>compiler"
        )
    );
    // A group is its members.
    assert_eq!(
        near(&["--focus", "applications"]),
        expected("shell tools viewer editor", "shell>tools editor>shell editor>tools editor>viewer")
    );
    for format in ["dot", "mermaid"] {
        let drawn = space.kiln(&["graph", "--format", format, "--focus", "tools"]).exits(0).stdout;
        assert!(drawn.contains("4 of 7 packages, 5 dependencies between them"), "{drawn}");
        assert!(drawn.contains("editor") && !drawn.contains("assembler"), "{drawn}");
    }
    // It follows from others, but is what was asked for.
    let edge = "\"editor\" -> \"tools\"";
    for (arguments, drawn) in
        [(&["--focus", "tools"][..], true), (&["--focus", "shell"], false), (&[], false)]
    {
        let dot = space.kiln(&[&["graph", "--format", "dot"], arguments].concat()).exits(0).stdout;
        assert_eq!(dot.contains(edge), drawn, "{dot}");
    }
    space.kiln(&["graph", "--focus", "tolls"]).exits(2).says("did you mean `tools`?");
    space.kiln(&["graph", "--depth", "1"]).exits(2);
}

#[test]
fn path_says_why() {
    let space = space();
    let editor = space.kiln(&["graph", "--path", "editor", "assembler"]).exits(0);
    golden("path", &space, &editor.stdout);
    let json = space.kiln(&["graph", "--path", "editor", "assembler", "--json"]).exits(0);
    golden("path-json", &space, &json.stdout);
    let optional = space.kiln(&["graph", "--path", "editor", "viewer"]).exits(0).stdout;
    assert!(optional.starts_with("`editor` uses `viewer` if it is there:\n"), "{optional}");
    // From any member of a group to any of another.
    let groups = space.kiln(&["graph", "--path", "applications", "core_packages", "--json"]).exits(0).json();
    assert_eq!(groups["chain"].as_array().unwrap().len(), 1, "{groups}");

    let reverse = space.kiln(&["graph", "--path", "assembler", "tools"]).exits(2);
    golden("path-reverse", &space, &reverse.stdout);
    let json = space.kiln(&["graph", "--path", "assembler", "tools", "--json"]).exits(2).json();
    assert_eq!(
        (&json["chain"], json["reverse_chain"].as_array().unwrap().len()),
        (&serde_json::json!([]), 2)
    );
    let neither = space.kiln(&["graph", "--path", "config", "viewer"]).exits(2);
    assert_eq!(neither.stdout, "`config` does not need `viewer`\n");

    space.kiln(&["graph", "--path", "editer", "tools"]).exits(2).says("did you mean `editor`?");
    space.kiln(&["graph", "--path", "editor", "tols"]).exits(2).says("did you mean `tools`?");
    space.kiln(&["graph", "--path", "editor"]).exits(2);
    space.kiln(&["graph", "--path", "editor", "tools", "--format", "dot"]).exits(2);
}

#[test]
fn a_dropped_edge_is_no_need_that_is_not_there() {
    let space = Space::new();
    space.document(
        "build_phases: {all: {order: 1, steps: [a]}}\ndependency_tracking: {dependency_resolution: {circular_handling: ignore}}\n",
    );
    let recipe =
        |name: &str, needs: &str| format!("package: {name}\nversion: 1\n{needs}\ntasks: {{build: 'true'}}\n");
    space.recipes(
        &[
            recipe("a", "build_deps: [b, c]"),
            recipe("b", "build_deps: [a]"),
            recipe("c", "build_deps: [d]"),
            recipe("d", "runtime_deps: [a]"),
        ]
        .join("---\n"),
    );
    let both = ["a", "b"].map(|from| {
        let to = if from == "a" { "b" } else { "a" };
        space.kiln(&["graph", "--path", from, to]).exits(0).stdout
    });
    golden("path-dropped", &space, &both.concat());
    let path = |from, to| space.kiln(&["graph", "--path", from, to, "--json"]).exits(0).json();
    let json = [path("a", "b"), path("b", "a")];
    let dropped = json.iter().find(|json| json["chain"] == serde_json::json!([])).unwrap();
    let reason = dropped["dropped_chain"][0]["dropped"].as_str().unwrap();
    assert!(reason.starts_with("closes the cycle "), "{dropped}");
    // By way of others.
    let further = space.kiln(&["graph", "--path", "c", "b"]).exits(0).stdout;
    assert!(further.starts_with("`c` needs `b`, but does not wait for it:\n"), "{further}");
    golden(
        "why-dropped",
        &space,
        &["a", "b", "d"].map(|name| space.kiln(&["why", name]).exits(0).stdout).concat(),
    );
    let why = ["a", "b", "d"].map(|name| space.kiln(&["why", name, "--json"]).exits(0).json());
    let reasons = why.iter().flat_map(|why| why["dropped_edges"].as_array().unwrap());
    assert_eq!(reasons.count(), 2, "{why:?}");
}

#[test]
fn what_has_no_effect_is_refused() {
    let space = space();
    for more in [
        &["--depth", "1"][..],
        &["--all-edges"],
        &["--focus", "editor"],
        &["--focus", "editor", "--depth", "2"],
    ] {
        space.kiln(&[&["graph", "--cycles"], more].concat()).exits(2);
        space.kiln(&[&["graph", "--path", "editor", "tools"], more].concat()).exits(2);
    }
}

#[test]
fn a_title_cannot_turn_what_comes_after_it() {
    let space = space();
    space.document(&DOCUMENT.replacen("name: \"", "name: \"\u{202e}\u{2066}\u{61c}", 1));
    for format in ["dot", "mermaid"] {
        let drawn = space.kiln(&["graph", "--format", format]).exits(0).stdout;
        assert!(!drawn.contains(['\u{202e}', '\u{2066}', '\u{61c}']), "{drawn}");
    }
}

#[test]
fn a_package_that_no_step_names_is_not_near_anything() {
    let space = Space::new();
    space.document("build_phases: {all: {order: 1, steps: [a]}}\n");
    space.recipes(
        "package: a\nversion: 1\ntasks: {build: 'true'}\n---\npackage: b\nversion: 1\ntasks: {build: 'true'}\n---\npackage: g\ngroup: [b]\n",
    );
    for name in ["b", "g"] {
        space.kiln(&["graph", "--focus", name]).exits(2).says("is no part of the build");
    }
}
