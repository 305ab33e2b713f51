//! The arguments that say who may ask a server, who a client is, and how connections are encrypted.
//!
//! A secret comes from a file or from the environment, never from the command line, which every user of the machine can
//! read. Where it is in the environment or in the settings file, its own argument takes it: that one is not in the help, and
//! on the command line it is refused.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use firesteel_common::ConfigField;
use firesteel_common::access::{Access, Secret, Tokens};
use firesteel_common::net::Dialer;
use firesteel_common::tls::{ClientTls, ServerTls};
use firesteel_engine::{Error, Result};

/// A text that does not print itself.
#[derive(Clone)]
pub(crate) struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// Which servers are trusted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct TrustArgs {
    /// The certificates of the authorities that sign those of the servers to connect to, as PEM; switches TLS on
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// Without TLS, secrets may travel to other machines, and without secrets, a port may be open to them
    #[arg(long, env = "FIRESTEEL_INSECURE")]
    insecure: bool,
}

impl TrustArgs {
    fn dialer(&self, credential: Option<Secret>) -> Result<Dialer> {
        let tls = self.tls_ca.as_deref().map(ClientTls::open).transpose();
        let tls = tls.map_err(|error| unusable(error.field, error))?;
        Ok(Dialer::default().with_tls(tls).with_credential(credential).with_insecure(self.insecure))
    }
}

/// Who a client is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct ClientSecurityArgs {
    /// The file that holds your token; FIRESTEEL_TOKEN may hold the token itself
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Your token
    #[arg(long, value_name = "TOKEN", env = "FIRESTEEL_TOKEN", hide = true, hide_env_values = true)]
    token: Option<Hidden>,
    #[command(flatten)]
    trust: TrustArgs,
}

impl ClientSecurityArgs {
    /// How servers are reached, and with which token.
    pub(crate) fn dialer(&self) -> Result<Dialer> {
        let files = self.token_file.iter().cloned().collect::<Vec<_>>();
        let token = secrets(&files, self.token.as_ref(), ConfigField::AccessToken)?.into_iter().next();
        self.trust.dialer(token)
    }
}

/// Who may ask a server of the cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct ServerSecurityArgs {
    /// The file of the secret that scheduler and executors share; FIRESTEEL_CLUSTER_SECRET may hold the secret itself. Of
    /// several files the secret of the first is sent and that of each is accepted, while it is replaced
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_CLUSTER_SECRET_FILE", value_delimiter = ',')]
    cluster_secret_file: Vec<PathBuf>,
    /// The secret that scheduler and executors share
    #[arg(
        long,
        value_name = "SECRET",
        env = "FIRESTEEL_CLUSTER_SECRET",
        hide = true,
        hide_env_values = true
    )]
    cluster_secret: Option<Hidden>,
    /// The certificate of this server, with those of the authorities between, as PEM; switches TLS on
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, as PEM
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Further names under which this server may be asked, with commas in between, besides addresses and localhost
    #[arg(long, value_name = "NAMES", env = "FIRESTEEL_ALLOW_HOSTS", value_delimiter = ',')]
    allow_hosts: Vec<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// What [`ServerSecurityArgs`] say.
pub(crate) struct ServerSecurity {
    /// Who may ask.
    pub(crate) access: Arc<Access>,
    /// The certificate.
    pub(crate) tls: Option<ServerTls>,
    /// How other servers of the cluster are reached.
    pub(crate) dialer: Dialer,
    /// Whether a port may be open to other machines without authentication.
    pub(crate) insecure: bool,
}

