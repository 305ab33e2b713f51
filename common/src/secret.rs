//! Values that may hold a secret, and print themselves without it.
//!
//! [`MongoUri`] is a connection string, which may hold a password; [`KafkaProperties`] are properties of a Kafka client,
//! whose values may be passwords and keys. `Debug` and `Display` show neither, and each takes its secrets out of a message
//! that somebody else wrote. What is secret is only given to whoever asks for it by name.

use std::collections::BTreeMap;
use std::fmt;

/// What stands in a message in place of a secret.
const REDACTED: &str = "<redacted>";

/// The option with the properties of a mechanism of authentication.
const MECHANISM: &str = "authMechanismProperties";

/// Options of a connection string whose values are secrets.
const SECRET_OPTIONS: [&str; 5] = [
    "tlsCertificateKeyFilePassword",
    "sslClientCertificateKeyPassword",
    "sslPEMKeyPassword",
    "proxyPassword",
    MECHANISM,
];

/// Whether properties of a mechanism hold a token, such as `AWS_SESSION_TOKEN:…`.
fn has_token(properties: &str) -> bool {
    let properties = properties.to_ascii_lowercase();
    // `,` and `:` may be written as `%2C` and `%3A`.
    ["token:", "token%3a", "password", "secret"].iter().any(|word| properties.contains(word))
}

/// A MongoDB connection string. It prints its scheme and hosts, without user, password, path and options.
#[derive(Clone, PartialEq, Eq)]
pub struct MongoUri(String);

impl MongoUri {
    /// Takes a connection string as it is; whether it can be used is the driver's to say.
    pub fn new(uri: impl Into<String>) -> Self {
        Self(uri.into())
    }

    /// The whole string, with its secrets, for the driver.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hosts, without anything else.
    ///
    /// Only what lies between the credentials and the path is kept, so that a malformed string reveals nothing either.
    #[must_use]
    pub fn hosts(&self) -> &str {
        self.parts().hosts
    }

    /// Whether the string names a user.
    #[must_use]
    pub fn holds_credentials(&self) -> bool {
        !self.parts().credentials.is_empty()
    }

    /// Whether the string holds a password, be it written as it should be or not.
    #[must_use]
    pub fn holds_password(&self) -> bool {
        self.parts().credentials.contains(':')
    }

    /// The name of an option that is a secret, such as a password of a key. Names are compared as the driver does.
    #[must_use]
    pub fn secret_option(&self) -> Option<&'static str> {
        self.secret_options().next().map(|(name, _)| name)
    }

    /// The options that are secrets, with their values as they are written.
    fn secret_options(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let options = self.0.split_once('?').map_or("", |(_, options)| options);
        options.split(['&', ';']).filter_map(|option| {
            let (name, value) = option.split_once('=')?;
            let known = SECRET_OPTIONS.iter().find(|known| known.eq_ignore_ascii_case(name))?;
            // Most properties of a mechanism are none: only those that are tokens.
            let is_plain = *known == MECHANISM && !has_token(value);
            (!is_plain && !value.is_empty()).then_some((*known, value))
        })
    }

    /// Takes the string, its credentials and secrets among its options out of a message.
    #[must_use]
    pub fn redact(&self, message: &str) -> String {
        if self.0.is_empty() {
            return message.to_owned();
        }
        let mut message = message.replace(&self.0, &self.to_string());
        let credentials = self.parts().credentials;
        let password = credentials.split_once(':').map_or("", |(_, password)| password);
        let options = self.secret_options().map(|(_, value)| value);
        for secret in [credentials, password].into_iter().chain(options) {
            if !secret.is_empty() {
                message = message.replace(secret, REDACTED);
            }
        }
        message
    }

    fn parts(&self) -> Parts<'_> {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        // The last `@` ends the credentials, whatever an unescaped password holds. Options may have one of their own, as
        // Azure's do: `host:1/?appName=@user@`.
        let whole = rest.rsplit_once('@').unwrap_or(("", rest));
        let (credentials, hosts) = match rest.split_once('?') {
            Some((before, options)) if options.contains('@') => {
                let (user, hosts) = before.rsplit_once('@').unwrap_or(("", before));
                let is_known = !user.contains(['@', '/']) && is_options_of(hosts, options);
                // Without a user, `name:1/?app=a@b` may be a host with an option or a user with a password: nothing of it
                // is shown then.
                if is_known && !(user.is_empty() && ends_with_hosts(options)) { (user, hosts) } else { whole }
            }
            _ => whole,
        };
        let hosts = hosts.split(['/', '?']).next().unwrap_or_default();
        Parts { scheme, credentials, hosts }
    }
}

