//! Sizes in bytes as people write them.
//!
//! `bytesize` reads `2g` as two thousand million bytes. Here a letter alone is a power of 1024, as in the memory options of the
//! JVM and of Spark.

/// Bytes, as `4GiB`, `512MB` or a plain number.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("{unit:?} is no unit: expected KiB, MiB, GiB, TiB, KB, MB, GB or TB")),
    };
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number * unit < 9e15 => Ok((number * unit) as usize),
        _ => Err("expected a size such as 4GiB".to_owned()),
    }
}

/// Bytes of the largest image that Kafka's client sends: it takes a record of 64 MiB, and 1 MiB is for what is beside the image.
const LARGEST_IMAGE: usize = 63 << 20;

/// Bytes of an image that is sent to Kafka.
pub(crate) fn image_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        bytes if bytes <= LARGEST_IMAGE => Ok(bytes),
        _ => Err(format!("an image in Kafka has {} MiB at most", LARGEST_IMAGE >> 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::{image_size, size};

    #[test]
    fn an_image_has_to_fit_into_a_record() {
        assert_eq!(image_size("16MiB"), Ok(16 << 20));
        assert_eq!(image_size("63MiB"), Ok(63 << 20));
        assert_eq!(image_size("64MiB"), Err("an image in Kafka has 63 MiB at most".to_owned()));
        assert!(image_size("4 apples").is_err());
    }

    #[test]
    fn a_size_has_a_unit_or_is_in_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("4GiB", 4 << 30),
            ("1.5 KiB", 1536),
            ("512mb", 512_000_000),
            ("2g", 2 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "4 apples", "-1", "1e3", "99999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
