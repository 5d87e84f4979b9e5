//! How TLS is set up, for servers and for clients.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};

use super::{Identity, TlsError, Verifier};

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let der = der.map_err(|e| TlsError::Setup(format!("authority: {e}")))?;
        store.add(der).map_err(|e| TlsError::Setup(format!("authority: {e}")))?;
    }
    Ok(Arc::new(store))
}

fn key_material(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TlsError::Setup(format!("certificate: {e}")))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|e| TlsError::Setup(format!("private key: {e}")))?;
    Ok((chain, key))
}

/// A server that asks for a client certificate and lets everybody finish the handshake; [`Verifier::peer`] then says
/// who it is. `protocols` are the ALPN names in order of preference, e.g. `["h2", "http/1.1"]`.
pub fn server_config(
    identity: &Identity,
    verifier: &Verifier,
    protocols: &[&str],
) -> Result<ServerConfig, TlsError> {
    let (chain, key) = key_material(identity)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .with_client_cert_verifier(Arc::new(verifier.clone()))
        .with_single_cert(chain, key)
        .map_err(|e| TlsError::Setup(e.to_string()))?;
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(config)
}

/// A client that trusts this authority only, and presents `identity`.
pub fn client_config(identity: &Identity, ca_pem: &str) -> Result<ClientConfig, TlsError> {
    let (chain, key) = key_material(identity)?;
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .with_root_certificates(roots(ca_pem)?)
        .with_client_auth_cert(chain, key)
        .map_err(|e| TlsError::Setup(e.to_string()))
}

/// A client that presents `identity` and takes any server certificate whose key the server proves to have: the caller
/// compares the certificate with the one it expects before it sends anything.
pub fn pinning_client_config(identity: &Identity) -> Result<ClientConfig, TlsError> {
    let (chain, key) = key_material(identity)?;
    unproven()?.with_client_auth_cert(chain, key).map_err(|e| TlsError::Setup(e.to_string()))
}

/// A client that presents nothing and takes any server certificate whose key the server proves to have: for servers that
/// are none of this cluster's (what a Pod serves is as trustworthy as the Pod), and for a look at what is shown.
pub fn unknown_client_config() -> Result<ClientConfig, TlsError> {
    Ok(unproven()?.with_no_client_auth())
}

/// How a client is set up that leaves who the server is to the caller.
fn unproven() -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ProvenKey(provider()))))
}

/// Leaves who the server is to the caller, and checks that it has the certificate's key.
#[derive(Debug)]
struct ProvenKey(Arc<CryptoProvider>);

impl ServerCertVerifier for ProvenKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
