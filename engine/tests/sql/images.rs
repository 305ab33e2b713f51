//! Folders of images as tables: which files are rows, which are opened, and what becomes of those that cannot be read.

use std::fs;
use std::path::Path;

use firesteel_engine::{Config, ConfigField, Error, FileAccess, Outcome};
use firesteel_testkit::InProcessCluster;

use crate::Fixture;

/// A folder of two classes, and of what is no image.
fn fill(folder: &Path) {
    for sub in ["cat/young", "dog", ".hidden", "not-a-file.jpg"] {
        fs::create_dir_all(folder.join(sub)).unwrap();
    }
    for (name, bytes) in [
        ("top.webp", 1),
        ("cat/a.jpg", 10),
        ("cat/b.JPEG", 20),
        ("cat/young/c.png", 30),
        ("dog/d é.jpg", 40),
        ("dog/notes.txt", 50),
        ("dog/.e.jpg", 60),
        (".hidden/f.jpg", 70),
    ] {
        fs::write(folder.join(name), vec![b'x'; bytes]).unwrap();
    }
}

fn create(table: &str, folder: &Path, options: &str) -> String {
    let options = if options.is_empty() { String::new() } else { format!("OPTIONS ({options})") };
    format!("CREATE EXTERNAL TABLE {table} STORED AS IMAGES LOCATION '{}/' {options}", folder.display())
}

/// An engine, and a table `photos` over its folder `photos`.
async fn photos(options: &str) -> anyhow::Result<(Fixture, std::path::PathBuf)> {
    let fixture = Fixture::alone().await?;
    let folder = fixture.path("photos");
    fs::create_dir(&folder)?;
    fill(&folder);
    fixture.done(&create("photos", &folder, options)).await?;
    Ok((fixture, folder))
}

