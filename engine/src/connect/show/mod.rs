//! Rows as text: what `show()` prints, to the byte, and the text of a value.

pub(super) mod number;

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, TimestampMicrosecondType,
};
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;

use super::error::Result;
use super::output;

/// The narrowest column.
const NARROWEST: usize = 3;

/// The text of a value.
pub(super) fn value_text(value: &ScalarValue, zone: &str) -> Result<String> {
    let array = output::delivered_column(&value.to_array()?, zone)?;
    cell(&array, 0)
}

/// The text of a value in a column of delivered types.
fn cell(array: &ArrayRef, row: usize) -> Result<String> {
    if array.is_null(row) || matches!(array.data_type(), DataType::Null) {
        return Ok("NULL".to_owned());
    }
    Ok(match array.data_type() {
        DataType::Float64 => number::double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => number::float(array.as_primitive::<Float32Type>().value(row)),
        DataType::Date32 => number::date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Timestamp(_, zone) => timestamp(array, row, zone.as_deref())?,
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().value(row);
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("[{}]", digits.join(" "))
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|item| cell(&items, item)).collect::<Result<Vec<_>>>()?;
            format!("[{}]", items.join(", "))
        }
        DataType::Struct(_) => {
            let fields = array.as_struct().columns().iter();
            let fields = fields.map(|field| cell(field, row)).collect::<Result<Vec<_>>>()?;
            format!("{{{}}}", fields.join(", "))
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let pairs = (0..entries.len())
                .map(|entry| Ok(format!("{} -> {}", cell(keys, entry)?, cell(values, entry)?)));
            format!("{{{}}}", pairs.collect::<Result<Vec<_>>>()?.join(", "))
        }
        _ => array_value_to_string(array, row)?,
    })
}

/// Without the zeros at the end of the fraction, and on the clocks of the session.
fn timestamp(array: &ArrayRef, row: usize, zone: Option<&str>) -> Result<String> {
    let typed = array.as_primitive::<TimestampMicrosecondType>();
    let local = match zone {
        Some(zone) => zone
            .parse()
            .ok()
            .and_then(|zone| typed.value_as_datetime_with_tz(row, zone))
            .map(|time| time.naive_local()),
        None => typed.value_as_datetime(row),
    };
    Ok(match local {
        Some(time) => {
            let text = time.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        None => array_value_to_string(array, row)?,
    })
}

/// What is shown of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The most rows.
    pub(super) rows: usize,
    /// The most characters of a value; 0: all.
    pub(super) truncate: usize,
    /// One line a value.
    pub(super) vertical: bool,
}

/// The text of a table. `batches` have delivered types, and one row more than is shown where there are more.
pub(super) fn table(names: &[String], batches: &[RecordBatch], layout: Layout) -> Result<String> {
    let (rows, more) = cells(batches, layout)?;
    let mut text = match layout.vertical {
        true => vertical(names, &rows),
        false => horizontal(names, &rows, layout.truncate > 0),
    };
    if layout.vertical && rows.is_empty() {
        text.push_str("(0 rows)\n");
    } else if more {
        let rows = rows.len();
        let _ = writeln!(text, "only showing top {rows} {}", if rows == 1 { "row" } else { "rows" });
    }
    Ok(text)
}

/// The text of a table in HTML.
pub(super) fn html(names: &[String], batches: &[RecordBatch], layout: Layout) -> Result<String> {
    let (rows, more) = cells(batches, layout)?;
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let line = |tag: &str, cells: &[String]| {
        let cells: Vec<String> =
            cells.iter().map(|text| format!("<{tag}>{}</{tag}>", escape(text))).collect();
        format!("<tr>{}</tr>\n", cells.concat())
    };
    let mut text = "<table border='1'>\n".to_owned();
    text.push_str(&line("th", names));
    for row in &rows {
        text.push_str(&line("td", row));
    }
    text.push_str("</table>\n");
    if more {
        let rows = rows.len();
        let _ = writeln!(text, "only showing top {rows} {}", if rows == 1 { "row" } else { "rows" });
    }
    Ok(text)
}

/// The texts of the rows that are shown, and whether there are more.
fn cells(batches: &[RecordBatch], layout: Layout) -> Result<(Vec<Vec<String>>, bool)> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            if rows.len() == layout.rows {
                return Ok((rows, true));
            }
            let texts = batch.columns().iter().map(|column| {
                let text = cell(column, row)?;
                Ok(shortened(&escaped(&text), layout.truncate))
            });
            rows.push(texts.collect::<Result<Vec<_>>>()?);
        }
    }
    Ok((rows, false))
}

/// Marks what would break a line.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\u{8}' => out.push_str("\\b"),
            '\u{7}' => out.push_str("\\a"),
            letter => out.push(letter),
        }
    }
    out
}

