//! Where results go.

use super::format::Out;
use anyhow::Context as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Standard output or a file, buffered.
pub(super) struct Output {
    writer: BufWriter<Target>,
    /// What is written to, for errors.
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

    /// A new file, or an emptied one.
    pub(super) fn file(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { writer: BufWriter::new(Target::File(file)), name: path.display().to_string() })
    }

    pub(super) fn writer(&mut self) -> Out<'_> {
        &mut self.writer
    }

    /// What went wrong, in words; none where the reader has gone away, which is not an error (`| head`).
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
