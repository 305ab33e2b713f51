//! The arguments that limit how much one statement of SQL may ask for.

use clap::Args;
use firesteel_engine::SqlLimits;

use super::size::size;

/// How much one statement may ask for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of a statement")]
pub(crate) struct LimitArgs {
    /// The length of a statement of SQL
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_MAX_SQL_SIZE", default_value = "1MiB", value_parser = size)]
    max_sql_size: usize,
    /// The words, literals and signs of a statement
    #[arg(long, value_name = "N", env = "FIRESTEEL_MAX_SQL_TOKENS", default_value_t = 200_000)]
    max_sql_tokens: usize,
    /// How deep a statement may be: operators in a row, joins, set operations and parentheses
    #[arg(long, value_name = "N", env = "FIRESTEEL_MAX_SQL_DEPTH", default_value_t = 1_000,
          value_parser = depth)]
    max_sql_depth: usize,
    /// The nodes of a plan: each use of a view, or of a name in WITH, counts all of it
    #[arg(long, value_name = "N", env = "FIRESTEEL_MAX_PLAN_NODES", default_value_t = 20_000)]
    max_plan_nodes: usize,
    /// A value that a function makes of smaller ones, such as repeat
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_MAX_VALUE_SIZE", default_value = "256MiB",
          value_parser = size)]
    max_value_size: usize,
}

/// A depth that the stacks of the engine's threads are large enough for.
fn depth(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(depth) if (1..=SqlLimits::DEEPEST).contains(&depth) => Ok(depth),
        Ok(_) => Err(format!("it is a number from 1 to {}", SqlLimits::DEEPEST)),
        Err(error) => Err(format!("{error}")),
    }
}

impl LimitArgs {
    /// The limits of an engine.
    pub(crate) fn config(&self) -> SqlLimits {
        SqlLimits {
            bytes: self.max_sql_size,
            tokens: self.max_sql_tokens,
            depth: self.max_sql_depth,
            plan_nodes: self.max_plan_nodes,
            value_bytes: self.max_value_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn the_defaults_are_the_librarys() {
        let program = LimitArgs::augment_args(Command::new("role").no_binary_name(true));
        let parsed = |arguments: &[&str]| program.clone().try_get_matches_from(arguments);
        let matches = parsed(&[]).expect("usage is right");
        let args = LimitArgs::from_arg_matches(&matches).expect("usage is right");
        assert_eq!(args.config(), SqlLimits::default());
        assert!(parsed(&["--max-sql-depth", "1000000"]).is_err());
    }
}
