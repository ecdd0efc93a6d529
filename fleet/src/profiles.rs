//! The ladders that come with Touchline; their files lie in `worker/profiles`.

use crate::ladder::{Ladder, LadderError, MAX_FILE_BYTES};

const FILES: [(&str, &str); 5] = [
    ("sports", include_str!("../../worker/profiles/sports.yaml")),
    ("sports60", include_str!("../../worker/profiles/sports60.yaml")),
    ("uhd", include_str!("../../worker/profiles/uhd.yaml")),
    ("quick", include_str!("../../worker/profiles/quick.yaml")),
    ("archive", include_str!("../../worker/profiles/archive.yaml")),
];

/// Name of the ladder used when none is asked for.
pub const DEFAULT: &str = "sports";

/// All shipped ladders, the default first.
///
/// # Panics
/// Never: a test reads them all.
#[must_use]
pub fn all() -> Vec<Ladder> {
    FILES
        .iter()
        .map(|(name, text)| Ladder::from_yaml(name, text).expect("the shipped ladders are valid, as a test proves"))
        .collect()
}

/// A ladder by the name of a shipped one, or from a YAML file.
///
/// # Errors
/// [`LadderError`] naming what is wrong, or that neither a shipped ladder nor a file has this name.
pub fn load(name_or_path: &str) -> Result<Ladder, LadderError> {
    if let Some((name, text)) = FILES.iter().find(|(name, _)| *name == name_or_path) {
        return Ladder::from_yaml(name, text);
    }
    let problem = |detail: String| LadderError::Syntax { name: name_or_path.to_owned(), detail };
    let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
    let hint = format!("give one of {} or the path of a YAML file", names.join(", "));
    let metadata = std::fs::metadata(name_or_path).map_err(|e| problem(format!("{e}; {hint}")))?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES as u64 {
        return Err(problem(format!("not a file of at most {MAX_FILE_BYTES} bytes; {hint}")));
    }
    let text = std::fs::read_to_string(name_or_path).map_err(|e| problem(e.to_string()))?;
    Ladder::from_yaml(name_or_path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_ladders_are_valid_and_carry_their_own_name() {
        let ladders = all();
        assert_eq!(ladders[0].name, DEFAULT);
        for (ladder, (name, _)) in ladders.iter().zip(FILES) {
            assert_eq!(ladder.name, name);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        assert!(load("no-such").unwrap_err().to_string().contains("sports60"));
    }
}
