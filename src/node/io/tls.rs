//! TLS on the public listener, for servers that have no proxy before them: browsers open cameras on https only.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::server::TlsStream;

use crate::config::Tls;

/// Time a client has for its handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Handshakes under way; more clients wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 1024;
/// Finished handshakes that wait to be served.
const FINISHED: usize = 64;
/// After `accept` failed, for want of file descriptors say.
const BREATHER: Duration = Duration::from_millis(100);

/// The certificate and its key, as they were last read.
#[derive(Debug)]
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

/// A listener whose connections come when their handshake is done; it ends with its value.
pub struct TlsListener {
    finished: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    local: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl TlsListener {
    /// # Errors
    /// The certificate or its key cannot be read, or they do not fit.
    pub fn new(listener: TcpListener, tls: &Tls) -> anyhow::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (certificate, key) = (tls.certificate.clone(), tls.key.clone());
        let current = RwLock::new(read(&certificate, &key, &provider)?);
        let identity = Arc::new(Identity { certificate, key, provider: provider.clone(), current });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS")?
            .with_no_client_auth()
            .with_cert_resolver(identity.clone());
        // WebSockets begin with HTTP/1.1.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let local = listener.local_addr().context("the public listener")?;
        let (sender, finished) = mpsc::channel(FINISHED);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let tasks = [tokio::spawn(accept(listener, acceptor, sender)), tokio::spawn(identity.follow()?)];
        Ok(Self { finished, local, tasks })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.finished.recv().await {
            Some(connection) => connection,
            // The task that accepts goes on until this listener ends.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.local)
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    finished: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let place = places.clone().acquire_owned().await.expect("the places are never closed");
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATHER).await;
                continue;
            }
        };
        let (acceptor, finished) = (acceptor.clone(), finished.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(finished.send((stream, address)).await),
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
            drop(place);
        });
    }
}

impl Identity {
    /// Reads the files again on SIGHUP. What cannot be used changes nothing.
    fn follow(self: Arc<Self>) -> anyhow::Result<impl Future<Output = ()>> {
        let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
        Ok(async move {
            while hangup.recv().await.is_some() {
                match read(&self.certificate, &self.key, &self.provider) {
                    Ok(fresh) => {
                        *self.current.write().expect("nobody panics with the certificate in hand") = fresh;
                        tracing::info!("the TLS certificate was read again");
                    }
                    Err(error) => tracing::error!("the TLS certificate stays as it was: {error:#}"),
                }
            }
        })
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().expect("nobody panics with the certificate in hand").clone())
    }
}

fn read(certificate: &PathBuf, key: &PathBuf, provider: &CryptoProvider) -> anyhow::Result<Arc<CertifiedKey>> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("http.tls.certificate {} cannot be read", certificate.display()))?;
    anyhow::ensure!(!chain.is_empty(), "http.tls.certificate {} has no PEM certificate", certificate.display());
    let private =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("http.tls.key {} cannot be read", key.display()))?;
    let pair =
        CertifiedKey::from_der(chain, private, provider).context("http.tls.certificate and http.tls.key do not fit")?;
    Ok(Arc::new(pair))
}
