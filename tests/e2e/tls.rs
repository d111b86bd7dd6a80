//! The public listener with a certificate of its own.

use std::fs;
use std::path::Path;

use reqwest::{Certificate, Client};
use tokio::time::{Instant, sleep};

use crate::DEADLINE;
use crate::server::Site;

/// Writes a fresh self-signed certificate for loopback and its key; gives the certificate.
fn renew(folder: &Path) -> Certificate {
    let fresh = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    fs::write(folder.join("key.pem"), fresh.signing_key.serialize_pem()).expect("a key file");
    fs::write(folder.join("certificate.pem"), fresh.cert.pem()).expect("a certificate file");
    Certificate::from_pem(fresh.cert.pem().as_bytes()).expect("it is one")
}

/// Each asks over a connection of its own.
fn who_trusts(certificate: Certificate) -> Client {
    let client = Client::builder().no_proxy().pool_max_idle_per_host(0);
    client.tls_certs_only([certificate]).build().expect("a client")
}

#[tokio::test]
async fn https_is_served_with_the_newest_certificate() {
    let site = Site::new(&[]);
    let setting = |name: &str| format!("http.tls.{name}={}", site.path().join(format!("{name}.pem")).display());
    let settings = ["certificate", "key"].map(setting);
    let first = renew(site.path());
    let old = who_trusts(first.clone());
    let site = settings.iter().fold(site, |site, setting| site.set(setting));
    let server = site.serve().await;
    let page = format!("https://{}/", server.public());
    assert_eq!(old.get(&page).send().await.expect("it is trusted").status(), 200);
    assert!(reqwest::get(format!("http://{}/", server.public())).await.is_err(), "nothing is served in the clear");
    // The page knows who asks: it makes tickets for local people.
    let ticket = old.post(format!("{page}v1/try/ticket")).header("content-type", "application/json");
    let ticket = ticket.body(r#"{"userId":"alice"}"#).send().await.expect("an answer");
    assert_eq!(ticket.status(), 200);

    let second = renew(site.path());
    let new = who_trusts(second.clone());
    assert!(new.get(&page).send().await.is_err(), "the new one is not read yet");
    server.send(libc::SIGHUP);
    let end = Instant::now() + DEADLINE;
    while new.get(&page).send().await.is_err() {
        assert!(Instant::now() < end, "the new certificate was never served");
        sleep(std::time::Duration::from_millis(20)).await;
    }
    // A client of its own: one that was here before may resume its TLS session, and is shown no certificate then.
    assert!(who_trusts(first).get(&page).send().await.is_err());

    fs::write(site.path().join("key.pem"), "junk").expect("a key file");
    server.send(libc::SIGHUP);
    let log = site.path().join("server.log");
    while !fs::read_to_string(&log).expect("a log").contains("stays as it was") {
        assert!(Instant::now() < end, "the wrong key is not named");
        sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(who_trusts(second).get(&page).send().await.expect("it goes on").status(), 200);
    assert!(server.stop().await.success());
}
