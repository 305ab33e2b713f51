//! How far a job on the engine is, on standard error: a bar by tasks on a terminal, one line elsewhere. A job that ends
//! soon shows nothing.

use firesteel_engine::{Progress, Watch};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::Duration;
use tokio::task::JoinHandle;

/// After this long a person is shown a bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// After this long a log gets its line.
const LINE_AFTER: Duration = Duration::from_secs(2);
/// How often the scheduler is asked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Shows a job until it is dropped.
pub(crate) struct TaskProgress {
    shown: JoinHandle<()>,
    bar: ProgressBar,
}

impl TaskProgress {
    /// `what`: a few words on what takes so long, such as `reading firesteel.predictions`.
    pub(crate) fn start(bars: &MultiProgress, watch: Watch, what: String) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { bars.add(ProgressBar::new(1)) } else { ProgressBar::hidden() };
        let drawn = bar.clone();
        let shown = tokio::spawn(async move {
            if terminal {
                tokio::time::sleep(PATIENCE).await;
                draw(&drawn, &watch, what).await;
            } else {
                tokio::time::sleep(LINE_AFTER).await;
                eprintln!("{what} …");
            }
        });
        Self { shown, bar }
    }
}

impl Drop for TaskProgress {
    fn drop(&mut self) {
        self.shown.abort();
        self.bar.finish_and_clear();
    }
}

async fn draw(bar: &ProgressBar, watch: &Watch, what: String) {
    let style = ProgressStyle::with_template("{spinner} {msg} [{bar:24}] {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    loop {
        // A scheduler that does not answer is for the query to complain about.
        if let Ok(Some(progress)) = watch.progress().await {
            bar.set_length(progress.tasks.max(1) as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(text(progress));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far a job is, in words.
pub(crate) fn text(progress: Progress) -> String {
    let Progress { stage, stages, done, tasks, running } = progress;
    format!("stage {stage}/{stages}: {done}/{tasks} tasks, {running} running")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_words() {
        let progress = Progress { stage: 1, stages: 2, done: 3, tasks: 8, running: 2 };
        assert_eq!(text(progress), "stage 1/2: 3/8 tasks, 2 running");
    }
}
