//! The effect of each statement, and the errors of statements that this engine does not support.

use firesteel_engine::{Error, Outcome};

use crate::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn files_are_tables() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    std::fs::write(fixture.path("a.csv"), "id,name\n1,one\n2,two\n3,three\n")?;
    std::fs::write(fixture.path("b.json"), "{\"id\": 1, \"size\": 10}\n{\"id\": 3, \"size\": 30}\n")?;
    let (csv, json) = (fixture.path("a.csv"), fixture.path("b.json"));
    let made = fixture
        .done(&format!(
            "CREATE EXTERNAL TABLE a STORED AS CSV LOCATION '{}' OPTIONS ('has_header' 'true')",
            csv.display()
        ))
        .await?;
    assert_eq!(made, "CREATE EXTERNAL TABLE");
    fixture
        .done(&format!(
            "CREATE EXTERNAL TABLE b (id BIGINT, size BIGINT) STORED AS JSON LOCATION '{}'",
            json.display()
        ))
        .await?;

    // A task on an executor writes the file, which is read back as a table.
    let parquet = fixture.path("joined/");
    let copied = fixture
        .rows(&format!(
            "COPY (SELECT name, size FROM a JOIN b ON a.id = b.id) TO '{}' STORED AS PARQUET",
            parquet.display()
        ))
        .await?;
    assert_eq!(copied, ["2"]);
    fixture
        .done(&format!("CREATE EXTERNAL TABLE c STORED AS PARQUET LOCATION '{}'", parquet.display()))
        .await?;
    assert_eq!(fixture.rows("SELECT * FROM c").await?, ["one|10", "three|30"]);

    // More rows can be inserted into a folder.
    assert_eq!(fixture.rows("INSERT INTO c VALUES ('four', 40), ('five', 50)").await?, ["2"]);
    assert_eq!(fixture.rows("SELECT count(*), sum(size) FROM c").await?, ["4|130"]);
    fixture.session.shutdown().await;
    Ok(())
}

/// PostgreSQL's syntax; DataFusion's planner accepts only the subscript.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_is_taken_behind_parentheses() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    let made = "named_struct('a', n, 'b', named_struct('C', s))";
    let source = format!("(SELECT {made} AS x FROM (VALUES (1, 'one'), (2, 'two')) AS t(n, s)) AS u");
    let sql = format!(
        "SELECT (x).a, (u.x).b['C'], ({made}).b.\"C\" FROM (VALUES (3, 'three')) AS t(n, s), {source}"
    );
    assert_eq!(fixture.rows(&sql).await?, ["1|one|three", "2|two|three"]);
    fixture
        .done(&format!("CREATE VIEW v AS SELECT (x).a AS a FROM {source} WHERE (x).b['C'] = 'two'"))
        .await?;
    assert_eq!(fixture.rows("SELECT a FROM v").await?, ["2"]);
    fixture.done(&format!("CACHE TABLE c AS SELECT (x).a AS a FROM {source}")).await?;
    assert_eq!(fixture.rows("SELECT sum(a) FROM c").await?, ["3"]);
    let error = fixture.fails(&format!("SELECT (x).nope FROM {source}")).await?.to_string();
    assert!(error.contains("nope"), "{error}");
    fixture.session.shutdown().await;
    Ok(())
}

