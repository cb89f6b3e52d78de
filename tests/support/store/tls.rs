//! The certificates of a store that serves https.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto, pki_types};

pub(super) struct Tls {
    pub acceptor: TlsAcceptor,
    /// The certificate of the CA that clients must trust, as PEM.
    pub ca_pem: String,
}

/// Creates a CA, and a server certificate signed by it.
///
/// A single self-signed certificate does not work: rustls refuses a CA certificate as a server's.
pub(super) fn new() -> Tls {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "test CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca_key = KeyPair::generate().expect("generate the CA's key");
    let ca_cert = ca.self_signed(&ca_key).expect("sign the CA's certificate");
    let issuer = Issuer::new(ca, ca_key);

    // Clients that use a proxy connect to this server under the name of AWS.
    let names =
        ["127.0.0.1", "localhost", "s3.us-east-1.amazonaws.com"].map(str::to_owned).to_vec();
    let mut server = CertificateParams::new(names).expect("the server's names are valid");
    server.distinguished_name.push(DnType::CommonName, "test store");
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().expect("generate the server's key");
    let cert = server.signed_by(&key, &issuer).expect("sign the server's certificate");

    let key = pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    // The provider is explicit: the process may contain several, and rustls would not choose one.
    let mut config =
        ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .expect("the certificate matches the key");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Tls { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem: ca_cert.pem() }
}
