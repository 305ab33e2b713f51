//! The figures of an evaluation, printed as tables, JSON or CSV.

use std::fmt::Write as _;

use firesteel_pipeline::inference::Evaluation;
use serde_json::{Value, json};

use crate::output::{Format, grid, percent, quoted};

/// The figures of one model.
pub(in crate::commands) struct Figures {
    /// The name of its precision, or of the reference.
    pub(in crate::commands) name: &'static str,
    pub(in crate::commands) evaluation: Evaluation,
    /// How many images the reference puts into another class. None where no reference was measured.
    pub(in crate::commands) disagreements: Option<usize>,
    /// Whether `--precision auto` takes this one. None where that was not looked at.
    pub(in crate::commands) auto: Option<bool>,
}

/// `part` of `whole` in percent; 0 where `whole` is 0.
#[expect(clippy::cast_precision_loss, reason = "counts of images")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

impl Figures {
    fn accuracy(&self) -> f64 {
        share(self.evaluation.correct as u64, self.evaluation.images as u64)
    }

    /// The disagreements as a cell of a table, which is empty without a reference.
    fn compared(&self) -> String {
        self.disagreements.map(|images| images.to_string()).unwrap_or_default()
    }

    /// For each class the number of its images, and how many of them were classified correctly.
    fn classes(&self) -> impl Iterator<Item = (u64, u64)> {
        let rows = self.evaluation.confusion.iter().enumerate();
        rows.map(|(class, row)| (row.iter().sum::<u64>(), row.get(class).copied().unwrap_or_default()))
    }
}

/// The figures in `format`, with a line break at its end.
pub(in crate::commands) fn render(
    all: &[Figures],
    classes: &[String],
    format: Format,
) -> anyhow::Result<String> {
    match format {
        Format::Table => table(all, classes),
        Format::Json => Ok(format!("{:#}\n", json(all, classes))),
        Format::Csv => csv(all, classes),
    }
}

fn json(all: &[Figures], classes: &[String]) -> Value {
    let figures = all.iter().map(|figures| {
        let Evaluation { model, images, correct, confusion, predicted: _, time, batch } = &figures.evaluation;
        let of_class = |(name, (total, correct)): (&String, (u64, u64))| {
            json!({ "class": name, "total": total, "correct": correct, "accuracy": share(correct, total) })
        };
        json!({
            "precision": figures.name,
            "accuracy": figures.accuracy(),
            "images_per_second": figures.evaluation.images_per_second(),
            "batch": batch,
            "model": model,
            "images": images,
            "correct": correct,
            "disagreements": figures.disagreements,
            "auto": figures.auto,
            "seconds": time.as_secs_f64(),
            "classes": classes.iter().zip(figures.classes()).map(of_class).collect::<Vec<_>>(),
            "confusion": confusion,
        })
    });
    figures.collect()
}

fn table(all: &[Figures], classes: &[String]) -> anyhow::Result<String> {
    let mut text = String::from("Accuracy and Rate by Precision:\n");
    let compared = all.iter().any(|figures| figures.disagreements.is_some());
    let rows = all.iter().map(|figures| {
        let Evaluation { model, images, correct, batch, .. } = &figures.evaluation;
        let mut row = vec![
            figures.name.to_owned(),
            percent(figures.accuracy()),
            format!("{:.1}", figures.evaluation.images_per_second()),
            batch.to_string(),
            images.to_string(),
            correct.to_string(),
            model.clone(),
        ];
        if compared {
            row.push(figures.compared());
        }
        row
    });
    let mut header = vec!["precision", "accuracy", "images/s", "batch", "images", "correct", "model"];
    if compared {
        header.push("disagreements");
    }
    writeln!(text, "{}", grid(&header, rows)?)?;

    writeln!(text, "\nAccuracy by Class:")?;
    let names = all.iter().map(|figures| figures.name);
    let header: Vec<&str> = ["class", "total"].into_iter().chain(names).collect();
    let mut rows: Vec<Vec<String>> = classes.iter().map(|class| vec![class.clone()]).collect();
    for (index, figures) in all.iter().enumerate() {
        for (row, (total, correct)) in rows.iter_mut().zip(figures.classes()) {
            if index == 0 {
                row.push(total.to_string());
            }
            row.push(percent(share(correct, total)));
        }
    }
    writeln!(text, "{}", grid(&header, rows.into_iter())?)?;

    for figures in all {
        writeln!(text, "\nConfusion in {} (rows: what it is, columns: what was said):", figures.name)?;
        let header: Vec<&str> = std::iter::once("class").chain(classes.iter().map(String::as_str)).collect();
        let rows = classes.iter().zip(&figures.evaluation.confusion);
        let rows = rows.map(|(class, row)| {
            std::iter::once(class.clone()).chain(row.iter().map(u64::to_string)).collect::<Vec<_>>()
        });
        writeln!(text, "{}", grid(&header, rows)?)?;
    }
    Ok(text)
}