/// Tools send such queries to learn the columns. The plan is sent to the scheduler with its columns.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_can_have_no_rows_keeps_its_columns() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    fixture.done("CREATE VIEW v AS SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t(n, s)").await?;
    let rows = fixture.session.sql("SELECT * FROM v WHERE 1 = 0").await?.collect().await?;
    let names: Vec<&str> = rows.schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!((names, rows.len()), (vec!["n", "s"], 0));
    assert_eq!(fixture.rows("SELECT count(s), count(*) FROM v WHERE false").await?, ["0|0"]);
    assert_eq!(fixture.rows("SELECT s, count(*) FROM v WHERE 1 = 2 GROUP BY s").await?, [""; 0]);
    let union = "SELECT n FROM v WHERE n > 1 UNION ALL SELECT n FROM v WHERE false";
    assert_eq!(fixture.rows(union).await?, ["2"]);
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_belongs_to_the_session() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    assert!(
        fixture.rows("SHOW TABLES").await?.iter().any(|row| row.contains("public|predictions|BASE TABLE"))
    );
    assert_eq!(
        fixture.done("CREATE VIEW v AS SELECT column1 AS n FROM (VALUES (1), (2), (3))").await?,
        "CREATE VIEW"
    );
    assert_eq!(fixture.rows("SELECT sum(n) FROM v").await?, ["6"]);
    assert_eq!(fixture.rows("DESCRIBE v").await?, ["n|Int64|false"]);
    assert!(fixture.rows("DESCRIBE predictions").await?.contains(&"correct|Boolean|true".to_owned()));
    assert_eq!(fixture.rows("SHOW COLUMNS FROM v").await?.len(), 1);
    assert!(!fixture.rows("SHOW FUNCTIONS LIKE 'sqrt'").await?.is_empty());
    assert_eq!(fixture.done("DROP VIEW v").await?, "DROP VIEW");
    assert!(matches!(fixture.fails("SELECT * FROM v").await?, Error::Query(_)));
    fixture.done("DROP VIEW IF EXISTS v").await?;

    assert_eq!(fixture.done("SET datafusion.execution.target_partitions = 2").await?, "SET");
    assert_eq!(
        fixture.rows("SHOW datafusion.execution.target_partitions").await?,
        ["datafusion.execution.target_partitions|2"]
    );
    fixture.done("RESET datafusion.execution.target_partitions").await?;
    fixture.done("PREPARE p(BIGINT) AS SELECT $1 + 1").await?;
    assert_eq!(fixture.rows("EXECUTE p(41)").await?, ["42"]);
    fixture.done("DEALLOCATE p").await?;

    assert_eq!(
        fixture.done("CREATE TABLE t AS SELECT 1 AS a UNION ALL SELECT 2").await?,
        "CREATE TABLE: 2 rows"
    );
    assert_eq!(fixture.rows("SELECT a FROM t").await?, ["1", "2"]);
    assert!(matches!(fixture.fails("CREATE TABLE t AS SELECT 3 AS a").await?, Error::TableExists { .. }));
    fixture.done("CREATE TABLE IF NOT EXISTS t AS SELECT 3 AS a").await?;
    assert_eq!(
        fixture.done("CREATE OR REPLACE TABLE t AS SELECT a + 10 AS b FROM t").await?,
        "CREATE TABLE: 2 rows"
    );
    assert_eq!(fixture.rows("SELECT b FROM t").await?, ["11", "12"]);
    assert_eq!(fixture.done("DROP TABLE t").await?, "DROP TABLE");
    assert!(matches!(fixture.fails("SELECT * FROM t").await?, Error::Query(_)));
    assert_eq!(
        fixture.cached_files(),
        Vec::<std::path::PathBuf>::new(),
        "a table that is dropped leaves no files"
    );

    // `Session::sql` takes statements too.
    assert!(fixture.session.sql("CREATE VIEW w AS SELECT 1 AS one").await?.collect().await?.is_empty());
    assert_eq!(fixture.rows("SELECT one FROM w").await?, ["1"]);
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsupported_statement_is_an_error() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    for sql in [
        "CREATE TABLE t (a INT)",
        "COMMIT",
        "CREATE FUNCTION f(BIGINT) RETURNS BIGINT RETURN $1 + 1",
        "CREATE INDEX i ON predictions (label)",
    ] {
        let error = fixture.fails(sql).await?;
        assert!(matches!(error, Error::UnsupportedStatement { .. }), "{sql}: {error}");
    }
    let missing = fixture.path("no/such.parquet");
    let missing = format!("CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{}'", missing.display());
    for sql in ["SELECT 1; SELECT 2", "DROP TABLE no_such_table", &missing] {
        assert!(matches!(fixture.fails(sql).await?, Error::Query(_)), "{sql}");
    }
    // A missing file is an error when it is read.
    let error = fixture.fails("CREATE EXTERNAL TABLE x STORED AS NO_SUCH_FORMAT LOCATION 'x'").await?;
    assert!(error.to_string().contains("NO_SUCH_FORMAT"), "{error}");
    assert!(matches!(fixture.session.execute("SELECT 1").await?, Outcome::Rows(_)));
    fixture.session.shutdown().await;
    Ok(())
}
