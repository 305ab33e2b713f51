//! The queries that a cluster of any size answers as one DataFusion context does.
//!
//! `predictions` and `plain` are the same documents in a clustered and in a plain collection, `topic` holds the records
//! of a part of them in Kafka, `classes` and `producers` are Parquet files. Confidences are multiples of 1/128, so that
//! sums and averages are exact in any order; no query depends on an order that it does not ask for.

pub(super) const QUERIES: &[&str] = &[
    // Counting: a scan that returned rows twice, or not at all, shows here.
    "SELECT count(*) FROM predictions",
    "SELECT count(*) FROM plain",
    "SELECT count(*) FROM topic",
    "SELECT count(model), count(*), count(confidence) FROM predictions",
    "SELECT count(*) FROM predictions WHERE correct",
    "SELECT count(*) FROM predictions WHERE NOT correct",
    "SELECT count(*), count(correct), count(label) FROM predictions WHERE correct IS NULL OR label IS NULL",
    "SELECT count(*), count(label) FROM topic WHERE label IS NULL OR label <> predicted",
    "SELECT count(DISTINCT producer_id), count(DISTINCT label) FROM predictions",
    "SELECT count(DISTINCT _id) FROM plain",
    "SELECT count(*) FROM predictions WHERE label = 'nothing of the sort'",
    // The report, and what is like it.
    "SELECT producer_id, sum(CAST(NOT correct AS BIGINT)), count(*) FROM predictions GROUP BY producer_id",
    "SELECT producer_id, sum(CAST(NOT correct AS BIGINT)), count(*) FROM plain GROUP BY producer_id",
    "SELECT label, count(*), sum(CASE WHEN correct THEN 1 ELSE 0 END) FROM predictions GROUP BY label",
    "SELECT producer_id, label, count(*), sum(CAST(correct IS NOT TRUE AS BIGINT)), min(produced_at), max(inferred_at) \
     FROM predictions GROUP BY producer_id, label",
    "SELECT producer_id, label, count(*), count(correct), sum(CAST(correct IS FALSE AS BIGINT)) FROM predictions \
     GROUP BY producer_id, label",
    "SELECT label, predicted, count(*) FROM predictions GROUP BY label, predicted",
    "SELECT producer_id, avg(confidence), min(confidence), max(confidence) FROM predictions GROUP BY producer_id",
    "SELECT label, sum(confidence) FROM plain WHERE correct GROUP BY label",
    "SELECT model, count(*) FROM predictions GROUP BY model",
    "SELECT correct, count(*), sum(sequence), min(sequence), max(sequence) FROM predictions GROUP BY correct",
    "SELECT avg(sequence), sum(sequence * 2 + 1), min(-sequence) FROM predictions",
    "SELECT label, count(*) AS n FROM predictions GROUP BY label HAVING count(*) > 564",
    "SELECT min(_id), max(_id), min(label), max(producer_id) FROM predictions",
    "SELECT producer_id, count(*) FILTER (WHERE correct), count(*) FILTER (WHERE label = 'cat') FROM predictions \
     GROUP BY producer_id",
    "SELECT date_trunc('minute', produced_at) AS minute, count(*) FROM predictions GROUP BY minute",
    "SELECT sequence % 7 AS bucket, count(*), sum(sequence) FROM plain GROUP BY bucket",
    "SELECT label, producer_id, count(*) FROM predictions GROUP BY ROLLUP (label, producer_id)",
    // Filters.
    "SELECT _id FROM predictions WHERE sequence = 17",
    "SELECT _id, label FROM predictions WHERE sequence < 3 OR sequence >= 1498",
    "SELECT _id FROM plain WHERE label IN ('cat', 'dog') AND NOT correct AND sequence BETWEEN 100 AND 200",
    "SELECT count(*) FROM predictions WHERE label NOT IN ('cat', 'dog', 'ship')",
    "SELECT count(*) FROM predictions WHERE model IS NULL",
    "SELECT count(*) FROM predictions WHERE model IS NOT NULL AND confidence > 0.75",
    "SELECT count(*) FROM predictions WHERE label LIKE 'd%' AND predicted NOT LIKE 'd%'",
    "SELECT _id FROM predictions WHERE _id LIKE 'ab000001:10%'",
    "SELECT count(*) FROM predictions WHERE produced_at < TIMESTAMP '2026-01-01T00:00:30Z'",
    "SELECT count(*) FROM predictions WHERE inferred_at - produced_at > INTERVAL '300 milliseconds'",
    "SELECT count(*) FROM plain WHERE (label = 'cat') IS NOT DISTINCT FROM correct",
    "SELECT _id, label, predicted, correct, confidence, model, produced_at FROM predictions WHERE sequence % 500 = 3",
    // Order and limits.
    "SELECT _id, confidence FROM predictions ORDER BY confidence DESC, _id LIMIT 25",
    "SELECT _id FROM plain ORDER BY _id DESC LIMIT 10 OFFSET 5",
    "SELECT count(*) FROM (SELECT _id FROM predictions LIMIT 100) AS some",
    "SELECT DISTINCT label FROM predictions ORDER BY label",
    "SELECT label, count(*) AS n FROM predictions GROUP BY label ORDER BY n DESC, label LIMIT 3",
    // Unions and set operations.
    "SELECT count(*) FROM (SELECT _id FROM predictions UNION ALL SELECT _id FROM predictions) AS twice",
    "SELECT count(*) FROM (SELECT _id FROM predictions UNION ALL SELECT _id FROM plain UNION ALL SELECT _id FROM plain) \
     AS thrice",
    "SELECT producer_id, sum(n) FROM (SELECT producer_id, 1 AS n FROM predictions UNION ALL SELECT producer_id, 10 FROM \
     topic) AS both_sources GROUP BY producer_id",
    "SELECT label FROM predictions UNION SELECT label FROM classes",
    "SELECT label FROM classes EXCEPT SELECT label FROM predictions WHERE sequence < 4",
    "SELECT label FROM classes INTERSECT SELECT predicted FROM plain WHERE NOT correct",
    // Joins.
    "SELECT count(*) FROM predictions AS a JOIN plain AS b ON a._id = b._id",
    "SELECT count(*) FROM predictions AS a JOIN predictions AS b ON a.sequence = b.sequence AND a.label = b.label",
    "SELECT c.animal, count(*), sum(CAST(p.correct AS INT)) FROM predictions AS p JOIN classes AS c ON p.label = c.label \
     GROUP BY c.animal",
    "SELECT s.site, c.id, count(*) FROM plain AS p JOIN classes AS c ON p.label = c.label JOIN producers AS s ON \
     p.producer_id = s.producer_id GROUP BY s.site, c.id",
    "SELECT s.producer_id, s.site, count(p._id) FROM producers AS s LEFT JOIN predictions AS p ON p.producer_id = \
     s.producer_id GROUP BY s.producer_id, s.site",
    "SELECT count(*), sum(CAST(p.label = t.label AS INT)) FROM predictions AS p JOIN topic AS t ON p.producer_id = \
     t.producer_id AND p.sequence = t.sequence",
    "SELECT c.id, count(*), max(t.sequence) FROM topic AS t JOIN classes AS c ON t.label = c.label GROUP BY c.id",
    "SELECT count(*) FROM predictions AS p LEFT JOIN topic AS t ON p.producer_id = t.producer_id AND p.sequence = \
     t.sequence WHERE t.sequence IS NULL",
    "SELECT p.label, c.animal, s.site, count(*) FROM predictions AS p JOIN topic AS t ON p.producer_id = t.producer_id \
     AND p.sequence = t.sequence JOIN classes AS c ON c.label = t.predicted JOIN producers AS s ON s.producer_id = \
     p.producer_id GROUP BY p.label, c.animal, s.site",
    "SELECT count(*) FROM topic AS a FULL OUTER JOIN topic AS b ON a.producer_id = b.producer_id AND a.sequence = \
     b.sequence + 1",
    "SELECT count(*) FROM classes AS a CROSS JOIN producers AS b",
    // Subqueries.
    "SELECT _id FROM predictions WHERE confidence = (SELECT max(confidence) FROM predictions)",
    "SELECT count(*) FROM predictions WHERE label IN (SELECT label FROM classes WHERE animal)",
    "SELECT label FROM classes AS c WHERE NOT EXISTS (SELECT 1 FROM predictions AS p WHERE p.label = c.label AND \
     p.sequence < 2)",
    "SELECT p.label, count(*) FROM predictions AS p WHERE p.confidence > (SELECT avg(q.confidence) FROM plain AS q WHERE \
     q.label = p.label) GROUP BY p.label",
    "WITH wrong AS (SELECT producer_id, count(*) AS n FROM predictions WHERE NOT correct GROUP BY producer_id), every AS \
     (SELECT producer_id, count(*) AS n FROM predictions GROUP BY producer_id) SELECT e.producer_id, 100.0 * w.n / e.n \
     FROM wrong AS w JOIN every AS e ON w.producer_id = e.producer_id",
    // Windows, arrays, texts.
    "SELECT producer_id, sequence, row_number() OVER (PARTITION BY producer_id ORDER BY sequence) FROM predictions WHERE \
     sequence < 20",
    "SELECT label, n, rank() OVER (ORDER BY n DESC, label) FROM (SELECT label, count(*) AS n FROM plain GROUP BY label) \
     AS counted",
    "SELECT label, array_length(array_agg(sequence)) FROM predictions GROUP BY label",
    "SELECT producer_id, array_to_string(array_sort(array_agg(DISTINCT label)), ',') FROM predictions GROUP BY \
     producer_id",
    "SELECT upper(label), length(_id), split_part(_id, ':', 2) FROM predictions WHERE sequence < 4",
    "SELECT median(sequence), stddev_pop(sequence) > 0 FROM predictions",
    "SELECT bool_and(correct), bool_or(correct), bit_xor(sequence) FROM predictions",
];
