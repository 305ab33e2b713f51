//! The progress of a job of the engine on standard error: a bar over its tasks on a terminal, one line elsewhere. A short job
//! shows nothing.

use std::io::IsTerminal as _;
use std::time::Duration;

use firesteel_engine::{Progress, Watch};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

/// How long a job runs before a terminal shows its bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a job runs before a line about it is printed elsewhere.
const LINE_AFTER: Duration = Duration::from_secs(2);
/// How often the scheduler is asked for the progress.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The progress of one job, shown until this is dropped.
pub(crate) struct TaskProgress {
    shown: JoinHandle<()>,
    bar: ProgressBar,
}

impl TaskProgress {
    /// Starts to watch. `what` describes the job in a few words, such as `reading firesteel.predictions`.
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
        // Where the scheduler does not answer, the query itself fails with the reason.
        if let Ok(Some(progress)) = watch.progress().await {
            bar.set_length(progress.tasks.max(1) as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(text(progress));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The progress of a job as text.
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
