//! The certificates that the client trusts.

use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts};

use crate::error::{Cause, Error, Result};

/// The root certificates in the file `ca_bundle`, or those of the system.
pub(crate) fn root_certs(ca_bundle: Option<&Path>) -> Result<RootCerts> {
    let Some(path) = ca_bundle else { return Ok(RootCerts::PlatformVerifier) };
    let fail = |cause| Error::new("read CA bundle", path.display().to_string(), cause);
    let pem = std::fs::read(path).map_err(|error| fail(error.into()))?;
    let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(fail(Cause::Config("the file contains no PEM certificate".to_owned())));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
