//! The files that a Postgres address names for TLS, looked at as the library does when it connects: what it would refuse
//! then is told at the start.

use std::path::Path;
use std::sync::Arc;

use latchkey_runtime::config::percent_decoded;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::parameter;
use crate::OpenError;

const ROOT: &str = "sslrootcert";
const CERTIFICATE: &str = "sslcert";
const KEY: &str = "sslkey";

/// Refuses files that the parameters name and that cannot be used. No error repeats what a parameter says.
pub(super) fn check(parameters: &[&str]) -> Result<(), OpenError> {
    let file = |name: &'static str| {
        let named = parameters.iter().filter_map(|part| part.split_once('='));
        // The last one wins.
        let value = named.filter(|(known, _)| *known == name).map(|(_, value)| value).next_back();
        let path = |value| percent_decoded(value).ok_or_else(|| parameter(name, "cannot be read"));
        value.map(path).transpose()
    };
    let (root, certificate, key) = (file(ROOT)?, file(CERTIFICATE)?, file(KEY)?);
    if let Some(path) = root {
        let mut roots = RootCertStore::empty();
        for one in certificates(ROOT, &path)? {
            let fault =
                |error| parameter(ROOT, format!("holds a certificate that is none: {error}"));
            roots.add(one).map_err(fault)?;
        }
    }
    match (certificate, key) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(parameter(KEY, "is missing, while sslcert is there")),
        (None, Some(_)) => Err(parameter(CERTIFICATE, "is missing, while sslkey is there")),
        (Some(certificate), Some(key)) => pair(&certificate, &key),
    }
}

/// Refuses a certificate and a key that this process could not show to a server.
fn pair(certificate: &str, key: &str) -> Result<(), OpenError> {
    let chain = certificates(CERTIFICATE, certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(Path::new(key)).map_err(|error| unreadable(KEY, &error))?;
    let unfit = |error| parameter(KEY, format!("names a key that cannot be used: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(unfit)?;
    let builder = builder.with_root_certificates(RootCertStore::empty());
    builder.with_client_auth_cert(chain, key).map(drop).map_err(unfit)
}

/// The certificates in a file; at least one.
fn certificates(name: &'static str, path: &str) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let all = CertificateDer::pem_file_iter(Path::new(path))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(name, &error))?;
    if all.is_empty() {
        return Err(parameter(name, "names a file without a certificate"));
    }
    Ok(all)
}

fn unreadable(name: &'static str, error: &pem::Error) -> OpenError {
    let cause = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is nothing of that kind in it".to_owned(),
        // What else the library says may repeat a part of the file.
        _ => "it is no PEM file".to_owned(),
    };
    parameter(name, format!("names a file that cannot be read: {cause}"))
}
