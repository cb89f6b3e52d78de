//! The certificates that the client trusts.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use ureq::tls::PemItem;

use crate::error::{Cause, Error, Result};

/// The TLS configuration that trusts the certificates in the file `ca_bundle`. `None` without a file:
/// then the client trusts the certificates of the system.
pub(crate) fn bundle_config(ca_bundle: Option<&Path>) -> Result<Option<Arc<ClientConfig>>> {
    let Some(path) = ca_bundle else { return Ok(None) };
    let fail = |cause| Error::new("read CA bundle", path.display().to_string(), cause);
    let unusable = |problem: &str| fail(Cause::Config(problem.to_owned()));
    let pem = std::fs::read(path).map_err(|error| fail(error.into()))?;
    let certificates: Vec<CertificateDer<'static>> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => {
                Some(CertificateDer::from(certificate.der().to_vec()))
            }
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(unusable("the file contains no PEM certificate"));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|_| unusable("the file contains no certificate that can be used"))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(|error| unusable(&format!("TLS cannot be used: {error}")))?
        // Not dangerous: it accepts what webpki accepts, and one more kind of certificate.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BundleVerifier { verifier, certificates }))
        .with_no_client_auth();
    Ok(Some(Arc::new(config)))
}

/// Whether the certificate of the server is that of a CA. Many self-signed ones are.
pub(crate) fn is_ca_certificate(error: &CertificateError) -> bool {
    // The error of webpki, which rustls passes on as it is.
    matches!(error, CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity")
}

/// Accepts the certificates that webpki accepts, and a self-signed one that is in the bundle.
#[derive(Debug)]
struct BundleVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for BundleVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // webpki refuses the certificate of a CA as that of a server, after it has checked its
            // validity period.
            Err(rustls::Error::InvalidCertificate(error))
                if is_ca_certificate(&error) && self.certificates.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
