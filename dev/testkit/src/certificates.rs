//! Certificates for tests: an authority of its own, and servers' certificates that it has signed.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority, whose certificate lies in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The file of the certificate, in PEM.
    pub file: PathBuf,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("file", &self.file).finish_non_exhaustive()
    }
}

/// The files of a server's certificate.
#[derive(Debug, Clone)]
pub struct Files {
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority, whose certificate it writes to `folder` under the name `NAME.ca.pem`.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let file = folder.join(format!("{name}.ca.pem"));
        fs::write(&file, issuer.pem()).expect("written");
        Self { issuer, file }
    }

    /// Signs a certificate for `127.0.0.1` and `localhost` and puts it and its key into `folder`, in place of those before.
    ///
    /// # Panics
    /// When the files cannot be written.
    #[must_use]
    pub fn sign(&self, folder: &Path) -> Files {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let files = Files { certificate: folder.join("server.pem"), key: folder.join("server.key") };
        put(&files.certificate, &certificate.pem());
        put(&files.key, &key.serialize_pem());
        files
    }
}

/// Replaces a file, which its owner alone can read, at one stroke.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    #[cfg(unix)]
    fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    fs::rename(new, path).expect("replaced");
}
