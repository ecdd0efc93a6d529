//! Where a chunk of pictures goes on. Pure.

use std::collections::HashSet;

/// The first segment before `end` that not every rendition has; `None` when there is none, as only a chunk with an end
/// can tell before its source ends.
#[must_use]
pub fn next_segment(first: u64, end: Option<u64>, names: &[String], have: &HashSet<(String, u64)>) -> Option<u64> {
    let is_whole = |index: u64| names.iter().all(|n| have.contains(&(n.clone(), index)));
    (first..end.unwrap_or(u64::MAX)).find(|index| !is_whole(*index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_at_the_first_segment_that_a_rendition_lacks() {
        let names = ["a".to_owned(), "b".to_owned()];
        let have = |pairs: &[(&str, u64)]| pairs.iter().map(|(n, i)| ((*n).to_owned(), *i)).collect::<HashSet<_>>();
        let some = have(&[("a", 4), ("b", 4), ("a", 5), ("b", 6), ("a", 6)]);
        assert_eq!(next_segment(4, Some(7), &names, &some), Some(5));
        assert_eq!(next_segment(4, None, &names, &some), Some(5));
        assert_eq!(next_segment(4, Some(5), &names, &some), None);
        assert_eq!(next_segment(0, Some(5), &names, &some), Some(0));
        assert_eq!(next_segment(3, Some(3), &names, &have(&[])), None);
    }
}