/// Three blocks, each with a header, separated by empty lines.
fn csv(all: &[Figures], classes: &[String]) -> anyhow::Result<String> {
    let mut text =
        String::from("precision,accuracy,images_per_second,batch,images,correct,model,disagreements\n");
    for figures in all {
        let Evaluation { model, images, correct, batch, .. } = &figures.evaluation;
        let (accuracy, rate) = (figures.accuracy(), figures.evaluation.images_per_second());
        let model = quoted(model);
        let disagreements = figures.compared();
        writeln!(
            text,
            "{},{accuracy},{rate},{batch},{images},{correct},{model},{disagreements}",
            figures.name
        )?;
    }
    text.push_str("\nprecision,class,total,correct,accuracy\n");
    for figures in all {
        for (class, (total, correct)) in classes.iter().zip(figures.classes()) {
            let (class, accuracy) = (quoted(class), share(correct, total));
            writeln!(text, "{},{class},{total},{correct},{accuracy}", figures.name)?;
        }
    }
    text.push_str("\nprecision,class,predicted,images\n");
    for figures in all {
        for (class, row) in classes.iter().zip(&figures.evaluation.confusion) {
            for (predicted, images) in classes.iter().zip(row) {
                writeln!(text, "{},{},{},{images}", figures.name, quoted(class), quoted(predicted))?;
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn figures() -> (Vec<Figures>, Vec<String>) {
        let evaluation = |name: &str, confusion: [[u64; 2]; 2]| Evaluation {
            model: format!("m/{name}"),
            images: 8,
            correct: usize::try_from(confusion[0][0] + confusion[1][1]).expect("few"),
            confusion: confusion.map(Vec::from).to_vec(),
            predicted: Vec::new(),
            time: Duration::from_millis(500),
            batch: 4,
        };
        let all = vec![
            Figures {
                name: "f32",
                evaluation: evaluation("f32", [[5, 0], [1, 2]]),
                disagreements: None,
                auto: None,
            },
            Figures {
                name: "int8",
                evaluation: evaluation("int8", [[4, 1], [1, 2]]),
                disagreements: Some(1),
                auto: Some(true),
            },
        ];
        (all, ["cat", "a,dog"].map(str::to_owned).to_vec())
    }

    #[test]
    fn json_has_what_the_contract_names() {
        let (all, classes) = figures();
        let json = json(&all, &classes);
        assert_eq!(json.as_array().map(Vec::len), Some(2));
        assert_eq!(json[0]["precision"], "f32");
        assert_eq!(json[0]["accuracy"], 87.5);
        assert_eq!(json[0]["images_per_second"], 16.0);
        assert_eq!(json[0]["batch"], 4);
        assert_eq!((&json[0]["disagreements"], &json[1]["disagreements"]), (&json!(null), &json!(1)));
        assert_eq!((&json[0]["auto"], &json[1]["auto"]), (&json!(null), &json!(true)));
        assert_eq!(json[1]["confusion"], json!([[4, 1], [1, 2]]));
        let class = json!({ "class": "cat", "total": 5, "correct": 4, "accuracy": 80.0 });
        assert_eq!(json[1]["classes"][0], class);
    }

    #[test]
    fn tables_and_csv_hold_the_same() {
        let (all, classes) = figures();
        let text = table(&all, &classes).expect("a table");
        let cells =
            |line: &str| line.split('|').map(str::trim).map(str::to_owned).collect::<Vec<_>>().join("|");
        let lines: Vec<String> = text.lines().map(cells).collect();
        for expected in [
            "|precision|accuracy|images/s|batch|images|correct|model|disagreements|",
            "|f32|87.50 %|16.0|4|8|7|m/f32||",
            "|int8|75.00 %|16.0|4|8|6|m/int8|1|",
            "|class|total|f32|int8|",
            "|cat|5|100.00 %|80.00 %|",
            "|a,dog|3|66.67 %|66.67 %|",
            "|cat|4|1|",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected} in {text}");
        }
        let text = csv(&all, &classes).expect("text");
        for expected in [
            "f32,87.5,16,4,8,7,m/f32,",
            "int8,75,16,4,8,6,m/int8,1",
            "int8,cat,5,4,80",
            "int8,cat,\"a,dog\",1",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} in {text}");
        }
        assert_eq!(share(0, 0), 0.0);
    }
}