/// Whether what follows the last `@` could be hosts.
fn ends_with_hosts(options: &str) -> bool {
    let Some((_, last)) = options.rsplit_once('@') else { return false };
    let hosts = last.split(['/', '?']).next().unwrap_or_default();
    let letter = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | ',');
    !hosts.is_empty() && hosts.chars().all(letter)
}

/// Whether `before?options` is a list of hosts with options, rather than credentials whose password holds a `?`.
fn is_options_of(before: &str, options: &str) -> bool {
    let hosts = before.split('/').next().unwrap_or_default();
    let is_host = |host: &str| match host.rsplit_once(':') {
        Some((name, port)) => {
            !name.is_empty() && (name.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit()))
        }
        None => !host.is_empty(),
    };
    let is_option = match (options.find('='), options.find('@')) {
        (Some(equals), Some(at)) => equals < at,
        (None, Some(_)) => false,
        (_, None) => true,
    };
    // Without a path, `user?word@host` would look the same; a path is asked for by the standard.
    (before.contains('/') || !options.contains('@')) && hosts.split(',').all(is_host) && is_option
}

struct Parts<'a> {
    scheme: &'a str,
    credentials: &'a str,
    hosts: &'a str,
}

impl fmt::Display for MongoUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { scheme, hosts, .. } = self.parts();
        if scheme.is_empty() { f.write_str(hosts) } else { write!(f, "{scheme}://{hosts}") }
    }
}

impl fmt::Debug for MongoUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MongoUri({self})")
    }
}

impl From<String> for MongoUri {
    fn from(uri: String) -> Self {
        Self(uri)
    }
}

impl From<&str> for MongoUri {
    fn from(uri: &str) -> Self {
        Self(uri.to_owned())
    }
}

impl From<&String> for MongoUri {
    fn from(uri: &String) -> Self {
        Self(uri.clone())
    }
}

/// Parts of the names of librdkafka's properties whose values are secrets.
const SECRET_NAMES: [&str; 4] = ["password", "secret", "key.pem", "oauthbearer.config"];

/// Properties of a librdkafka client, such as `security.protocol` or `sasl.password`. `Debug` prints their names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaProperties(BTreeMap<String, String>);

impl KafkaProperties {
    /// Sets a property; the value that it had is returned.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        self.0.insert(name.into(), value.into())
    }

    /// The value of a property, which may be a secret.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values, in the order of names. Values may be secrets.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether the property of this name holds a secret by its nature.
    #[must_use]
    pub fn is_secret(name: &str) -> bool {
        SECRET_NAMES.iter().any(|part| name.contains(part))
    }

    /// Takes the values out of a message. Short ones are no secrets, and everywhere.
    #[must_use]
    pub fn redact(&self, message: &str) -> String {
        let values = self.0.values().filter(|value| value.len() > 3);
        values.fold(message.to_owned(), |text, value| text.replace(value.as_str(), REDACTED))
    }
}

impl fmt::Debug for KafkaProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, REDACTED))).finish()
    }
}

impl Extend<(String, String)> for KafkaProperties {
    fn extend<T: IntoIterator<Item = (String, String)>>(&mut self, pairs: T) {
        self.0.extend(pairs);
    }
}