fn shortened(text: &str, most: usize) -> String {
    if most == 0 || text.chars().count() <= most {
        return text.to_owned();
    }
    if most < 4 {
        return text.chars().take(most).collect();
    }
    let start: String = text.chars().take(most - 3).collect();
    format!("{start}...")
}

/// How wide a text is: letters of East Asia count twice.
fn width(text: &str) -> usize {
    let wide = |letter: &char| {
        matches!(u32::from(*letter), 0x1100..=0x115F | 0x2E80..=0x303E | 0x3041..=0xA4CF | 0xAC00..=0xD7A3
            | 0xF900..=0xFAFF | 0xFE30..=0xFE4F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6)
    };
    text.chars().count() + text.chars().filter(wide).count()
}

fn horizontal(names: &[String], rows: &[Vec<String>], right: bool) -> String {
    let names: Vec<String> = names.iter().map(|name| escaped(name)).collect();
    let mut widths = vec![NARROWEST; names.len()];
    for line in std::iter::once(&names).chain(rows) {
        for (widest, text) in widths.iter_mut().zip(line) {
            *widest = (*widest).max(width(text));
        }
    }
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let rule = format!("+{}+\n", rule.join("+"));
    let line = |texts: &[String]| {
        let mut line = "|".to_owned();
        for (widest, text) in widths.iter().zip(texts) {
            let blanks = " ".repeat(widest - width(text));
            if right {
                line.push_str(&blanks);
                line.push_str(text);
            } else {
                line.push_str(text);
                line.push_str(&blanks);
            }
            line.push('|');
        }
        line.push('\n');
        line
    };
    let mut out = rule.clone();
    out.push_str(&line(&names));
    out.push_str(&rule);
    for row in rows {
        out.push_str(&line(row));
    }
    out.push_str(&rule);
    out
}

fn vertical(names: &[String], rows: &[Vec<String>]) -> String {
    let of_names = names.iter().map(|name| width(name)).max().unwrap_or(0).max(NARROWEST);
    let of_values = rows.iter().flatten().map(|text| width(text)).max().unwrap_or(0).max(NARROWEST);
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let title = format!("-RECORD {index}");
        let _ = writeln!(out, "{title:-<width$}", width = of_names + of_values + 5);
        for (name, value) in names.iter().zip(row) {
            let name_gap = " ".repeat(of_names - width(name));
            let value_gap = " ".repeat(of_values - width(value));
            let _ = writeln!(out, " {name}{name_gap} | {value}{value_gap} ");
        }
    }
    out
}

/// The one column that a client reads a text out of.
pub(super) fn batch(name: &str, text: String) -> Result<RecordBatch> {
    let column: ArrayRef = std::sync::Arc::new(arrow::array::StringArray::from(vec![text]));
    Ok(RecordBatch::try_from_iter([(name, cast(&column, &DataType::Utf8)?)])?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int32Array, StringArray};

    use super::*;

    fn rows() -> (Vec<String>, Vec<RecordBatch>) {
        let columns: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(Int32Array::from(vec![Some(1), None]))),
            ("name", Arc::new(StringArray::from(vec!["a text that is longer than twenty", "日本"]))),
            ("rate", Arc::new(Float64Array::from(vec![12.5, 1e10]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        (vec!["id".to_owned(), "name".to_owned(), "rate".to_owned()], vec![batch])
    }

    #[test]
    fn a_table_is_spark_s_to_the_byte() {
        let (names, batches) = rows();
        let text = table(&names, &batches, Layout { rows: 20, truncate: 20, vertical: false }).unwrap();
        let expected = "\
            +----+--------------------+------+\n\
            |  id|                name|  rate|\n\
            +----+--------------------+------+\n\
            |   1|a text that is lo...|  12.5|\n\
            |NULL|                日本|1.0E10|\n\
            +----+--------------------+------+\n";
        assert_eq!(text, expected);
        let one = table(&names, &batches, Layout { rows: 1, truncate: 0, vertical: false }).unwrap();
        assert!(one.ends_with("only showing top 1 row\n"), "{one}");
        assert!(one.contains("|1  |a text that is longer than twenty|12.5|\n"), "{one}");
    }

    #[test]
    fn a_record_has_a_line_a_value() {
        let (names, batches) = rows();
        let text = table(&names, &batches, Layout { rows: 20, truncate: 5, vertical: true }).unwrap();
        assert!(text.starts_with("-RECORD 0----"), "{text}");
        assert!(text.contains(" id   | 1     \n"), "{text}");
        let none = table(&names, &[], Layout { rows: 20, truncate: 5, vertical: true }).unwrap();
        assert_eq!(none, "(0 rows)\n");
    }
}
