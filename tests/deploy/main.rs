//! What is in deploy/ holds together: names of metrics, ports and times are those of the program, and the tools that will read the files
//! accept them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use callisto::config::{self, Config};
use callisto::metrics::catalogue;
use serde_json::Value;

/// What a node takes after its drain, at most: the record, sockets, control, webhooks, the record again. Half of it is for disks in
/// trouble.
const AFTER_THE_DRAIN: Duration = Duration::from_secs(29);

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("deploy/{name}: {error}"))
}

/// The documents of a YAML file.
fn yaml(name: &str) -> Vec<Value> {
    let text = read(name);
    let documents = serde_norway::Deserializer::from_str(&text);
    let parse = |document| serde::Deserialize::deserialize(document).unwrap_or_else(|error| panic!("{name}: {error}"));
    documents.map(parse).collect()
}

fn defaults() -> Config {
    config::io::load(None, None, &[]).expect("the defaults are a configuration")
}

/// The program ends well; its words are in the message when it does not.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error} (tests/run installs it)"));
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

/// Every word of a text that looks like a metric of ours.
fn metrics_named_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("callisto_") || word.starts_with("process_")).collect()
}

#[track_caller]
fn assert_known(name: &str, metrics: &BTreeSet<&str>) {
    assert!(!metrics.is_empty(), "{name} names no metric");
    for metric in metrics {
        let known = catalogue::ALL.iter().any(|known| match known.kind {
            catalogue::Kind::Histogram => metric.strip_suffix("_bucket") == Some(known.name),
            catalogue::Kind::Counter | catalogue::Kind::Gauge => *metric == known.name,
        });
        assert!(known, "deploy/{name} names {metric}, which the server does not have");
    }
}

#[test]
fn the_alert_rules_pass_promtools_check_and_their_own_tests() {
    run(Command::new("promtool").arg("check").arg("rules").arg(path("alerts.yml")));
    run(Command::new("promtool").arg("test").arg("rules").arg(path("alerts_test.yml")));
}

#[test]
fn every_alert_is_seen_firing_and_silent() {
    let rules = yaml("alerts.yml").remove(0);
    let groups = rules["groups"].as_array().expect("groups").iter();
    let alerts: Vec<String> = groups
        .flat_map(|group| group["rules"].as_array().expect("rules"))
        .map(|rule| rule["alert"].as_str().expect("an alert").to_owned())
        .collect();
    let tests = yaml("alerts_test.yml").remove(0);
    let cases: Vec<&Value> = tests["tests"]
        .as_array()
        .expect("tests")
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().expect("cases"))
        .collect();
    for alert in &alerts {
        let of = |fires: bool| {
            let fits = |case: &&&Value| case["alertname"] == alert.as_str() && case["exp_alerts"].is_array() == fires;
            cases.iter().filter(fits).count()
        };
        assert!(
            of(true) > 0 && of(false) > 0,
            "{alert} is tested {} times firing, {} times silent",
            of(true),
            of(false)
        );
    }
    assert!(alerts.len() > 10, "only {alerts:?}");
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let alerts = read("alerts.yml");
    assert_known("alerts.yml", &metrics_named_in(&alerts));
    let dashboard: Value = serde_json::from_str(&read("grafana.json")).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let expressions: Vec<&str> = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .map(|target| target["expr"].as_str().expect("a target is an expression"))
        .collect();
    for expression in &expressions {
        assert_known("grafana.json", &metrics_named_in(expression));
    }
    assert!(expressions.len() > 30, "only {} expressions", expressions.len());
    let rows = panels.iter().filter(|panel| panel["type"] == "row").map(|row| row["title"].as_str());
    assert_eq!(rows.take(1).next(), Some(Some("Whose network is bad, and why")));
    // Each panel has its own number, and none lies on another.
    let numbers: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(numbers.len(), panels.len());
    assert!(!overlap(panels), "panels of the dashboard overlap");
}

fn overlap(panels: &[Value]) -> bool {
    let mut taken = BTreeSet::new();
    panels.iter().any(|panel| {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        let cells = (0..at("w")).flat_map(|dx| (0..at("h")).map(move |dy| (dx, dy)));
        cells.fold(false, |overlaps, (dx, dy)| !taken.insert((at("x") + dx, at("y") + dy)) | overlaps)
    })
}

