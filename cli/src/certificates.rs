//! Certificates for servers: an authority of one's own, and what it signs.
//!
//! Keys are on the curve P-256. An authority lasts ten years; what it signs, as long as asked for, and never longer than that.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an authority lasts.
const AUTHORITY_DAYS: u32 = 3650;

/// Who signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The certificate that it signs with, with those between it and the one that is trusted behind it.
    chain: String,
}

/// A certificate and its key, as PEM.
pub(crate) struct Signed {
    /// The certificate, and that of its authority behind it.
    pub(crate) chain: String,
    /// The key.
    pub(crate) key: String,
}

impl Authority {
    /// A new authority: its certificate and its key.
    ///
    /// # Errors
    /// Where there is no randomness, say.
    pub(crate) fn make() -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = lasting(AUTHORITY_DAYS);
        params.distinguished_name.push(DnType::CommonName, "Firesteel authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// The authority of `tls.crt` and `tls.key` in a folder.
    ///
    /// # Errors
    /// A file that cannot be read or is none of the two.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {} (--authority)", path.display()))
        };
        let (chain, key) = (read("tls.crt")?, read("tls.key")?);
        // A parser may quote what it read, so its words are left out.
        let key = KeyPair::from_pem(&key).ok().with_context(|| {
            format!("{} holds no key in PEM (PKCS#8) (--authority)", folder.join("tls.key").display())
        })?;
        let issuer = Issuer::from_ca_cert_pem(&chain, key).with_context(|| {
            format!("{} holds no authority (--authority)", folder.join("tls.crt").display())
        })?;
        Ok(Self { issuer, chain })
    }

    /// A certificate for a server, and for a client of servers that ask for one.
    ///
    /// # Errors
    /// A name that no certificate can hold.
    pub(crate) fn sign(&self, common_name: &str, names: &[String], days: u32) -> anyhow::Result<Signed> {
        ensure!(!names.is_empty(), "a certificate has at least one name (--name)");
        let key = KeyPair::generate()?;
        let mut params = lasting(days);
        params.distinguished_name.push(DnType::CommonName, common_name);
        for name in names {
            let san = match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(
                    name.as_str().try_into().with_context(|| format!("{name:?} is no host name (--name)"))?,
                ),
            };
            params.subject_alt_names.push(san);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Signed { chain: format!("{}{}", certificate.pem(), self.chain), key: key.serialize_pem() })
    }
}

/// What begins an hour ago, for clocks that are behind, and ends after so many days.
fn lasting(days: u32) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = (now - Duration::from_secs(60 * 60)).into();
    params.not_after = (now + DAY * days).into();
    params
}
