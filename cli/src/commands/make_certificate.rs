//! `firesteel make-certificate`: a certificate for one server, signed by an authority of one's own.
//!
//! For a container that makes it anew at each start, so that no key outlives its pod.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::certificates::Authority;
use crate::commands::make_credentials::{private_file, private_folder};
use crate::context::Outcome;

/// For whom, by whom, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct MakeCertificateArgs {
    /// The folder of the authority: tls.crt and tls.key, and ca.crt where another one is trusted
    #[arg(long, value_name = "DIR")]
    pub(crate) authority: PathBuf,
    /// The folder for tls.crt, tls.key, tls.pem (both in one) and ca.crt; it is made if it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// A host name or an address of the server; may be given several times
    #[arg(long = "name", value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// What the certificate says of its holder [default: the first name]
    #[arg(long, value_name = "NAME")]
    pub(crate) common_name: Option<String>,
    /// How long it lasts
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

pub(crate) fn run(args: &MakeCertificateArgs) -> anyhow::Result<Outcome> {
    let authority = Authority::open(&args.authority)?;
    let common_name = args.common_name.as_deref().or_else(|| args.names.first().map(String::as_str));
    let signed = authority.sign(common_name.unwrap_or_default(), &args.names, args.days)?;
    let trusted = trusted(&args.authority)?;
    if !args.dir.exists() {
        private_folder(&args.dir).with_context(|| format!("cannot make {} (--dir)", args.dir.display()))?;
    }
    for (name, text) in [
        ("ca.crt", &trusted),
        ("tls.key", &signed.key),
        ("tls.pem", &format!("{}{}", signed.key, signed.chain)),
        // Last: a server that looks for its certificate finds the key.
        ("tls.crt", &signed.chain),
    ] {
        let path = args.dir.join(name);
        private_file(&path, text).with_context(|| format!("cannot write {} (--dir)", path.display()))?;
    }
    Ok(Outcome::Done)
}

/// What clients trust: what stands beside the authority as such, or the authority itself.
fn trusted(authority: &Path) -> anyhow::Result<String> {
    let path = authority.join("ca.crt");
    let path = if path.exists() { path } else { authority.join("tls.crt") };
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {} (--authority)", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_common::tls::{ClientTls, ServerTls};

    fn args(authority: &Path, dir: &Path, names: &[&str]) -> MakeCertificateArgs {
        MakeCertificateArgs {
            authority: authority.to_owned(),
            dir: dir.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            common_name: None,
            days: 1,
        }
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_authority_trusts_the_server_under_its_names_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = Authority::make().expect("an authority");
        private_file(&folder.path().join("tls.crt"), &certificate).expect("written");
        private_file(&folder.path().join("tls.key"), &key).expect("written");
        let server = folder.path().join("server");
        std::fs::create_dir(&server).expect("a folder");
        run(&args(folder.path(), &server, &["scheduler", "10.0.0.7"])).expect("signed");

        let tls = ServerTls::open(&server.join("tls.crt"), &server.join("tls.key")).expect("usable");
        let trust = ClientTls::open(&server.join("ca.crt")).expect("usable");
        let client =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .expect("versions")
                .dangerous()
                .with_custom_certificate_verifier(trust.verifier())
                .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(client));
        for (name, good) in
            [("scheduler", true), ("10.0.0.7", true), ("executor", false), ("10.0.0.8", false)]
        {
            let (here, there) = tokio::io::duplex(1 << 14);
            let name: rustls::pki_types::ServerName<'static> = name.to_owned().try_into().expect("a name");
            let acceptor = tls.acceptor();
            let accept = tokio::spawn(async move { acceptor.accept(there).await.is_ok() });
            let connected = connector.connect(name.clone(), here).await;
            assert_eq!(connected.is_ok(), good, "{name:?}: {:?}", connected.err());
            drop(connected);
            let _ = accept.await;
        }
        let both = std::fs::read_to_string(server.join("tls.pem")).expect("a file");
        assert!(both.contains("PRIVATE KEY") && both.contains("BEGIN CERTIFICATE"));
    }

    #[test]
    fn what_is_no_authority_is_named_and_its_key_is_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        private_file(&folder.path().join("tls.crt"), "nothing").expect("written");
        private_file(&folder.path().join("tls.key"), "hunter2").expect("written");
        let error = run(&args(folder.path(), folder.path(), &["x"])).err().expect("refused");
        let text = format!("{error:#}");
        assert!(
            text.contains("tls.key") && text.contains("--authority") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
