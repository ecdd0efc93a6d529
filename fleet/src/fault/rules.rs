//! Which faults strike a process. `TOUCHLINE_FAULTS` holds rules, with `;` between them: `SITE=ACTION`.
//!
//! - SITE is a program and the name of a call, `worker objects.put segment`, with `*` for any text. `SITE#3` means the third
//!   time that a process passes it, `SITE@7/20000` so many of a million times, drawn by the number before the `/`: the nth
//!   passing of a site has the same fate in every run with that number.
//! - ACTION: `fail` (without effect), `lost` (it has its effect, the answer is an error), `slow:MS`, `hang` (for ever),
//!   `crash` and `crash-after` (this process dies before the call, or after it had its effect), `hold:FILE` (until the number
//!   in the file is that of the passing or more; what waits writes its own into `FILE.waits`).
//!
//! With `TOUCHLINE_FAULTS_DIR` a rule strikes each site once, whichever process passes it first; `seen` in that folder has a
//! file for each site that was passed, `struck` for each that was struck.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Variable with the rules.
const RULES: &str = "TOUCHLINE_FAULTS";
/// Variable with the folder.
const DIR: &str = "TOUCHLINE_FAULTS_DIR";

/// What takes the place of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Fail,
    Lost,
    Slow(Duration),
    Hang,
    Hold(Gate),
    Crash,
    CrashAfter,
}

/// A file that says how often a site may be passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    file: PathBuf,
    passing: u64,
}

impl Gate {
    /// How often one looks at the file.
    pub(super) const LOOKS: Duration = Duration::from_millis(20);

    /// Tells whoever opens it that somebody is here.
    pub(super) fn arrive(&self) {
        let mut waits = self.file.clone().into_os_string();
        waits.push(".waits");
        // Somebody who is not told waits for longer, which shows.
        drop(std::fs::write(waits, self.passing.to_string()));
    }

    pub(super) fn is_open(&self) -> bool {
        let number = std::fs::read_to_string(&self.file).ok().and_then(|text| text.trim().parse::<u64>().ok());
        number.is_some_and(|number| number >= self.passing)
    }
}

/// When a rule strikes a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Nth(u64),
    Drawn { seed: u64, of_a_million: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    site: String,
    when: When,
    action: Action,
}

/// The rules of a process, and what it passed so far.
#[derive(Debug)]
pub(super) struct Rules {
    program: String,
    rules: Vec<Rule>,
    dir: Option<PathBuf>,
    passed: Mutex<HashMap<String, u64>>,
}

impl Rules {
    /// Those of the environment; `None` when it has none.
    pub(super) fn of_this_process() -> Option<&'static Self> {
        static RULES_HERE: OnceLock<Option<Rules>> = OnceLock::new();
        RULES_HERE
            .get_or_init(|| {
                let dir = std::env::var_os(DIR).map(PathBuf::from);
                let text = std::env::var(RULES).ok();
                if dir.is_none() && text.is_none() {
                    return None;
                }
                let program = std::env::current_exe().ok()?.file_stem()?.to_string_lossy().into_owned();
                let rules = Self::new(program, &text.unwrap_or_default(), dir);
                Some(rules.unwrap_or_else(|problem| panic!("{RULES}: {problem}")))
            })
            .as_ref()
    }

    fn new(program: String, text: &str, dir: Option<PathBuf>) -> Result<Self, String> {
        let rules = text.split(';').map(str::trim).filter(|rule| !rule.is_empty()).map(Rule::parse);
        let rules = rules.collect::<Result<_, _>>()?;
        for folder in dir.iter().flat_map(|dir| [dir.join("seen"), dir.join("struck")]) {
            std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        Ok(Self { program, rules, dir, passed: Mutex::default() })
    }

    /// A call passes its point: what is to take its place, if anything is.
    pub(super) fn pass(&self, site: &str) -> Option<Action> {
        let site = format!("{} {site}", self.program);
        let time = {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            let count = passed.entry(site.clone()).or_default();
            *count += 1;
            *count
        };
        if let Some(dir) = self.dir.as_deref().filter(|_| time == 1) {
            enter(&dir.join("seen"), &site);
        }
        let mut action = self.rules.iter().find(|rule| rule.strikes(&site, time))?.action.clone();
        if let Action::Hold(gate) = &mut action {
            gate.passing = time;
        }
        let is_first = self.dir.as_deref().is_none_or(|dir| enter(&dir.join("struck"), &site));
        is_first.then_some(action)
    }
}

