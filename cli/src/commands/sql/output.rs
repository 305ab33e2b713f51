//! The destination of results: standard output or a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context as _;

use super::format::Out;

/// Standard output or a file, buffered.
pub(super) struct Output {
    writer: BufWriter<Target>,
    /// The name of the destination, for errors.
    name: String,
}

enum Target {
    Stdout(io::Stdout),
    File(File),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self { writer: BufWriter::new(Target::Stdout(io::stdout())), name: "standard output".to_owned() }
    }

    /// Creates the file, or empties it.
    pub(super) fn file(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { writer: BufWriter::new(Target::File(file)), name: path.display().to_string() })
    }

    pub(super) fn writer(&mut self) -> Out<'_> {
        &mut self.writer
    }

    /// The error to report. None where the reader has gone away (`| head`), which is not an error.
    pub(super) fn failure(&self, error: io::Error) -> Option<anyhow::Error> {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return None;
        }
        Some(anyhow::Error::new(error).context(format!("cannot write to {}", self.name)))
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
