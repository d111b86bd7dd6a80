//! `callisto load` against a server: a smoke run of each door, and an end before its time.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::server::{Server, Site};

fn load(site: &Site, server: &Server, arguments: &str) -> Command {
    let mut command = site.command("load");
    command.args(arguments.split_whitespace()).args(["--json", "--pid", &server.pid().to_string()]);
    command
}

async fn finish(mut command: Command) -> Output {
    spawn_blocking(move || command.output().expect("the program runs")).await.expect("it ends")
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a report in JSON")
}

/// Everyone is in, and nearly all arrived.
fn assert_sound(report: &Value, clients: u64) {
    assert_eq!(report["connected"], clients, "{report}");
    assert_flowed(report);
}

/// Nobody was refused, and of what was sent nearly all arrived: the machine may be busy with other tests.
fn assert_flowed(report: &Value) {
    assert_eq!(report["failedJoins"], 0, "{report}");
    let packets = |name: &str| report["packets"][name].as_u64().expect("a count");
    assert!(packets("sent") > 50 && packets("received") > 50, "{report}");
    assert!(packets("lost") * 20 <= packets("received"), "{report}");
    assert_eq!(report["latencyMs"]["count"].as_u64(), Some(packets("received")), "every packet has its time: {report}");
    assert!(report["server"]["memoryMib"].as_f64().is_some_and(|mib| mib > 1.0), "{report}");
}

#[tokio::test]
async fn one_publishes_to_many_who_come_and_go() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let url = format!("--url ws://{}/v1/ws", server.public());
    let line = format!("one-to-many -n 4 --duration 4s --frames 15 --packets 3 --stay 4s {url}");
    let report = report(&finish(load(&site, &server, &line)).await);
    assert_flowed(&report);
    let count = |path: &str| report.pointer(path).and_then(Value::as_u64).expect("a count");
    assert_eq!(count("/joins"), 5 + count("/leaves"), "who leaves comes again: {report}");
    // The end may find some on their way in.
    assert_eq!(count("/connected"), count("/joinMs/count") - count("/leaves"), "{report}");
    assert!(report["leaves"].as_u64().is_some_and(|leaves| leaves >= 1), "{report}");
}

#[tokio::test]
async fn rooms_in_which_all_publish_over_a_link_that_loses() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let url = format!("--url ws://{}/v1/ws", server.public());
    let line = format!("rooms -n 3 --duration 3s --frames 15 --packets 3 --pattern even --loss-down 0.02 {url}");
    let report = report(&finish(load(&site, &server, &line)).await);
    assert_sound(&report, 3);
    let received = report["packets"]["received"].as_u64().unwrap();
    let sent = report["packets"]["sent"].as_u64().unwrap();
    assert!(received > sent, "each is sent to two: {report}");
}

#[tokio::test]
async fn whip_and_whep_are_doors_too() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let at = server.public();
    let doors = format!("--whip http://{at}/v1/whip/{{room}} --whep http://{at}/v1/whep/{{room}}");
    let line = format!("one-to-many -n 2 --duration 3s --frames 15 --packets 3 {doors}");
    assert_sound(&report(&finish(load(&site, &server, &line)).await), 3);
}

#[tokio::test]
async fn an_interrupted_run_reports_what_it_had() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let mut command = site.command("load");
    let url = format!("ws://{}/v1/ws", server.public());
    command.args([
        "one-to-many",
        "-n",
        "1",
        "--duration",
        "10m",
        "--json",
        "--log",
        "callisto::load=info",
        "--url",
        &url,
    ]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let log = process.stderr.take().expect("stderr is piped");
    let output = spawn_blocking(move || {
        // It says when it measures.
        let measuring = BufReader::new(log).lines().map_while(Result::ok).any(|line| line.contains("measuring"));
        assert!(measuring, "it ended by itself");
        // SAFETY: the process is ours, and was not waited for.
        unsafe { libc::kill(process.id() as libc::pid_t, libc::SIGINT) };
        process.wait_with_output().expect("it ends")
    });
    let report = report(&output.await.expect("it ends"));
    assert_eq!((&report["interrupted"], &report["connected"]), (&true.into(), &2.into()), "{report}");
}

#[tokio::test]
async fn another_machine_is_loaded_only_when_it_is_said() {
    let site = Site::new(&[]);
    // TEST-NET-1 (RFC 5737): nobody is there.
    let mut command = site.command("load");
    command.args(["--url", "ws://192.0.2.1/v1/ws"]);
    let output = finish(command).await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("192.0.2.1") && said.contains("--remote"), "{said}");
}
