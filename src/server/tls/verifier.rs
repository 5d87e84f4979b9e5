//! Who is at the other end of a connection.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::certificate::Facts;
use super::config::{provider, roots};
use super::{Peer, TlsError};

/// Tells whose client certificate it is.
#[derive(Clone, Debug)]
pub struct Verifier {
    strict: Arc<dyn ClientCertVerifier>,
}

impl Verifier {
    /// Believes certificates of this authority.
    pub fn new(ca_pem: &str) -> Result<Self, TlsError> {
        let strict = WebPkiClientVerifier::builder_with_provider(roots(ca_pem)?, provider())
            .build()
            .map_err(|e| TlsError::Setup(e.to_string()))?;
        Ok(Self { strict })
    }

    /// Who is at the other end, after the handshake ([`rustls::ServerConnection::peer_certificates`]).
    /// None for no certificate, one of another authority, one that has ended, and one that is not for clients.
    pub fn peer(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<Peer> {
        let (first, rest) = chain?.split_first()?;
        self.strict.verify_client_cert(first, rest, UnixTime::now()).ok()?;
        Facts::of(first).ok().map(|facts| facts.peer)
    }
}

/// Lets every chain pass the handshake; that the client has its key is still proven.
impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}
