//! Receipts as people and programs read them: what a job cost, by pool, to the millionth of a dollar.

use std::fmt::Write as _;

use capacity::money::MicroDollars;
use capacity::pools::Fleet;
use fleet::store::jobs::JobRow;
use fleet::store::ledger::Charge;
use fleet::store::{Store, StoreError};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::ledger::open_charges;

/// What a job cost.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Receipt {
    /// Job.
    pub job_id: Uuid,
    /// Whether nothing can be added any more: the job and every machine that served it have ended.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// A line for each pool and price.
    pub lines: Vec<ReceiptLine>,
    /// Moving the source to where it was encoded, in millionths of a US dollar; estimated by the share of each chunk.
    pub transfer_micros: i64,
    /// The whole, in millionths of a US dollar.
    pub total_micros: i64,
    /// The same in US dollars.
    #[schema(example = "0.112940")]
    pub total_usd: String,
    /// Seconds of workers' slots on machines that this fleet does not count; they are in no line.
    pub uncounted_s: f64,
    /// Sentences about what the figures mean.
    pub notes: Vec<String>,
}

/// What a job owes to the machines of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ReceiptLine {
    /// Region.
    pub region: String,
    /// Pool.
    #[schema(example = "eu-west-1/g4dn.xlarge/spot")]
    pub pool: String,
    /// Price of a machine, in millionths of a US dollar an hour.
    pub price_per_hour_micros: i64,
    /// Machines that worked on it.
    pub machines: usize,
    /// Seconds of machines whose work was kept.
    pub work_s: f64,
    /// Seconds of booting that are its share.
    pub boot_s: f64,
    /// Seconds without work that are its share.
    pub idle_s: f64,
    /// Seconds of lost work, and of machines that were taken back.
    pub waste_s: f64,
    /// Price of those, in millionths of a US dollar.
    pub work_micros: i64,
    /// Price of its share of booting.
    pub boot_micros: i64,
    /// Price of its share of time without work.
    pub idle_micros: i64,
    /// Price of what was lost.
    pub waste_micros: i64,
    /// The whole line.
    pub total_micros: i64,
}

/// A job's receipt, as far as it is known.
///
/// # Errors
/// The store does not answer.
pub async fn receipt(store: &Store, fleet: Option<&Fleet>, job: &JobRow) -> Result<Receipt, StoreError> {
    let mut charges = store.charges_of_job(job.id).await?;
    let open: Vec<Charge> =
        open_charges(store, fleet).await?.into_iter().filter(|charge| charge.job_id == Some(job.id)).collect();
    let is_settled = open.is_empty();
    charges.extend(open);
    let uncounted = store.uncounted_attempts(job.id).await?;
    let uncounted = uncounted
        .iter()
        .map(|a| (a.ended_at.unwrap_or_else(time::OffsetDateTime::now_utc) - a.claimed_at).as_seconds_f64().max(0.0));
    // The sum of nothing is -0.
    let uncounted_s = 0.0 + uncounted.sum::<f64>();
    Ok(Receipt::of(job.id, job.job_state().is_final() && is_settled, &charges, uncounted_s))
}

impl Receipt {
    /// The receipt of these charges.
    #[must_use]
    pub fn of(job: Uuid, is_final: bool, charges: &[Charge], uncounted_s: f64) -> Self {
        let mut lines: Vec<ReceiptLine> = Vec::new();
        for charge in charges {
            let same =
                |line: &&mut ReceiptLine| line.pool == charge.pool && line.price_per_hour_micros == charge.price_micros;
            match lines.iter_mut().find(same) {
                Some(line) => line.add(charge),
                None => lines.push(ReceiptLine::of(charge)),
            }
        }
        lines.sort_by(|a, b| b.total_micros.cmp(&a.total_micros).then_with(|| a.pool.cmp(&b.pool)));
        let transfer_micros = charges.iter().map(|c| c.transfer_micros).sum();
        let total_micros = charges.iter().map(Charge::total_micros).sum();
        let mut notes = Vec::new();
        if !is_final {
            notes.push("It is not final: the job or machines that worked on it are still there.".to_owned());
        }
        if !lines.is_empty() && lines.iter().all(|line| line.price_per_hour_micros == 0) {
            notes.push("These machines belong to whoever runs the fleet: their time has no price here.".to_owned());
        }
        if uncounted_s > 0.0 {
            notes.push(format!(
                "{uncounted_s:.0} s of slots were on machines that this fleet does not start, so their price is not known."
            ));
        }
        Self {
            job_id: job,
            is_final,
            lines,
            transfer_micros,
            total_micros,
            total_usd: MicroDollars(total_micros).exact(),
            uncounted_s,
            notes,
        }
    }

