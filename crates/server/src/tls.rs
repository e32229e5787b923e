//! TLS for the server: a certificate chain and its key, in PEM files.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use tokio_rustls::TlsAcceptor;

use crate::error::Error;

/// The files of a server's certificate.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, and those that it was signed with.
    pub certificates: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// What accepts connections with this certificate.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let wrong = |path: &PathBuf, reason: &str| {
            Error::Configuration(format!("cannot use {} for TLS: {reason}", path.display()))
        };
        let open = |path: &PathBuf| {
            let file = File::open(path).map_err(|error| wrong(path, &error.to_string()))?;
            Ok::<_, Error>(BufReader::new(file))
        };
        let mut reader = open(&self.certificates)?;
        let chain: Vec<_> = rustls_pemfile::certs(&mut reader)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(&self.certificates, &error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(&self.certificates, "there is no certificate in it"));
        }
        let key = rustls_pemfile::private_key(&mut open(&self.key)?)
            .map_err(|error| wrong(&self.key, &error.to_string()))?
            .ok_or_else(|| wrong(&self.key, "there is no private key in it"))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&self.certificates, &error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| wrong(&self.certificates, &error.to_string()))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
