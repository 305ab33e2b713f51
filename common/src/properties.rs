//! Properties of librdkafka that load code, run commands or write files, which nobody may set.
//!
//! A settings file may come with somebody's folder, and a property is a line in it. What a property of this kind names runs
//! when the first client is made. The list is made from librdkafka's CONFIGURATION.md.

/// Properties that load a shared object, run a command, write a file or hold a pointer of the program's.
const REFUSED: [&str; 11] = [
    "plugin.library.paths",
    "ssl.engine.location",
    "ssl.engine.id",
    "ssl.providers",
    "ssl_engine_callback_data",
    "sasl.kerberos.kinit.cmd",
    "interceptors",
    "opaque",
    "default_topic_conf",
    "offset.store.path",
    "offset.store.method",
];

/// Properties whose values become words of a command that a shell runs.
const WORDS_OF_A_COMMAND: [&str; 3] =
    ["sasl.kerberos.keytab", "sasl.kerberos.principal", "sasl.kerberos.service.name"];

/// Why a property may not be set, or not to this value; `None` where it may.
pub(crate) fn danger(name: &str, value: &str) -> Option<&'static str> {
    if REFUSED.contains(&name) || name.ends_with("_cb") {
        return Some("it would load code, run a command or write a file");
    }
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '@' | ':');
    if WORDS_OF_A_COMMAND.contains(&name) && !value.chars().all(harmless) {
        return Some("it becomes a word of a command, and holds more than letters, digits and . _ - / @ :");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_code_is_refused_and_what_a_client_needs_is_not() {
        for (name, value, refused) in [
            ("plugin.library.paths", "/tmp/evil.so", true),
            ("ssl.engine.location", "/tmp/evil.so", true),
            ("ssl.engine.id", "dynamic", true),
            ("ssl.providers", "evil", true),
            ("sasl.kerberos.kinit.cmd", "touch /tmp/evil", true),
            ("sasl.kerberos.keytab", "/etc/a.keytab\"; touch /tmp/evil; \"", true),
            ("sasl.kerberos.keytab", "/etc/a.keytab", false),
            ("sasl.kerberos.principal", "kafka/host.example@EXAMPLE", false),
            ("sasl.kerberos.principal", "$(touch /tmp/evil)", true),
            ("interceptors", "x", true),
            ("opaque", "1", true),
            ("dr_msg_cb", "1", true),
            ("offset.store.path", "/etc", true),
            ("ssl.ca.location", "/etc/ca.pem", false),
            ("ssl.key.location", "/etc/key.pem", false),
            ("ssl.keystore.location", "/etc/keystore.p12", false),
            ("security.protocol", "SASL_SSL", false),
            ("sasl.mechanism", "SCRAM-SHA-512", false),
            ("sasl.password", "a\"b;c", false),
            ("queued.max.messages.kbytes", "100", false),
        ] {
            assert_eq!(danger(name, value).is_some(), refused, "{name}={value}");
        }
    }
}
