//! `firesteel capacity`: what rates of images need, and whether that holds. Arguments → `plan` → `simulation` → tables.

mod plan;
mod simulation;

use std::fmt::Write as _;

use clap::Args;

use self::plan::{Inputs, Plan};
use crate::context::Outcome;
use crate::output;

/// Behind `--help`.
const EXAMPLES: &str = "\
Examples:
    firesteel capacity --simulate
    firesteel capacity --rates 100000 --inference-per-core 322 --utilisation 0.5";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct CapacityArgs {
    /// Images a second, with commas in between
    #[arg(long, value_name = "RATES", value_delimiter = ',', value_parser = plan::positive,
          default_value = "1000,100000,10000000")]
    rates: Vec<f64>,
    /// Also runs each plan, event by event
    #[arg(long)]
    simulate: bool,
    /// How many seconds a simulation is
    #[arg(long, value_name = "S", default_value_t = 60.0, value_parser = plan::positive)]
    seconds: f64,
    #[command(flatten)]
    inputs: Inputs,
}

pub(crate) fn run(args: CapacityArgs) -> anyhow::Result<Outcome> {
    output::print(&render(&args)?)?;
    Ok(Outcome::Done)
}

fn render(args: &CapacityArgs) -> anyhow::Result<String> {
    let mut text = String::new();
    for (name, value, help) in args.inputs.told() {
        writeln!(text, "{name} = {value}: {help}")?;
    }
    let plans: Vec<Plan> = args.rates.iter().map(|rate| Plan::of(*rate, &args.inputs)).collect();
    writeln!(text, "\n{}", plan::table(&plans))?;
    if args.simulate {
        writeln!(text, "\n{}", simulation::table(&plans, &args.inputs, args.seconds))?;
    }
    Ok(text)
}

/// A table of Markdown: the first column is of words, the others are of numbers.
fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let wide = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(wide).collect();
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| format!("{}{}", "-".repeat(width + 1), if column == 0 { '-' } else { ':' }))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.insert(1.min(lines.len()), format!("|{}|", rule.join("|")));
    lines.join("\n")
}

/// A number with commas between thousands, and one decimal where it is a small fraction.
fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: CapacityArgs,
    }

    fn said(arguments: &[&str]) -> String {
        let all = std::iter::once("capacity").chain(arguments.iter().copied());
        render(&Alone::try_parse_from(all).expect("arguments").args).expect("text")
    }

    #[test]
    fn inputs_a_table_and_verdicts_are_printed() {
        let text = said(&["--rates", "1000", "--simulate", "--seconds", "10"]);
        for part in [
            "inference-per-core = 182: ",
            "| inference: cores           |         8 |",
            "bounded",
            "grows by",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn an_input_is_an_argument() {
        let text = said(&["--rates", "1000,2000", "--inference-per-core", "1000"]);
        let line = text.lines().find(|line| line.starts_with("| inference: cores")).expect("a line");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!(cells, ["", "inference: cores", "2", "3", ""]);
    }

    #[test]
    fn wrong_inputs_are_wrong_usage() {
        for wrong in [
            ["--rates", "many"],
            ["--rates", "0"],
            ["--inference-per-core", "0"],
            ["--report-seconds", "-1"],
            ["--utilisation", "2"],
            ["--colour", "red"],
        ] {
            let error = Alone::try_parse_from(std::iter::once("capacity").chain(wrong)).expect_err("wrong");
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn tables_and_numbers() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["ccc".to_owned(), "1".to_owned()]];
        assert_eq!(markdown(&rows), "| a   | bb |\n|-----|---:|\n| ccc |  1 |");
        let numbers = [0.93, 9.0, 93.3, 1000.0, 78_493.0, 36_000_000_000.0].map(number);
        assert_eq!(numbers, ["0.9", "9", "93", "1,000", "78,493", "36,000,000,000"]);
    }

    #[test]
    fn the_tables_in_the_docs_are_what_is_printed() {
        let docs = include_str!("../../../../docs/capacity.md");
        for line in said(&["--simulate"]).lines().filter(|line| line.starts_with('|')) {
            assert!(
                docs.contains(line),
                "docs/capacity.md is not what `firesteel capacity --simulate` prints: {line}"
            );
        }
    }
}