impl FromIterator<(String, String)> for KafkaProperties {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// Takes `value` out of a message that quotes it.
#[must_use]
pub fn without(message: &str, value: &str) -> String {
    if value.is_empty() { message.to_owned() } else { message.replace(value, REDACTED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_prints_its_hosts_alone() {
        for (uri, shown, hosts) in [
            ("mongodb://localhost:27017", "mongodb://localhost:27017", "localhost:27017"),
            ("mongodb://u:p@a:1,b:2/db?authSource=x", "mongodb://a:1,b:2", "a:1,b:2"),
            ("mongodb://user:se@cret@a:1,b:2/admin?replicaSet=rs0", "mongodb://a:1,b:2", "a:1,b:2"),
            ("mongodb+srv://u:p%40w@cluster.example", "mongodb+srv://cluster.example", "cluster.example"),
            ("mongodb+srv://user:secret@c.example/?w=majority", "mongodb+srv://c.example", "c.example"),
            ("mongodb://u:p/w@x@a:1/db", "mongodb://a:1", "a:1"),
            ("mongodb://a:1/?authMechanismProperties=AWS_SESSION_TOKEN:s", "mongodb://a:1", "a:1"),
            ("mongodb://[::1]:7/?w=1", "mongodb://[::1]:7", "[::1]:7"),
            ("user:secret@host", "host", "host"),
            ("mongodb://user:sec?ret@host", "mongodb://host", "host"),
            ("mongodb://user:sec/r?et@host", "mongodb://host", "host"),
            ("mongodb://user:sec/r?e=t@host", "mongodb://host", "host"),
            (
                "mongodb://user:secret@host:10255/?ssl=true&appName=@user@",
                "mongodb://host:10255",
                "host:10255",
            ),
            ("mongodb://host:1/?appName=@user@", "mongodb://host:1", "host:1"),
            ("mongodb://user:12345/a?b=c@host", "mongodb://host", "host"),
            ("mongodb://user:12345/?b=c@host:1,other:2/db", "mongodb://host:1,other:2", "host:1,other:2"),
            ("mongodb://me:p@cret?word@host/db", "mongodb://host", "host"),
            ("mongodb://a@example.com:sec?ret@host", "mongodb://host", "host"),
            ("nonsense", "nonsense", "nonsense"),
            ("", "", ""),
        ] {
            let parsed = MongoUri::new(uri);
            assert_eq!((parsed.to_string().as_str(), parsed.hosts()), (shown, hosts), "{uri}");
            assert!(!format!("{parsed:?}").contains("cret"), "{uri}");
        }
    }

    #[test]
    fn a_password_is_noticed_however_it_is_written() {
        for (uri, holds) in [
            ("mongodb://localhost:27017", false),
            ("mongodb://user@host", false),
            ("mongodb://user:secret@host", true),
            ("mongodb://user:sec?ret@host", true),
            ("mongodb://user:sec/ret@host", true),
            ("mongodb://a@example.com:sec?ret@host", true),
            ("mongodb://host:1/?appName=@user@", false),
            ("mongodb://user:12345/a?b=c@host", true),
        ] {
            assert_eq!(MongoUri::new(uri).holds_password(), holds, "{uri}");
        }
        assert!(MongoUri::from("mongodb://user@host").holds_credentials());
    }

    #[test]
    fn a_secret_among_the_options_is_noticed() {
        for (options, expected) in [
            ("tls=true&tlsCertificateKeyFile=/c.pem", None),
            ("tls=true&tlsCertificateKeyFilePassword=hunter2", Some("tlsCertificateKeyFilePassword")),
            ("TLSCERTIFICATEKEYFILEPASSWORD=hunter2", Some("tlsCertificateKeyFilePassword")),
            ("authMechanismProperties=AWS_SESSION_TOKEN:hunter2", Some(MECHANISM)),
            ("authMechanismProperties=SERVICE_NAME:a,AWS_SESSION_TOKEN%3Ahunter2", Some(MECHANISM)),
            ("authMechanismProperties=ENVIRONMENT:azure,TOKEN_RESOURCE:mongodb", None),
            ("proxyHost=a&proxyPassword=hunter2", Some("proxyPassword")),
            ("", None),
        ] {
            let uri = MongoUri::new(format!("mongodb://h:1/?{options}"));
            assert_eq!(uri.secret_option(), expected, "{options}");
            let told = uri.redact(&format!("option {options} is wrong"));
            assert!(!told.contains("hunter2"), "{told}");
        }
        assert_eq!(MongoUri::new("mongodb://h:1").secret_option(), None);
    }

    #[test]
    fn a_message_loses_what_is_secret_in_it() {
        let uri = MongoUri::new("mongodb://me:hunter2@a:1/db?x=y");
        let message = "mongodb://me:hunter2@a:1/db?x=y is wrong: hunter2 of me:hunter2";
        assert_eq!(uri.redact(message), "mongodb://a:1 is wrong: <redacted> of <redacted>");
        assert_eq!(MongoUri::new("").redact("nothing"), "nothing");

        let mut properties = KafkaProperties::default();
        properties.insert("sasl.password", "hunter2");
        properties.insert("retries", "7");
        assert_eq!(properties.redact("7 times hunter2"), "7 times <redacted>");
        let shown = format!("{properties:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(without("no \"hunter2\"", "hunter2"), "no \"<redacted>\"");
        assert_eq!(without("nothing", ""), "nothing");
    }

    #[test]
    fn names_of_secrets_are_known() {
        for (name, secret) in [
            ("sasl.password", true),
            ("ssl.key.password", true),
            ("ssl.key.pem", true),
            ("sasl.oauthbearer.client.secret", true),
            ("sasl.oauthbearer.config", true),
            ("security.protocol", false),
        ] {
            assert_eq!(KafkaProperties::is_secret(name), secret, "{name}");
        }
    }
}