impl ServerSecurityArgs {
    /// Reads the files. `users` are those that a server knows besides the members of the cluster.
    pub(crate) fn read(&self, users: &UsersArgs) -> Result<ServerSecurity> {
        let secrets = secrets(
            &self.cluster_secret_file,
            self.cluster_secret.as_ref(),
            ConfigField::AccessClusterSecret,
        )?;
        let own = secrets.first().cloned();
        let mut access = Access::open().with_hosts(self.allow_hosts.iter().map(String::as_str));
        for secret in secrets {
            access = access.with_cluster_secret(secret);
        }
        if let Some(file) = &users.tokens_file {
            let tokens = Tokens::open(file).map_err(|error| unusable(ConfigField::AccessTokens, error))?;
            access = access.with_tokens(tokens);
        }
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                Some(ServerTls::open(certificate, key).map_err(|error| unusable(error.field, error))?)
            }
            _ => None,
        };
        Ok(ServerSecurity {
            access: Arc::new(access),
            tls,
            dialer: self.trust.dialer(own)?,
            insecure: self.trust.insecure,
        })
    }

    /// Whether servers of the cluster are reached by TLS.
    pub(crate) fn trusts(&self) -> bool {
        self.trust.tls_ca.is_some()
    }
}

/// The users of a server.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct UsersArgs {
    /// The file of the users, a line each: NAME ROLE TOKEN, where ROLE is reader, writer or admin. It is read again when it
    /// changes
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_TOKENS_FILE")]
    tokens_file: Option<PathBuf>,
}

/// The secrets in files, or the one in a variable.
fn secrets(files: &[PathBuf], text: Option<&Hidden>, field: ConfigField) -> Result<Vec<Secret>> {
    if files.is_empty() {
        let secret = text.map(|text| Secret::new(text.0.trim())).transpose();
        return Ok(secret.map_err(|error| unusable(field, error))?.into_iter().collect());
    }
    let read = |file: &PathBuf| {
        Secret::read(file).map_err(|error| unusable(field, format!("{}: {error}", file.display())))
    };
    files.iter().map(read).collect()
}

fn unusable(setting: ConfigField, message: impl fmt::Display) -> Error {
    Error::InvalidSetting { setting, message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Server {
        #[command(flatten)]
        security: ServerSecurityArgs,
        #[command(flatten)]
        users: UsersArgs,
    }

    #[derive(Debug, Parser)]
    struct Client {
        #[command(flatten)]
        security: ClientSecurityArgs,
    }

    const SECRET: &str = "hunter2hunter2hunter2";

    fn private(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
        path.display().to_string()
    }

    #[test]
    fn secrets_come_from_files_and_do_not_print_themselves() {
        let folder = tempfile::tempdir().expect("a folder");
        let (new, old) =
            (private(&folder, "new", SECRET), private(&folder, "old", "the-old-secret-of-all\n"));
        let tokens = private(&folder, "tokens", "ada reader the-token-of-ada-0123\n");
        let files = format!("{new},{old}");
        let server = ["x", "--cluster-secret-file", &files, "--tokens-file", &tokens, "--allow-hosts", "a,b"];
        let server = Server::try_parse_from(server).expect("usage is right");
        let security = server.security.read(&server.users).expect("usable");
        assert!(security.dialer.credential().is_some_and(|secret| secret.is(SECRET)));
        for accepted in [SECRET, "the-old-secret-of-all", "the-token-of-ada-0123"] {
            assert!(security.access.holder_of(accepted).is_ok(), "{accepted}");
        }
        assert!(security.access.holder_of("anything-else-at-all").is_err());

        let client = Client::try_parse_from(["x", "--token", SECRET]).expect("usage is right");
        assert!(client.security.dialer().expect("usable").credential().is_some());
        let shown = format!("{client:?} {:?}", security.access);
        assert!(!shown.contains("hunter2"), "{shown}");
        let file = private(&folder, "token", "short");
        let client = Client::try_parse_from(["x", "--token-file", &file]).expect("usage is right");
        let error = client.security.dialer().expect_err("too short").to_string();
        assert!(
            error.contains(&file) && error.contains("access.token") && !error.contains("short\n"),
            "{error}"
        );
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        assert!(Server::try_parse_from(["x", "--tls-cert", "a"]).is_err());
        assert!(Server::try_parse_from(["x", "--tls-key", "a"]).is_err());
        let server = Server::try_parse_from(["x", "--tls-cert", "/no/cert", "--tls-key", "/no/key"]);
        let server = server.expect("usage is right");
        let error = server.security.read(&server.users).err().expect("no file").to_string();
        assert!(error.contains("tls.cert") && error.contains("/no/cert"), "{error}");
    }
}