/// Makes a file for a site; `false` when it was there.
fn enter(folder: &Path, site: &str) -> bool {
    std::fs::File::create_new(folder.join(site.replace('/', "%"))).is_ok()
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let problem = || format!("{text:?} is not SITE[#N|@SEED/MILLIONTHS]=ACTION");
        let (place, action) = text.rsplit_once('=').ok_or_else(problem)?;
        let (site, when) = if let Some((site, nth)) = place.rsplit_once('#') {
            (site, When::Nth(nth.parse().map_err(|_| problem())?))
        } else if let Some((site, drawn)) = place.rsplit_once('@') {
            let (seed, part) = drawn.split_once('/').ok_or_else(problem)?;
            let seed = seed.parse().map_err(|_| problem())?;
            (site, When::Drawn { seed, of_a_million: part.parse().map_err(|_| problem())? })
        } else {
            (place, When::Always)
        };
        let action = match action.split_once(':').unwrap_or((action, "")) {
            ("fail", "") => Action::Fail,
            ("lost", "") => Action::Lost,
            ("slow", ms) => Action::Slow(Duration::from_millis(ms.parse().map_err(|_| problem())?)),
            ("hang", "") => Action::Hang,
            ("hold", file) if !file.is_empty() => Action::Hold(Gate { file: PathBuf::from(file), passing: 0 }),
            ("crash", "") => Action::Crash,
            ("crash-after", "") => Action::CrashAfter,
            _ => return Err(problem()),
        };
        Ok(Self { site: site.to_owned(), when, action })
    }

    fn strikes(&self, site: &str, time: u64) -> bool {
        fits(&self.site, site)
            && match self.when {
                When::Always => true,
                When::Nth(nth) => nth == time,
                When::Drawn { seed, of_a_million } => {
                    let place = site.bytes().fold(seed, |hash, byte| hash.rotate_left(7) ^ u64::from(byte));
                    let mut random = fastrand::Rng::with_seed(place.wrapping_add(time.wrapping_mul(0x9e37_79b9)));
                    random.u32(0..1_000_000) < of_a_million
                }
            }
    }
}

/// Whether a text is of a pattern in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| fits(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Rules {
        Rules::new("worker".to_owned(), text, None).unwrap()
    }

    #[test]
    fn a_rule_strikes_the_call_that_it_names_the_time_that_it_names() {
        let rules = rules("worker objects.put*#3=fail; * engine.send=slow:20");
        let put = || rules.pass("objects.put segment");
        assert_eq!([put(), put(), put(), put()], [None, None, Some(Action::Fail), None]);
        assert_eq!(rules.pass("engine.send"), Some(Action::Slow(Duration::from_millis(20))));
        assert_eq!(rules.pass("engine.next"), None);
        assert_eq!(self::rules("dispatcher *=hang").pass("engine.send"), None);
    }

    #[test]
    fn a_drawn_fate_is_that_of_the_seed() {
        let fates = |seed: u64| {
            let rules = rules(&format!("*@{seed}/250000=lost"));
            (0..400).map(|_| rules.pass("queue.send").is_some()).collect::<Vec<_>>()
        };
        let struck = fates(7).iter().filter(|struck| **struck).count();
        assert!((60..140).contains(&struck), "{struck} of 400");
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
    }

    #[test]
    fn processes_that_share_a_folder_strike_each_site_once() {
        let dir = tempfile::tempdir().unwrap();
        let process = || Rules::new("worker".to_owned(), "*=crash", Some(dir.path().to_owned())).unwrap();
        assert_eq!(process().pass("store/work.rs:12"), Some(Action::Crash));
        assert_eq!(process().pass("store/work.rs:12"), None);
        assert_eq!(process().pass("queue.send"), Some(Action::Crash));
        let names = |folder: &str| std::fs::read_dir(dir.path().join(folder)).unwrap().count();
        assert_eq!((names("seen"), names("struck")), (2, 2));
    }

    #[test]
    fn a_gate_lets_through_as_many_as_its_file_says() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gate");
        let rules = rules(&format!("worker engine.send=hold:{}", file.display()));
        let arrive = || {
            let Some(Action::Hold(gate)) = rules.pass("engine.send") else { panic!("it is held") };
            gate.arrive();
            gate
        };
        let first = arrive();
        assert!(!first.is_open());
        std::fs::write(&file, "1\n").unwrap();
        assert!(first.is_open());
        let second = arrive();
        assert_eq!(
            (second.is_open(), std::fs::read_to_string(dir.path().join("gate.waits")).unwrap()),
            (false, "2".into())
        );
        std::fs::write(&file, "9").unwrap();
        assert!(second.is_open());
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["x", "x=explode", "x#y=fail", "x@1=fail", "x=slow", "x=fail:1", "x=hold"] {
            assert!(Rules::new(String::new(), text, None).is_err(), "{text}");
        }
    }
}
