//! The arguments that say which images are sent, and how a data set is read.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use firesteel_pipeline::dataset::{Dataset, LabelsFrom, Options};

use super::size::image_size;

/// Which images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data set")]
pub(crate) struct DatasetArgs {
    /// Images of your own: a Parquet file, a folder (a subfolder is a class), or a pattern such as 'photos/**/*.jpg' of images or of
    /// Parquet files. JPEG, PNG and WebP are told by their first bytes; other files are counted and not sent. The order is that of
    /// names [default: the CIFAR-10 test set, 10,000 images, inside this binary]
    #[arg(long, value_name = "PATH")]
    pub(crate) dataset: Option<PathBuf>,
    /// The column of images of a Parquet file: bytes, or a structure with a field `bytes` [default: told from types and names]
    #[arg(long, value_name = "NAME", requires = "dataset")]
    image_column: Option<String>,
    /// The column of labels of a Parquet file: text, or numbers of classes [default: told from types and names]
    #[arg(long, value_name = "NAME", requires = "dataset")]
    label_column: Option<String>,
    /// The names of the classes 0, 1, … in a column of numbers, with commas in between [default: those of Hugging Face's metadata]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "dataset")]
    classes: Vec<String>,
    /// Where labels come from
    #[arg(long, value_name = "WHERE", value_enum, default_value = "usual", requires = "dataset")]
    label_from: LabelFrom,
    /// The most bytes of an image, up to 63MiB. A topic that is created takes as much; one that exists has a limit of its own,
    /// max.message.bytes
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = image_size)]
    pub(crate) max_image_size: usize,
    /// Pass over images that cannot be read or are too large, and count them. Else the first one ends the run. A file that is found
    /// to be so when the data set is opened is left out of it and told, and has no number; one that is found later keeps its number
    /// free
    #[arg(long)]
    pub(crate) skip_unreadable: bool,
}

/// Where labels come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LabelFrom {
    /// A column of a Parquet file; the first subfolder of a folder; nowhere for a pattern
    Usual,
    /// The folder that a file lies in
    Parent,
    /// Nowhere: the images are unlabelled
    None,
}

impl DatasetArgs {
    /// The options of the data set.
    pub(crate) fn options(&self) -> Options {
        Options {
            path: self.dataset.clone(),
            image_column: self.image_column.clone(),
            label_column: self.label_column.clone(),
            classes: self.classes.clone(),
            labels: match self.label_from {
                LabelFrom::Usual => LabelsFrom::Usual,
                LabelFrom::Parent => LabelsFrom::Parent,
                LabelFrom::None => LabelsFrom::Nowhere,
            },
            max_image_bytes: self.max_image_size,
            skip_unreadable: self.skip_unreadable,
        }
    }
}

/// Tells what of a data set is left out.
pub(crate) fn tell_notes(dataset: &Dataset) {
    for note in dataset.notes() {
        eprintln!("{note}");
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn the_defaults_are_the_librarys_and_options_need_a_data_set() {
        let program = DatasetArgs::augment_args(Command::new("role").no_binary_name(true));
        let parsed = |arguments: &[&str]| program.clone().try_get_matches_from(arguments);
        let args =
            DatasetArgs::from_arg_matches(&parsed(&[]).expect("usage is right")).expect("usage is right");
        assert_eq!(args.options(), Options::default());
        assert!(parsed(&["--classes", "a,b"]).is_err());
        let arguments = ["--dataset", "x", "--classes", "a,b", "--label-from", "none"];
        let args = DatasetArgs::from_arg_matches(&parsed(&arguments).expect("usage is right"))
            .expect("usage is right");
        let options = args.options();
        assert_eq!(
            (options.classes, options.labels),
            (vec!["a".to_owned(), "b".to_owned()], LabelsFrom::Nowhere)
        );
    }
}
