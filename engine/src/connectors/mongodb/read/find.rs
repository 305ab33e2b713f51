//! Builds the `find` command of one partition: a pure function of the scan and the range.
//!
//! Comparison operators of a filter match only values of the same BSON type, so a filter cannot express a range over
//! ids of several types. `min` and `max` can: they bound the walk over the `_id` index in index order, which is total
//! over all types. Two corners, both found on a real server:
//!
//! * on a plain collection an absent `max` means "before MaxKey", which leaves out a document whose `_id` *is* MaxKey.
//!   The last range therefore says `$expr: {$gte: …}`, which also compares across types and uses the index;
//! * on a clustered collection `$expr` does not bound the walk, while an absent `max` does include MaxKey.
//!
//! A filter on `_id` itself never meets a range, see `constrains_id` in `plan::filter`.
//!
//! A scan over a range of records starts behind a record by the server's own means of resuming a scan, `$_resumeAfter`. Each
//! of its batches carries a token that says which record it ends with.

use bson::{Document, Timestamp, doc};

use super::partition::{IdRange, RECORD, RecordIdRange, ScanPartition};

/// Everything of a `find` command but its range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Find<'a> {
    pub(crate) collection: &'a str,
    pub(crate) columns: Vec<&'a str>,
    /// Whether all fields are sent, and not just those of the columns.
    pub(crate) whole_documents: bool,
    pub(crate) filter: Option<&'a Document>,
    pub(crate) cluster_time: Option<Timestamp>,
    pub(crate) limit: Option<u64>,
    pub(crate) batch_rows: usize,
    pub(crate) clustered: bool,
}

impl Find<'_> {
    /// The command that reads `partition`. A range of records is read beyond its last one: where to end follows from the
    /// tokens in the answers.
    pub(crate) fn command(&self, partition: &ScanPartition) -> Document {
        match partition {
            ScanPartition::Ids(range) => self.by_id(range),
            ScanPartition::Records(records) => self.by_record(*records),
        }
    }

    /// The command that names the records behind `after`, at most `most` of them, for the filter of this scan.
    pub(crate) fn records(&self, after: Option<i64>, most: usize) -> Document {
        let mut find = self.by_record(RecordIdRange { after, through: None });
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        find.insert("projection", doc! { "_id": 1 });
        find.insert("showRecordId", true);
        find.insert("batchSize", most);
        find.insert("limit", most);
        find.insert("singleBatch", true);
        find
    }

    fn by_record(&self, records: RecordIdRange) -> Document {
        let mut find = self.by_id(&IdRange::full());
        find.insert("hint", doc! { "$natural": 1 });
        find.insert("$_requestResumeToken", true);
        if let Some(after) = records.after {
            find.insert("$_resumeAfter", doc! { RECORD: after });
        }
        find
    }

    fn by_id(&self, range: &IdRange) -> Document {
        let mut find = doc! {
            "find": self.collection,
            "batchSize": i64::try_from(self.batch_rows).unwrap_or(i64::MAX),
        };
        if !self.whole_documents {
            find.insert("projection", projection(&self.columns));
        }
        let mut filters: Vec<Document> = self.filter.cloned().into_iter().collect();
        match (&range.lower, &range.upper) {
            (None, None) => {}
            (Some(lower), None) if !self.clustered => {
                let id = lower.get("_id").cloned().unwrap_or(bson::Bson::Null);
                filters.push(doc! { "$expr": { "$gte": ["$_id", { "$literal": id }] } });
            }
            (lower, upper) => {
                for (name, bound) in [("min", lower), ("max", upper)] {
                    if let Some(bound) = bound {
                        find.insert(name, bound.clone());
                    }
                }
            }
        }
        if range.lower.is_some() || range.upper.is_some() {
            find.insert("hint", doc! { "_id": 1 });
        }
        match filters.len() {
            0 => {}
            1 => {
                find.insert("filter", filters.swap_remove(0));
            }
            _ => {
                find.insert("filter", doc! { "$and": filters });
            }
        }
        if self.filter.is_some() {
            // Strings compare by their bytes, as in Arrow, whatever the collection's own collation is.
            find.insert("collation", doc! { "locale": "simple" });
        }
        // 0 would mean no limit.
        if let Some(limit) = self.limit.filter(|limit| *limit > 0) {
            find.insert("limit", i64::try_from(limit).unwrap_or(i64::MAX));
        }
        if let Some(time) = self.cluster_time {
            find.insert("readConcern", doc! { "level": "snapshot", "atClusterTime": time });
        }
        find
    }
}

