//! A TOML table that is read key by key; what nobody asked for is a problem, as is what has the wrong shape.

use std::ops::RangeInclusive;

use toml::{Table, Value};

use crate::pools::PurchaseOption;

/// Reads one table.
pub(super) struct Reader<'a, 'p> {
    title: String,
    table: &'a Table,
    asked: Vec<&'static str>,
    problems: &'p mut Vec<String>,
}

impl<'a, 'p> Reader<'a, 'p> {
    pub(super) fn new(title: String, table: &'a Table, problems: &'p mut Vec<String>) -> Self {
        Self { title, table, asked: Vec::new(), problems }
    }

    /// Notes a problem of this table.
    pub(super) fn problem(&mut self, text: &str) {
        let title = &self.title;
        self.problems.push(if title.is_empty() { text.to_owned() } else { format!("{title}: {text}") });
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.table.get(key)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        match value.as_str().filter(|t| !t.trim().is_empty()) {
            Some(text) => Some(text.to_owned()),
            None => {
                self.problem(&format!("{key} is a text that is not empty"));
                None
            }
        }
    }

    pub(super) fn required_text(&mut self, key: &'static str) -> Option<String> {
        if !self.has(key) {
            self.problem(&format!("{key} is missing"));
        }
        self.text(key)
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let texts = value.as_array().and_then(|a| a.iter().map(|v| v.as_str().map(str::to_owned)).collect());
        texts.unwrap_or_else(|| {
            self.problem(&format!("{key} is a list of texts"));
            Vec::new()
        })
    }

    pub(super) fn number(&mut self, key: &'static str, bounds: RangeInclusive<f64>) -> Option<f64> {
        let value = self.value(key)?;
        let number = value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
        match number.filter(|n| bounds.contains(n)) {
            Some(number) => Some(number),
            None => {
                self.problem(&format!("{key} is a number from {} to {}", bounds.start(), bounds.end()));
                None
            }
        }
    }

    pub(super) fn whole(&mut self, key: &'static str, bounds: RangeInclusive<u32>) -> Option<u32> {
        let value = self.value(key)?;
        match value.as_integer().and_then(|n| u32::try_from(n).ok()).filter(|n| bounds.contains(n)) {
            Some(number) => Some(number),
            None => {
                self.problem(&format!("{key} is a whole number from {} to {}", bounds.start(), bounds.end()));
                None
            }
        }
    }

    pub(super) fn required_whole(&mut self, key: &'static str, bounds: RangeInclusive<u32>) -> Option<u32> {
        if !self.has(key) {
            self.problem(&format!("{key} is missing"));
        }
        self.whole(key, bounds)
    }

    pub(super) fn option(&mut self, key: &'static str) -> Option<PurchaseOption> {
        let text = self.required_text(key)?;
        let option = PurchaseOption::ALL.into_iter().find(|o| o.as_str() == text);
        if option.is_none() {
            self.problem(&format!("{key} is \"spot\" or \"on_demand\", not {text:?}"));
        }
        option
    }

    pub(super) fn table(&mut self, key: &'static str) -> Option<&'a Table> {
        let value = self.value(key)?;
        let table = value.as_table();
        if table.is_none() {
            self.problem(&format!("{key} is a table"));
        }
        table
    }

    pub(super) fn tables(&mut self, key: &'static str) -> Vec<&'a Table> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let tables = value.as_array().and_then(|a| a.iter().map(Value::as_table).collect());
        tables.unwrap_or_else(|| {
            self.problem(&format!("{key} is a list of tables"));
            Vec::new()
        })
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(mut self) {
        let unknown: Vec<&String> = self.table.keys().filter(|k| !self.asked.contains(&k.as_str())).collect();
        for key in unknown {
            let known = self.asked.join(", ");
            self.problem(&format!("there is no key {key:?} here; there are {known}"));
        }
    }
}
