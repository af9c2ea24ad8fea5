//! The bus behind TLS.

use e2e::Folder;
use e2e::nats::Setup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{SOON, cluster, edge, password, shipped, works};

/// Files of a certificate authority, and of a certificate for 127.0.0.1 that it has signed.
struct Certificates {
    folder: Folder,
}

impl Certificates {
    fn new() -> Self {
        let folder = Folder::new();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let signed = authority.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(authority, key);
        let server_key = rcgen::KeyPair::generate().unwrap();
        let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let server = server.signed_by(&server_key, &issuer).unwrap();
        std::fs::write(folder.join("ca.pem"), signed.pem()).unwrap();
        std::fs::write(folder.join("cert.pem"), server.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), server_key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

#[tokio::test]
async fn behind_tls_the_cluster_works_and_neither_plain_text_nor_a_stranger_s_authority_does() {
    let certificates = Certificates::new();
    let files = [
        ("NATS_CERT_FILE", certificates.file("cert.pem")),
        ("NATS_KEY_FILE", certificates.file("key.pem")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, file)| (*name, &**file)).collect();
    let setup = Setup { tls: true, ..shipped("nats-tls.conf", &files) };
    let ca = certificates.file("ca.pem");
    let mut cluster = cluster(setup).set("NATS_CA_FILE", &ca).start();
    let url = cluster.bus().url();
    assert!(url.starts_with("tls://"), "{url}");
    works(&mut cluster).await;

    // A right user and password in plain text.
    let address = ("127.0.0.1", cluster.bus().port());
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    let secret = password("edge");
    let hello = format!("CONNECT {{\"user\":\"edge\",\"pass\":\"{secret}\"}}\r\nPING\r\n");
    plain.write_all(hello.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    // Ends with the connection, in order or not: what counts is that no PONG came before.
    drop(tokio::time::timeout(SOON, plain.read_to_end(&mut heard)).await.expect("it is closed"));
    let heard = String::from_utf8_lossy(&heard);
    assert!(!heard.contains("PONG") && heard.contains("tls_required"), "{heard}");

    let stranger = Certificates::new().file("ca.pem");
    let end = edge(&[("NATS_URL", &url), ("NATS_CA_FILE", &ca)]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("NATS_USER: not set"), "{}", end.stderr);
    let end = edge(&[("NATS_URL", &url), ("NATS_CA_FILE", &stranger)]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("NATS_CA_FILE"), "{}", end.stderr);
}
