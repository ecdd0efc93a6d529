//! Attribute lists of tags, RFC 8216 section 4.2.

/// The attributes of one tag, in order, borrowed from its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttributeList<'a>(Vec<(&'a str, &'a str)>);

impl<'a> AttributeList<'a> {
    /// Reads `NAME=value,NAME="quoted value"`. Values lose their quotes. `None` when the text is no such list.
    pub(super) fn parse(mut text: &'a str) -> Option<Self> {
        let mut attributes = Vec::new();
        loop {
            // Some packagers put a space after the comma.
            text = text.trim_start();
            if text.is_empty() {
                return Some(Self(attributes));
            }
            let (name, rest) = text.split_once('=')?;
            if name.is_empty()
                || !name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-')
            {
                return None;
            }
            let value;
            (value, text) = match rest.strip_prefix('"') {
                Some(quoted) => {
                    let (value, rest) = quoted.split_once('"')?;
                    let rest = rest.trim_start();
                    (value, if rest.is_empty() { rest } else { rest.strip_prefix(',')? })
                }
                None => {
                    let (value, rest) = rest.split_once(',').unwrap_or((rest, ""));
                    (value.trim_end(), rest)
                }
            };
            attributes.push((name, value));
        }
    }

    /// The value of `name`, without quotes.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(found, _)| *found == name).map(|&(_, value)| value)
    }

    /// As [`get`](Self::get), owned.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_may_hold_commas_and_equal_signs() {
        let list = AttributeList::parse("BANDWIDTH=1, CODECS=\"avc1,mp4a\",URI=\"a?b=c\",X-Y=z").unwrap();
        for (name, value) in [
            ("BANDWIDTH", Some("1")),
            ("CODECS", Some("avc1,mp4a")),
            ("URI", Some("a?b=c")),
            ("X-Y", Some("z")),
            ("Z", None),
        ] {
            assert_eq!(list.get(name), value);
        }
    }

    #[test]
    fn text_that_is_no_list_is_refused() {
        for text in ["A", "=1", "a=1", "A=\"1", "A=\"1\"B=2", "A=1,,B=2"] {
            assert_eq!(AttributeList::parse(text), None, "{text}");
        }
    }
}
