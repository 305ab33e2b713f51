//! The arguments that say which files of the machine SQL may read and write.

use std::ffi::OsString;

use clap::Args;
use firesteel_engine::FileAccess;

/// The folders below which SQL may read and write files.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileArgs {
    /// The folders below which SQL may read files, with commas in between; empty: none [default: the current folder for an
    /// engine inside this process, none for scheduler and executors]
    #[arg(long, value_name = "DIR,…", env = "FIRESTEEL_ALLOW_READ", value_delimiter = ',')]
    allow_read: Option<Vec<OsString>>,
    /// The folders below which SQL may write files; likewise
    #[arg(long, value_name = "DIR,…", env = "FIRESTEEL_ALLOW_WRITE", value_delimiter = ',')]
    allow_write: Option<Vec<OsString>>,
}

impl FileArgs {
    /// Which files an engine may have.
    pub(crate) fn config(&self) -> FileAccess {
        let folders = |named: &Option<Vec<OsString>>| {
            let named = named.as_ref()?.iter().filter(|folder| !folder.is_empty());
            Some(named.map(Into::into).collect())
        };
        FileAccess { read: folders(&self.allow_read), write: folders(&self.allow_write) }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn folders_are_named_with_commas_and_none_is_not_the_default() {
        for (arguments, expected) in [
            (vec![], FileAccess::default()),
            (vec!["--allow-read", ""], FileAccess { read: Some(vec![]), write: None }),
            (
                vec!["--allow-read", "/a,b", "--allow-read", "c", "--allow-write", "/d"],
                FileAccess {
                    read: Some(vec!["/a".into(), "b".into(), "c".into()]),
                    write: Some(vec!["/d".into()]),
                },
            ),
        ] {
            let program = FileArgs::augment_args(Command::new("role").no_binary_name(true));
            let matches = program.try_get_matches_from(&arguments).expect("usage is right");
            let args = FileArgs::from_arg_matches(&matches).expect("usage is right");
            assert_eq!(args.config(), expected, "{arguments:?}");
        }
    }
}
