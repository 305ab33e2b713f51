//! How a collection is cut into partitions: the ways that a table may ask for, by the names that Spark's MongoDB
//! connector gives them.

use std::num::{NonZeroU32, NonZeroU64};

use crate::config::Partitioner;

/// The options of a table that choose its partitioner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionerOptions {
    /// `partitioner`: a name of ours or of Spark's connector.
    pub(crate) name: Option<String>,
    /// `samplesPerPartition`
    pub(crate) samples_per_partition: Option<NonZeroU32>,
    /// `partitionSizeMB`
    pub(crate) size_mb: Option<NonZeroU64>,
    /// `partitionCount`
    pub(crate) count: Option<NonZeroU32>,
    /// `bucketSample`
    pub(crate) bucket_sample: Option<NonZeroU64>,
}

impl PartitionerOptions {
    /// The partitioner; `None` where the options say nothing of it. An error says what is wrong with them.
    pub(crate) fn resolve(&self) -> Result<Option<Partitioner>, String> {
        let given = [
            ("samplesPerPartition", self.samples_per_partition.is_some()),
            ("partitionSizeMB", self.size_mb.is_some()),
            ("partitionCount", self.count.is_some()),
            ("bucketSample", self.bucket_sample.is_some()),
        ];
        let Some(name) = &self.name else {
            return match given.iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(format!("`{option}` is of no use without a partitioner")),
                None => Ok(None),
            };
        };
        let (partitioner, takes) = self.named(name)?;
        match given.iter().find(|(option, given)| *given && *option != takes) {
            Some((option, _)) => Err(format!("the partitioner `{name}` does not take `{option}`")),
            None => Ok(Some(partitioner)),
        }
    }

    /// The partitioner of a name, and the option that it takes.
    fn named(&self, name: &str) -> Result<(Partitioner, &'static str), String> {
        // Spark's names are class names.
        let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
        Ok(match last.strip_suffix("partitioner").unwrap_or(&last) {
            "auto" => (Partitioner::Auto, ""),
            "sample" => {
                let per_partition = self.samples_per_partition.unwrap_or(SPARK_SAMPLES);
                (Partitioner::Sample { per_partition }, "samplesPerPartition")
            }
            "bucketauto" | "autobucket" => {
                (Partitioner::BucketAuto { sample: self.bucket_sample }, "bucketSample")
            }
            "size" | "paginatebysize" => {
                (Partitioner::Size { megabytes: self.size_mb.unwrap_or(SPARK_MEGABYTES) }, "partitionSizeMB")
            }
            "count" | "paginateintopartitions" => {
                (Partitioner::Count { partitions: self.count.unwrap_or(SPARK_PARTITIONS) }, "partitionCount")
            }
            "sharded" => (Partitioner::Sharded, ""),
            "single" | "singlepartition" => (Partitioner::Single, ""),
            _ => {
                return Err(format!(
                    "there is no partitioner `{name}`; there are auto, sample, bucketAuto, size, count, sharded and single"
                ));
            }
        })
    }
}

/// The defaults of Spark's connector.
const SPARK_SAMPLES: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
const SPARK_MEGABYTES: NonZeroU64 = NonZeroU64::MIN.saturating_add(63);
const SPARK_PARTITIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_a_partitioner_and_what_it_takes() {
        let named = |name: &str| PartitionerOptions { name: Some(name.to_owned()), ..Default::default() };
        let five = NonZeroU32::MIN.saturating_add(4);
        for (options, expected) in [
            (PartitionerOptions::default(), Ok(None)),
            (named("Auto"), Ok(Some(Partitioner::Auto))),
            (
                named("com.mongodb.spark.sql.connector.read.partitioner.SamplePartitioner"),
                Ok(Some(Partitioner::Sample { per_partition: SPARK_SAMPLES })),
            ),
            (
                PartitionerOptions { count: Some(five), ..named("count") },
                Ok(Some(Partitioner::Count { partitions: five })),
            ),
            (named("PaginateBySizePartitioner"), Ok(Some(Partitioner::Size { megabytes: SPARK_MEGABYTES }))),
            (named("SinglePartitionPartitioner"), Ok(Some(Partitioner::Single))),
            (named("bucketAuto"), Ok(Some(Partitioner::BucketAuto { sample: None }))),
            (
                PartitionerOptions { count: Some(five), ..named("size") },
                Err("does not take `partitionCount`"),
            ),
            (PartitionerOptions { count: Some(five), ..Default::default() }, Err("without a partitioner")),
            (named("even"), Err("there is no partitioner `even`")),
        ] {
            match (options.resolve(), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{options:?}"),
                (Err(error), Err(told)) => assert!(error.contains(told), "{options:?}: {error}"),
                (found, _) => panic!("{options:?}: {found:?}"),
            }
        }
    }
}
