//! A fault point at work.

use std::future::pending;
use std::pin::Pin;

use super::rules::{Action, Gate, Rules};
use super::{Injected, Site};
use crate::keys;

/// A call with its fault point; boxed, as compilers have limits on how deep futures nest.
type Passing<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// Makes a call of the outside, or what the rules of this process put in its place.
pub(crate) fn at<'a, T, E>(site: Site<'a>, call: impl Future<Output = Result<T, E>> + Send + 'a) -> Passing<'a, T, E>
where
    T: Send + 'a,
    E: From<Injected> + Send + 'a,
{
    Box::pin(pass(site, Box::pin(call)))
}

async fn pass<T, E: From<Injected>>(site: Site<'_>, call: Passing<'_, T, E>) -> Result<T, E> {
    let Some((action, site)) = struck(site) else { return call.await };
    match action {
        Action::Fail => Err(Injected { site }.into()),
        Action::Lost => {
            call.await?;
            Err(Injected { site }.into())
        }
        Action::Slow(by) => {
            tokio::time::sleep(by).await;
            call.await
        }
        Action::Hang => pending().await,
        Action::Hold(gate) => {
            gate.arrive();
            while !gate.is_open() {
                tokio::time::sleep(Gate::LOOKS).await;
            }
            call.await
        }
        // No destructor runs, as when the machine is gone.
        Action::Crash => std::process::abort(),
        Action::CrashAfter => {
            drop(call.await);
            std::process::abort()
        }
    }
}

/// Makes a call of the outside that blocks, under a name such as `files.write`.
///
/// # Errors
/// Those of the call, and what the rules of this process ask for.
pub fn blocking<T, E: From<Injected>>(name: &'static str, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let Some((action, site)) = struck(Site::Named(name)) else { return call() };
    match action {
        Action::Fail => Err(Injected { site }.into()),
        Action::Lost => {
            call()?;
            Err(Injected { site }.into())
        }
        Action::Slow(by) => {
            std::thread::sleep(by);
            call()
        }
        Action::Hang => loop {
            std::thread::park();
        },
        Action::Hold(gate) => {
            gate.arrive();
            while !gate.is_open() {
                std::thread::sleep(Gate::LOOKS);
            }
            call()
        }
        Action::Crash => std::process::abort(),
        Action::CrashAfter => {
            drop(call());
            std::process::abort()
        }
    }
}

/// What is to take the place of a call, and the call's name, if anything is.
fn struck(site: Site<'_>) -> Option<(Action, String)> {
    let rules = Rules::of_this_process()?;
    let name = site.name();
    let action = rules.pass(&name)?;
    tracing::warn!(?action, site = name, "a fault was asked for");
    Some((action, name))
}

impl Site<'_> {
    /// `objects.put segment`, `store/work.rs:183`, `engine.send`.
    fn name(self) -> String {
        match self {
            Self::Named(name) => name.to_owned(),
            Self::Object(method, key) => format!("objects.{method} {}", kind(key)),
            Self::Statement(place, what) => {
                let file = place.file();
                let file = file.rsplit_once("src/").map_or(file, |(_, file)| file);
                format!("{file}:{}{what}", place.line())
            }
        }
    }
}

/// Which of the things that we keep a key names.
fn kind(key: &str) -> &'static str {
    let file = key.rsplit('/').next().unwrap_or_default();
    let by_start = [("seg_", "segment"), ("init_", "init"), ("pic_", "picture")];
    if let Some((_, kind)) = by_start.iter().find(|(start, _)| file.starts_with(start)) {
        return kind;
    }
    if keys::is_download(key) {
        return "download";
    }
    let names = ["index.m3u8", "iframe.m3u8", keys::WATCH, keys::MASTER, "report.json", "thumbnails.vtt", "poster.jpg"];
    names.iter().find(|name| **name == file).copied().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_have_names_that_say_what_is_called_and_where() {
        let put = |file: &str| Site::Object("put", &format!("o/j/{file}")).name();
        let id = uuid::Uuid::nil();
        for (file, kind) in [
            (format!("v720/{}", keys::segment(1, 1)), "segment"),
            (format!("v720/{}", keys::init(b"x")), "init"),
            (format!("storyboard/{}", keys::picture(1, 1)), "picture"),
            (keys::download(id, id, 1), "download"),
            ("v720/iframe.m3u8".to_owned(), "iframe.m3u8"),
            (keys::MASTER.to_owned(), "master.m3u8"),
            ("final.mp4".to_owned(), ""),
        ] {
            assert_eq!(put(&file), format!("objects.put {kind}"));
        }
        let here = std::panic::Location::caller();
        assert_eq!(Site::Statement(here, " commit").name(), format!("fault/point.rs:{} commit", here.line()));
    }
}
