//! Arrivals from a file. CSV has a heading; JSON is an array of objects, or one object a line. The names of the columns
//! are those of the job table: `created_at` (RFC 3339, or seconds from any start), `home_region`, `duration_ms` or
//! `seconds`, and optionally `encode_s`, `organisation_id`, `weight`, `ready_by`, `upload_began`, `gigabytes`. Columns of
//! other names are ignored.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Arrival, ArrivalError};
use crate::moment::Moment;
use crate::pools::Fleet;

type Row = BTreeMap<String, String>;

pub(super) fn read(path: &Path, fleet: &Fleet) -> Result<Vec<Arrival>, ArrivalError> {
    let text = std::fs::read_to_string(path).map_err(|source| ArrivalError::Read { path: path.to_owned(), source })?;
    let failed = |row: usize, reason: String| ArrivalError::Row { path: path.to_owned(), row, reason };
    let rows = if text.trim_start().starts_with(['[', '{']) { json(&text) } else { csv(&text) };
    let rows = rows.map_err(|(row, reason)| failed(row, reason))?;
    let mut arrivals = Vec::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        // A job that never got a plan has no length: nothing was encoded for it.
        if row.contains_key("duration_ms") || row.contains_key("seconds") {
            arrivals.push(arrival(row, fleet).map_err(|reason| failed(i + 1, reason))?);
        }
    }
    Ok(arrivals)
}

fn arrival(row: &Row, fleet: &Fleet) -> Result<Arrival, String> {
    let text = |names: &[&str]| names.iter().find_map(|n| row.get(*n)).map(String::as_str);
    let number = |names: &[&str]| match text(names) {
        None => Ok(None),
        Some(text) => match text.parse::<f64>() {
            Ok(n) if n.is_finite() && n >= 0.0 => Ok(Some(n)),
            _ => Err(format!("{} is {text:?}, which is no number from 0 on", names[0])),
        },
    };
    let at = moment(text(&["created_at", "at"]).ok_or("created_at is missing")?)?;
    let region = text(&["home_region", "region"]).ok_or("home_region is missing")?.into();
    if fleet.region(&region).is_none() {
        return Err(format!("the fleet has no region {region}"));
    }
    let seconds = number(&["duration_ms"])?.map(|ms| ms / 1000.0).or(number(&["seconds"])?).unwrap_or(0.0);
    let usual = Arrival::of_length(at, region, seconds);
    Ok(Arrival {
        upload_began: text(&["upload_began"]).map(moment).transpose()?,
        organisation: text(&["organisation_id", "organisation"]).unwrap_or("default").to_owned(),
        weight: number(&["weight"])?.map_or(1, |w| w.clamp(1.0, 1000.0) as u32),
        encode_s: number(&["encode_s"])?.unwrap_or(usual.encode_s),
        gigabytes: number(&["gigabytes"])?.unwrap_or(usual.gigabytes),
        ready_by: text(&["ready_by"]).map(moment).transpose()?,
        ..usual
    })
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        return Ok(Moment(0).plus_s(seconds));
    }
    // Postgres writes a blank for the T, and an offset of hours alone.
    let mut usual = text.trim().replacen(' ', "T", 1);
    if usual.ends_with("+00") {
        usual.push_str(":00");
    }
    OffsetDateTime::parse(&usual, &Rfc3339).map(Moment::from).map_err(|_| format!("{text:?} is no time"))
}

fn json(text: &str) -> Result<Vec<Row>, (usize, String)> {
    let values: Vec<Value> = match serde_json::from_str(text) {
        Ok(Value::Array(values)) => values,
        _ => {
            let lines = text.lines().filter(|l| !l.trim().is_empty()).enumerate();
            lines.map(|(i, l)| serde_json::from_str(l).map_err(|e| (i + 1, e.to_string()))).collect::<Result<_, _>>()?
        }
    };
    let rows = values.into_iter().enumerate().map(|(i, value)| match value {
        Value::Object(object) => Ok(object.into_iter().filter_map(|(key, v)| Some((key, word(v)?))).collect()),
        _ => Err((i + 1, "it is no object".to_owned())),
    });
    rows.collect()
}

fn word(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn csv(text: &str) -> Result<Vec<Row>, (usize, String)> {
    let mut lines = text.lines().filter(|l| !l.trim().is_empty());
    let Some(heading) = lines.next() else { return Ok(Vec::new()) };
    let names: Vec<String> = fields(heading);
    let rows = lines.enumerate().map(|(i, line)| {
        let values = fields(line);
        if values.len() != names.len() {
            return Err((i + 1, format!("it has {} fields and the heading {}", values.len(), names.len())));
        }
        Ok(names.iter().cloned().zip(values).filter(|(_, v)| !v.is_empty()).collect())
    });
    rows.collect()
}

/// The fields of a line; a field in double quotes may have commas, and a double quote twice.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().expect("there always is one");
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                field.push('"');
                letters.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => field.push(letter),
        }
    }
    fields.into_iter().map(|f| f.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Arrival>, String> {
        let fleet = Fleet::parse(include_str!("../../../../../infra/fleet.toml")).unwrap();
        let rows = if text.starts_with(['[', '{']) { json(text) } else { csv(text) };
        rows.map_err(|(row, e)| format!("row {row}: {e}"))?.iter().map(|r| arrival(r, &fleet)).collect()
    }

    #[test]
    fn csv_and_json_and_the_job_table_say_the_same() {
        let csv = "created_at,home_region,duration_ms,title,ready_by\n\
                   2026-06-06T15:00:00Z,eu-west-1,5400000,\"Blue, White \"\"A\"\"\",2026-06-06 19:00:00+00\n";
        let json = r#"[{"created_at": "2026-06-06T15:00:00Z", "home_region": "eu-west-1", "duration_ms": 5400000,
            "plan": {"a": 1}, "ready_by": "2026-06-06T19:00:00Z", "failure_code": null}]"#;
        let lines = r#"{"at": 1780758000, "region": "eu-west-1", "seconds": 5400, "ready_by": 1780772400}"#;
        let expected = read_text(csv).unwrap();
        assert_eq!(expected[0].encode_s, 5400.0);
        assert_eq!(expected[0].ready_by.unwrap().since_s(expected[0].at), 14_400.0);
        assert_eq!(read_text(json).unwrap(), expected);
        assert_eq!(read_text(lines).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said() {
        for (text, said) in [
            ("created_at,home_region,seconds\n1,eu-west-1\n", "row 1: it has 2 fields and the heading 3"),
            ("created_at,home_region,seconds\nnoon,eu-west-1,60\n", "\"noon\" is no time"),
            ("created_at,home_region,seconds\n1,mars,60\n", "the fleet has no region mars"),
            ("created_at,home_region,seconds\n1,eu-west-1,NaN\n", "seconds is \"NaN\""),
            ("home_region,seconds\neu-west-1,60\n", "created_at is missing"),
            ("[1]", "row 1: it is no object"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