/// The columns, and always `_id`: an error names the document that it is about.
fn projection(columns: &[&str]) -> Document {
    let mut projection = doc! { "_id": 1 };
    projection.extend(columns.iter().map(|name| ((*name).to_owned(), bson::Bson::Int32(1))));
    projection
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(clustered: bool) -> Find<'static> {
        Find {
            collection: "predictions",
            columns: vec!["label"],
            whole_documents: false,
            filter: None,
            cluster_time: None,
            limit: None,
            batch_rows: 10,
            clustered,
        }
    }

    fn id(value: &str) -> Option<Document> {
        Some(doc! { "_id": value })
    }

    #[test]
    fn ranges_walk_the_id_index() {
        let inner = IdRange { lower: id("a"), upper: id("b") };
        for clustered in [false, true] {
            let command = find(clustered).command(&ScanPartition::Ids(inner.clone()));
            assert_eq!(command.get_document("min").unwrap(), &doc! { "_id": "a" });
            assert_eq!(command.get_document("max").unwrap(), &doc! { "_id": "b" });
            assert_eq!(command.get_document("hint").unwrap(), &doc! { "_id": 1 });
        }
        let full = find(false).command(&ScanPartition::full());
        assert_eq!(
            full,
            doc! { "find": "predictions", "batchSize": 10_i64, "projection": { "_id": 1, "label": 1 } }
        );
        let whole = Find { whole_documents: true, ..find(false) }.command(&ScanPartition::full());
        assert!(!whole.contains_key("projection"), "{whole}");
    }

    #[test]
    fn the_last_range_of_a_plain_collection_includes_max_key() {
        let last = IdRange { lower: id("a"), upper: None };
        let plain = find(false).command(&ScanPartition::Ids(last.clone()));
        assert!(!plain.contains_key("min"), "{plain}");
        let expected = doc! { "$expr": { "$gte": ["$_id", { "$literal": "a" }] } };
        assert_eq!(plain.get_document("filter").unwrap(), &expected);
        let clustered = find(true).command(&ScanPartition::Ids(last.clone()));
        assert_eq!(clustered.get_document("min").unwrap(), &doc! { "_id": "a" });
        assert!(!clustered.contains_key("filter") && !clustered.contains_key("max"), "{clustered}");
    }

    #[test]
    fn records_are_walked_in_the_order_of_storage() {
        let time = Timestamp { time: 3, increment: 4 };
        let filter = doc! { "label": "cat" };
        let find = Find { filter: Some(&filter), cluster_time: Some(time), ..find(false) };
        let command =
            find.command(&ScanPartition::Records(RecordIdRange { after: Some(7), through: Some(9) }));
        assert_eq!(command.get_document("hint").unwrap(), &doc! { "$natural": 1 });
        assert_eq!(command.get_document("$_resumeAfter").unwrap(), &doc! { "$recordId": 7_i64 });
        assert!(command.get_bool("$_requestResumeToken").unwrap());
        assert_eq!(command.get_document("filter").unwrap(), &filter);
        let first = find.command(&ScanPartition::Records(RecordIdRange { after: None, through: Some(9) }));
        assert!(!first.contains_key("$_resumeAfter"), "{first}");
        let records = find.records(Some(7), 5);
        assert!(records.get_bool("showRecordId").unwrap());
        assert_eq!((records.get_i64("limit").unwrap(), records.get_i64("batchSize").unwrap()), (5, 5));
        assert_eq!(records.get_document("filter").unwrap(), &filter);
        assert!(records.contains_key("readConcern"));
    }

    #[test]
    fn filter_limit_and_snapshot_are_in_the_command() {
        let filter = doc! { "label": "cat" };
        let time = Timestamp { time: 3, increment: 4 };
        let find = Find { filter: Some(&filter), cluster_time: Some(time), limit: Some(5), ..find(false) };
        let command = find.command(&ScanPartition::Ids(IdRange { lower: id("a"), upper: None }));
        let and = command.get_document("filter").unwrap().get_array("$and").unwrap();
        assert_eq!((and.len(), and[0].as_document()), (2, Some(&filter)));
        assert_eq!(command.get_i64("limit").unwrap(), 5);
        assert_eq!(
            command.get_document("readConcern").unwrap(),
            &doc! { "level": "snapshot", "atClusterTime": time }
        );
        assert_eq!(command.get_document("collation").unwrap(), &doc! { "locale": "simple" });
    }
}