/// A name that there is not would be found.
#[test]
#[should_panic(expected = "callisto_calls_total")]
fn a_metric_that_there_is_not_is_found() {
    assert_known("an example", &metrics_named_in("rate(callisto_calls_total[5m])"));
}

#[test]
fn ports_are_those_of_the_configuration() {
    let Config { http, media, .. } = defaults();
    let (public, admin) = (u64::from(http.public.port()), u64::from(http.admin.port()));
    let (udp, tcp) = (u64::from(media.udp_port), u64::from(media.tcp_port));

    let container = read("Containerfile");
    let exposed = container.lines().find_map(|line| line.strip_prefix("EXPOSE ")).expect("ports are exposed");
    assert_eq!(exposed, format!("{public}/tcp {admin}/tcp {udp}/udp {tcp}/tcp"));
    assert!(container.contains(&format!("/dev/tcp/127.0.0.1/{public} ")), "the health check asks the public listener");

    let kubernetes = yaml("kubernetes.yml");
    let pod = &of_kind(&kubernetes, "StatefulSet")["spec"]["template"]["spec"];
    let ports = pod["containers"][0]["ports"].as_array().expect("ports");
    let port = |name: &str| ports.iter().find(|port| port["name"] == name).expect(name)["containerPort"].as_u64();
    let names = ["http", "admin", "media-udp", "media-tcp"];
    assert_eq!(names.map(port), [public, admin, udp, tcp].map(Some));
    assert!(ports.iter().all(|port| port["hostPort"] == port["containerPort"]), "the host's network has one number");
    assert_eq!(of_kind(&kubernetes, "Service")["spec"]["ports"][0]["port"], public);

    let service = read("callisto.service");
    for port in [public, admin, udp] {
        assert!(service.contains(&port.to_string()), "callisto.service says nothing of port {port}");
    }
    let scrape = read("prometheus.yml");
    assert!(scrape.contains(&format!("127.0.0.1:{admin}")), "Prometheus asks the admin listener");
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// What a deployment sets is a key of the configuration, with a value that is taken; and it has time for its drain.
#[test]
fn settings_are_taken_and_the_drain_has_its_time() {
    let compose = yaml("compose.yml").remove(0);
    let callisto = &compose["services"]["callisto"];
    let set: Vec<(String, String)> = callisto["environment"]
        .as_object()
        .expect("variables")
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
        .collect();
    assert_time(&set, callisto["stop_grace_period"].as_str().expect("a time"));

    let kubernetes = yaml("kubernetes.yml");
    let pod = &of_kind(&kubernetes, "StatefulSet")["spec"]["template"]["spec"];
    let variables = pod["containers"][0]["env"].as_array().expect("variables");
    let set: Vec<(String, String)> = variables
        .iter()
        .map(|variable| {
            let name = variable["name"].as_str().expect("a name").to_owned();
            // What comes from the cluster: a secret, which may be empty, or an address.
            let known = variable["value"].as_str().unwrap_or(if name.ends_with("ADDRESS") { "192.0.2.1" } else { "" });
            (name, known.to_owned())
        })
        .collect();
    assert_time(&set, &format!("{}s", pod["terminationGracePeriodSeconds"].as_u64().expect("seconds")));

    let service = read("callisto.service");
    let patience = service.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("a time");
    assert_time(&[], patience);
}

fn assert_time(variables: &[(String, String)], patience: &str) {
    let options: Vec<String> = variables
        .iter()
        .map(|(name, value)| {
            let key = name.strip_prefix("CALLISTO_").expect("a variable of ours").to_lowercase().replace("__", ".");
            format!("{key}={value}")
        })
        .collect();
    let config = config::io::load(None, None, &options).unwrap_or_else(|error| panic!("{error:#}"));
    let patience = humantime::parse_duration(patience).expect("a time");
    assert!(
        patience >= config.drain.timeout + AFTER_THE_DRAIN,
        "{patience:?} for a drain of {:?}",
        config.drain.timeout
    );
}

#[test]
fn systemd_accepts_the_unit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unit = folder.path().join("callisto.service");
    // The program is not installed here: the one under test stands for it.
    let text = read("callisto.service").replace("/usr/local/bin/callisto", env!("CARGO_BIN_EXE_callisto"));
    fs::write(&unit, text).expect("it can be written");
    let output = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&unit).output();
    let output = output.expect("systemd-analyze is installed (tests/run does it)");
    let said = String::from_utf8_lossy(&output.stderr);
    // Other units of the machine are read too, and are none of our business.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("callisto")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}
