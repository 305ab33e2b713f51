//! The progress of a run on standard error: bars on a terminal, a line every two seconds elsewhere.

use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

/// How often the state of a run is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(200);
/// How often a plain line is printed.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// One stage of a run: how much it has to do and has done.
struct Stage {
    name: &'static str,
    total: u64,
    done: u64,
    bar: ProgressBar,
}

/// The stages of a run in order. The rate of the last one is that of the run.
pub(crate) struct Progress {
    stages: Vec<Stage>,
    unit: &'static str,
    bars: MultiProgress,
    terminal: bool,
    started: Instant,
    line: Option<Instant>,
}

impl Progress {
    /// Shows stages, each with its name and its number of images.
    pub(crate) fn new(bars: &MultiProgress, stages: &[(&'static str, u64)]) -> Self {
        Self::of("images", bars, stages)
    }

    /// Shows stages, each with its name and its number of `unit`.
    pub(crate) fn of(unit: &'static str, bars: &MultiProgress, stages: &[(&'static str, u64)]) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let template = "{prefix:>11} [{bar:32}] {human_pos:>9}/{human_len} {rate:>16}  ETA {eta}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let rate = move |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            // A bar that cannot be drawn does not end the run.
            let _ = write!(text, "{:.1} {unit}/s", state.per_sec());
        };
        let style = style.with_key("rate", rate).progress_chars("=> ");
        let stages = stages.iter().map(|&(name, total)| {
            let bar = if terminal { bars.add(ProgressBar::new(total)) } else { ProgressBar::hidden() };
            bar.set_style(style.clone());
            bar.set_prefix(name);
            Stage { name, total, done: 0, bar }
        });
        Self {
            stages: stages.collect(),
            unit,
            bars: bars.clone(),
            terminal,
            started: Instant::now(),
            line: None,
        }
    }

    /// Shows the counts that `done` returns while `work` runs, then removes the bars and prints the last line.
    pub(crate) async fn follow<T, const STAGES: usize>(
        mut self,
        work: impl Future<Output = T>,
        done: impl Fn() -> [u64; STAGES],
    ) -> T {
        let mut work = pin!(work);
        let mut ticks = tokio::time::interval(TICK);
        let ended = loop {
            tokio::select! {
                ended = &mut work => break ended,
                _ = ticks.tick() => self.update(&done()),
            }
        };
        self.update(&done());
        self.finish();
        ended
    }

    /// Shows the count of each stage, in the order of the constructor.
    pub(crate) fn update(&mut self, done: &[u64]) {
        let mut moved = false;
        for (stage, &done) in self.stages.iter_mut().zip(done) {
            let done = done.min(stage.total);
            if done != stage.done {
                stage.done = done;
                stage.bar.set_position(done);
                moved = true;
            }
        }
        let due = self.line.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        // `finish` prints the last line.
        let ended = self.stages.iter().all(|stage| stage.done == stage.total);
        if !self.terminal && moved && due && !ended {
            self.line = Some(Instant::now());
            eprintln!("{}", self.text());
        }
    }

    /// Removes the bars and prints the last counts in one line.
    pub(crate) fn finish(self) {
        let text = self.text();
        for stage in &self.stages {
            stage.bar.finish_and_clear();
        }
        // Bars are redrawn over other output, so the line is printed after they are gone.
        let _ = self.bars.clear();
        eprintln!("{text}");
    }

    fn text(&self) -> String {
        let stages = self.stages.iter().map(|stage| format!("{} {}/{}", stage.name, stage.done, stage.total));
        let seconds = self.started.elapsed().as_secs_f64();
        let tail = self
            .stages
            .last()
            .map_or_else(String::new, |last| pace(last.done, last.total, seconds, self.unit));
        format!("{}{tail}", stages.collect::<Vec<_>>().join("  "))
    }
}

/// The rate so far, and the time that the rest takes at that rate.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn pace(done: u64, total: u64, seconds: f64, unit: &str) -> String {
    if done == 0 || seconds <= 0.0 {
        return String::new();
    }
    let rate = done as f64 / seconds;
    if done >= total {
        return format!("  {rate:.1} {unit}/s  in {seconds:.1} s");
    }
    let left = (total - done) as f64 / rate;
    format!("  {rate:.1} {unit}/s  ETA {left:.0} s")
}

#[cfg(test)]
mod tests {
    use super::pace;

    #[test]
    fn a_pace_is_said_once_there_is_one() {
        assert_eq!(pace(0, 10, 1.0, "images"), "");
        assert_eq!(pace(5, 10, 2.0, "images"), "  2.5 images/s  ETA 2 s");
        assert_eq!(pace(10, 10, 4.0, "documents"), "  2.5 documents/s  in 4.0 s");
    }
}