    /// As CSV: a row for each line and one for transfer, amounts in US dollars with six places, so that sums are exact.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = "job,region,pool,usd_per_hour,machines,work_s,boot_s,idle_s,waste_s,\
            work_usd,boot_usd,idle_usd,waste_usd,transfer_usd,total_usd\n"
            .to_owned();
        let usd = |micros: i64| MicroDollars(micros).exact();
        let mut row = |fields: &[String]| writeln!(text, "{}", fields.join(",")).expect("a String takes everything");
        for line in &self.lines {
            row(&[
                self.job_id.to_string(),
                field(&line.region),
                field(&line.pool),
                usd(line.price_per_hour_micros),
                line.machines.to_string(),
                line.work_s.to_string(),
                line.boot_s.to_string(),
                line.idle_s.to_string(),
                line.waste_s.to_string(),
                usd(line.work_micros),
                usd(line.boot_micros),
                usd(line.idle_micros),
                usd(line.waste_micros),
                usd(0),
                usd(line.total_micros),
            ]);
        }
        if self.transfer_micros != 0 {
            let mut fields = vec![String::new(); 15];
            fields[0] = self.job_id.to_string();
            fields[2] = "transfer".to_owned();
            fields[13] = usd(self.transfer_micros);
            fields[14] = usd(self.transfer_micros);
            row(&fields);
        }
        text
    }
}

impl ReceiptLine {
    fn of(charge: &Charge) -> Self {
        let mut line = Self {
            region: charge.region.clone(),
            pool: charge.pool.clone(),
            price_per_hour_micros: charge.price_micros,
            machines: 0,
            work_s: 0.0,
            boot_s: 0.0,
            idle_s: 0.0,
            waste_s: 0.0,
            work_micros: 0,
            boot_micros: 0,
            idle_micros: 0,
            waste_micros: 0,
            total_micros: 0,
        };
        line.add(charge);
        line
    }

    fn add(&mut self, charge: &Charge) {
        self.machines += 1;
        self.work_s += seconds(charge.work_ms);
        self.boot_s += seconds(charge.boot_ms);
        self.idle_s += seconds(charge.idle_ms);
        self.waste_s += seconds(charge.waste_ms);
        self.work_micros += charge.work_micros;
        self.boot_micros += charge.boot_micros;
        self.idle_micros += charge.idle_micros;
        self.waste_micros += charge.waste_micros;
        self.total_micros += charge.total_micros() - charge.transfer_micros;
    }
}

#[expect(clippy::cast_precision_loss, reason = "times of machines")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// Text as a field of CSV (RFC 4180). What a spreadsheet would take for a formula is kept from being one.
pub(crate) fn field(text: &str) -> String {
    let guarded = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\n', '\r']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(instance: &str, pool: &str, work_micros: i64) -> Charge {
        Charge {
            instance: instance.to_owned(),
            job_id: Some(Uuid::nil()),
            organisation_id: Some(Uuid::nil()),
            region: "eu-west-1".to_owned(),
            pool: pool.to_owned(),
            price_micros: 277_400,
            work_ms: 90_500,
            boot_ms: 1000,
            idle_ms: 0,
            waste_ms: 0,
            work_micros,
            boot_micros: 77,
            idle_micros: 1,
            waste_micros: 2,
            transfer_micros: 40_000,
        }
    }

    #[test]
    fn a_line_is_a_pool_and_the_rows_of_the_csv_add_up_to_the_total() {
        let charges = [charge("i-1", "a", 100), charge("i-2", "b", 5000), charge("i-3", "a", 300)];
        let receipt = Receipt::of(Uuid::nil(), true, &charges, 0.0);
        assert_eq!(
            receipt.lines.iter().map(|l| (l.pool.as_str(), l.machines)).collect::<Vec<_>>(),
            [("b", 1), ("a", 2)]
        );
        assert_eq!((receipt.lines[1].work_s, receipt.lines[1].work_micros), (181.0, 400));
        assert_eq!((receipt.total_micros, receipt.total_usd.as_str()), (125_640, "0.125640"));
        let csv = receipt.csv();
        let totals = csv.lines().skip(1).map(|row| row.rsplit(',').next().unwrap().replace('.', ""));
        assert_eq!(totals.map(|t| t.parse::<i64>().unwrap()).sum::<i64>(), receipt.total_micros);
        assert!(csv.lines().all(|row| row.split(',').count() == 15), "{csv}");
    }

    #[test]
    fn a_receipt_says_what_it_does_not_know() {
        let open = Receipt::of(Uuid::nil(), false, &[Charge { price_micros: 0, ..charge("p", "local", 0) }], 12.0);
        assert_eq!(open.notes.len(), 3, "{:?}", open.notes);
        assert!(Receipt::of(Uuid::nil(), true, &[charge("i", "a", 1)], 0.0).notes.is_empty());
    }

    #[test]
    fn titles_cannot_break_out_of_their_field() {
        assert_eq!(field("plain"), "plain");
        assert_eq!(field("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(field("=HYPERLINK(1)"), "'=HYPERLINK(1)");
    }
}