async fn plan(fixture: &Fixture, sql: &str) -> anyhow::Result<String> {
    Ok(fixture.session.sql(sql).await?.explain().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_image_of_a_folder_is_a_row() -> anyhow::Result<()> {
    let (fixture, folder) = photos("").await?;
    let rows = fixture.rows("SELECT path, label, size, length(encode(image, 'hex')) / 2 FROM photos").await?;
    let at = |name: &str| folder.join(name).display().to_string();
    assert_eq!(
        rows,
        [
            format!("{}|cat|10|10", at("cat/a.jpg")),
            format!("{}|cat|20|20", at("cat/b.JPEG")),
            format!("{}|cat|30|30", at("cat/young/c.png")),
            format!("{}|dog|40|40", at("dog/d é.jpg")),
            format!("{}||1|1", at("top.webp")),
        ]
    );
    let groups = fixture.rows("SELECT label, count(*), sum(size) FROM photos GROUP BY label").await?;
    assert_eq!(groups, ["cat|3|60", "dog|1|40", "|1|1"]);
    let now = fixture.rows("SELECT count(*) FROM photos WHERE modified > now() - interval '1 hour'").await?;
    assert_eq!(now, ["5"]);
    let columns = fixture.rows("DESCRIBE photos").await?;
    assert_eq!(columns.len(), 5);
    // What comes later is seen by the next query.
    fs::write(folder.join("dog/new.png"), "new")?;
    assert_eq!(fixture.rows("SELECT count(*) FROM photos").await?, ["6"]);
    let refused = fixture.fails("INSERT INTO photos SELECT * FROM photos").await?;
    assert!(refused.to_string().contains("INSERT INTO a folder of images"), "{refused}");
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn options_say_which_files_and_whether_folders_are_labels() -> anyhow::Result<()> {
    let (fixture, folder) = photos("").await?;
    for (table, options, expected) in [
        ("flat", "recursive 'false'", vec!["top.webp|"]),
        ("jpegs", "pattern '*.jpg'", vec!["cat/a.jpg|cat", "dog/d é.jpg|dog"]),
        ("cats", "pattern 'cat/*'", vec!["cat/a.jpg|cat", "cat/b.JPEG|cat"]),
        ("deep", "pattern '**/young/*', labels 'false'", vec!["cat/young/c.png|"]),
    ] {
        fixture.done(&create(table, &folder, options)).await?;
        let rows = fixture.rows(&format!("SELECT path, label FROM {table}")).await?;
        let expected: Vec<String> =
            expected.iter().map(|row| format!("{}/{row}", folder.display())).collect();
        assert_eq!(rows, expected, "{options}");
    }
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_limits_leave_files_out_before_they_are_opened() -> anyhow::Result<()> {
    let (fixture, _) = photos("").await?;
    for (condition, files) in [
        ("label = 'cat'", 3),
        ("label = 'cat' AND size >= 20", 2),
        ("path LIKE '%.jpg' OR label IS NULL", 3),
        ("modified < TIMESTAMP '2000-01-01'", 0),
        ("upper(label) IN ('DOG', 'COW')", 1),
    ] {
        let sql = format!("SELECT image FROM photos WHERE {condition}");
        let plan = plan(&fixture, &sql).await?;
        assert!(
            plan.contains(&format!("files={files}")) && !plan.contains("FilterExec"),
            "{condition}: {plan}"
        );
        let rows = fixture.rows(&format!("SELECT count(image) FROM photos WHERE {condition}")).await?;
        assert_eq!(rows, [files.to_string()], "{condition}");
    }
    let above = plan(&fixture, "SELECT path FROM photos WHERE image IS NOT NULL AND label = 'cat'").await?;
    assert!(above.contains("files=3") && above.contains("FilterExec"), "{above}");
    let some = plan(&fixture, "SELECT image FROM photos WHERE label = 'cat' LIMIT 2").await?;
    assert!(some.contains("files=2"), "{some}");
    assert_eq!(fixture.rows("SELECT label FROM photos WHERE label = 'cat' LIMIT 2").await?, ["cat", "cat"]);
    // Nothing is opened, and so nothing is spread.
    let none = plan(&fixture, "SELECT label, count(*) FROM photos GROUP BY label").await?;
    assert!(none.contains("partitions=1") && !none.contains("bytes="), "{none}");
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_too_large_fails_the_query_or_is_a_row_without_image() -> anyhow::Result<()> {
    let (fixture, folder) = photos("maxBytes '20'").await?;
    let error = fixture.fails("SELECT path, image FROM photos WHERE label = 'dog'").await?;
    assert!(
        matches!(&error, Error::Location { location, .. } if location.ends_with("dog/d é.jpg")),
        "{error}"
    );
    let told = error.to_string();
    assert!(told.contains("maxBytes allows 20") && told.contains("PERMISSIVE"), "{told}");
    // Nobody asks for its bytes here.
    assert_eq!(fixture.rows("SELECT count(*) FROM photos").await?, ["5"]);
    assert_eq!(fixture.rows("SELECT count(image) FROM photos WHERE size <= 20").await?, ["3"]);

    fixture.done(&create("lenient", &folder, "maxBytes '20', mode 'PERMISSIVE'")).await?;
    let rows = fixture.rows("SELECT size, image IS NULL, _error FROM lenient WHERE label = 'dog'").await?;
    assert_eq!(rows, ["40|true|it has 40 bytes, and the table option maxBytes allows 20"]);
    assert_eq!(fixture.rows("SELECT count(*), count(image), count(_error) FROM lenient").await?, ["5|3|2"]);
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_folder_is_named_and_an_empty_one_has_no_rows() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    let empty = fixture.path("empty");
    fs::create_dir(&empty)?;
    fixture.done(&create("empty", &empty, "")).await?;
    assert_eq!(fixture.rows("SELECT path, image FROM empty").await?, [""; 0]);
    assert_eq!(fixture.rows("SELECT count(*) FROM empty").await?, ["0"]);

    fs::write(fixture.path("file.jpg"), "x")?;
    for (table, name, told) in [("absent", "absent", "No such file"), ("file", "file.jpg", "it is a file")] {
        // A client need not have the folder, so that it is not there is seen by who reads it.
        fixture.done(&create(table, &fixture.path(name), "")).await?;
        let error = fixture.fails(&format!("SELECT * FROM {table}")).await?;
        assert!(matches!(&error, Error::Location { location, .. } if location.ends_with(name)), "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    for (statement, told) in [
        ("STORED AS IMAGES LOCATION '/tmp' OPTIONS (patern '*.jpg')", "did you mean `pattern`?"),
        ("(path TEXT) STORED AS IMAGES LOCATION '/tmp'", "not declared"),
        ("STORED AS IMAGES LOCATION 's3://me:hunter2@bucket/'", "no password"),
    ] {
        let error = fixture.fails(&format!("CREATE EXTERNAL TABLE refused {statement}")).await?.to_string();
        assert!(error.contains(told) && !error.contains("hunter2"), "{error}");
    }
    fixture.session.shutdown().await;
    Ok(())
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_no_image_and_is_not_waited_for() -> anyhow::Result<()> {
    let (fixture, folder) = photos("recursive 'false'").await?;
    let made = std::process::Command::new("mkfifo").arg(folder.join("pipe.jpg")).status()?;
    assert!(made.success());
    fixture.done(&create("every", &folder, "")).await?;
    assert_eq!(fixture.rows("SELECT count(image) FROM photos").await?, ["1"]);
    assert_eq!(fixture.rows("SELECT count(image) FROM every").await?, ["5"]);
    // The store opens none for anybody else, either.
    let csv = format!(
        "CREATE EXTERNAL TABLE pipe (l VARCHAR) STORED AS CSV LOCATION '{}/pipe.jpg'",
        folder.display()
    );
    let opened = async {
        match fixture.session.execute(&csv).await {
            Err(error) => Err(error),
            Ok(_) => fixture.session.sql("SELECT * FROM pipe").await?.collect().await,
        }
    };
    tokio::time::timeout(firesteel_testkit::SOON, opened).await.expect("it does not wait").ok();
    fixture.session.shutdown().await;
    Ok(())
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_text_is_an_error_that_says_where() -> anyhow::Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let (fixture, folder) = photos("").await?;
    fs::write(folder.join("dog").join(OsStr::from_bytes(b"\xff.jpg")), "x")?;
    let error = fixture.fails("SELECT path FROM photos").await?;
    assert!(matches!(&error, Error::Location { location, .. } if location.ends_with("photos")), "{error}");
    assert!(error.to_string().to_lowercase().contains("unicode"), "{error}");
    fixture.session.shutdown().await;
    Ok(())
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn no_folder_and_no_link_leads_out_of_what_is_allowed() -> anyhow::Result<()> {
    use std::os::unix::fs::symlink;

    let (fixture, folder) = photos("").await?;
    let outside = tempfile::tempdir()?;
    fill(outside.path());
    fixture.done(&create("outside", outside.path(), "")).await?;
    fixture.done(&create("absent", &outside.path().join("absent"), "")).await?;
    for table in ["outside", "absent"] {
        let error = fixture.fails(&format!("SELECT count(*) FROM {table}")).await?;
        let refused = matches!(&error, Error::FileRefused { setting: ConfigField::FilesRead, .. });
        assert!(refused, "{table}: {error}");
    }
    symlink(folder.join("cat/a.jpg"), folder.join("dog/same.jpg"))?;
    assert_eq!(fixture.rows("SELECT count(image) FROM photos WHERE label = 'dog'").await?, ["2"]);
    symlink(outside.path().join("cat/a.jpg"), folder.join("dog/way.jpg"))?;
    let error = fixture.fails("SELECT count(*) FROM photos").await?;
    assert!(matches!(&error, Error::FileRefused { .. }), "{error}");
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_reads_each_file_once() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for number in 0..200_u32 {
        let class = folder.path().join(["cat", "dog"][number as usize % 2]);
        fs::create_dir_all(&class)?;
        fs::write(class.join(format!("{number}.jpg")), vec![0; number as usize * 100])?;
    }
    let config = Config { files: FileAccess::below([folder.path()]), ..Config::default() };
    let cluster = InProcessCluster::start(config, 2).await?;
    let made = cluster.session.execute(&create("photos", folder.path(), "")).await?;
    assert!(matches!(made, Outcome::Done(_)));
    let sql = "SELECT label, count(*), CAST(sum(length(encode(image, 'hex'))) / 2 AS BIGINT), sum(size) \
               FROM photos GROUP BY label ORDER BY label";
    let rows = cluster.session.sql(sql).await?.collect_as::<(String, i64, i64, i64)>().await?;
    let bytes = |first: i64| (0..100).map(|number| (2 * number + first) * 100).sum::<i64>();
    assert_eq!(
        rows,
        [("cat".to_owned(), 100, bytes(0), bytes(0)), ("dog".to_owned(), 100, bytes(1), bytes(1))]
    );
    // Two scans of one table meet.
    let sql = "SELECT count(*) FROM photos a JOIN photos b ON a.path = b.path WHERE a.size < 1000";
    assert_eq!(cluster.session.sql(sql).await?.collect_as::<(i64,)>().await?, [(10,)]);
    let read = async || {
        let bytes = cluster.scanned("bytes", "images").await.unwrap_or_default();
        // Of whole numbers the sum is exact. No other query opens a file.
        bytes.iter().sum::<f64>().to_bits() == 1_990_000_f64.to_bits()
    };
    firesteel_testkit::wait_until("bytes are counted", firesteel_testkit::SOON, read).await;
    cluster.stop().await
}
