//! `dispatcher quote` and `receipt`: what a match will cost, and what it cost.

use capacity::money::MicroDollars;
use capacity::pools::Fleet;
use fleet::config::Config;
use fleet::profiles;

use super::submit::film;
use super::{CommandError, find, open, print, print_json, tables};
use crate::cli::{FleetArgs, QuoteArgs};
use crate::quote::{Asked, Quote, Span, quote};
use crate::receipt::receipt;
use crate::scaling::read_fleet;

/// Pools and what they cost; `None` where machines come and go by other hands.
async fn machines(config: &Config) -> Result<Option<Fleet>, CommandError> {
    match &config.capacity {
        Some(capacity) => Ok(Some(read_fleet(capacity, &config.buckets()).await?)),
        None => Ok(None),
    }
}

/// Quotes a match.
pub(super) async fn show_quote(fleet: &FleetArgs, asked: &QuoteArgs) -> Result<(), CommandError> {
    let (config, store) = open(fleet)?;
    let bytes = match &asked.file {
        None => None,
        Some(file) => Some(film(file)?.len()),
    };
    let home = || config.regions.first().map(|r| r.name.clone()).unwrap_or_default();
    let question = Asked {
        region: asked.region.clone().unwrap_or_else(home),
        ladder: profiles::load(&asked.ladder)?,
        seconds: asked.minutes.map(|minutes| minutes * 60.0),
        bytes,
        height: asked.height,
        frame_rate: asked.fps,
    };
    let answer = quote(&store, machines(&config).await?.as_ref(), &question).await?;
    if asked.json {
        print_json(&answer);
    } else {
        print(&told(&answer));
    }
    Ok(())
}

fn told(quote: &Quote) -> String {
    let mut lines = Vec::new();
    if let Some(price) = &quote.price {
        let usd = |micros: i64| format!("${}", MicroDollars(micros).exact());
        lines.push(format!(
            "price     {} likely, {} at least, {} at most",
            usd(price.likely_micros),
            usd(price.low_micros),
            usd(price.high_micros)
        ));
    }
    let span = |span: Span| format!("{} to {}", roughly(span.soon_s), roughly(span.late_s));
    lines.extend(quote.playable.map(|s| format!("playable  after {}", span(s))));
    lines.extend(quote.done.map(|s| format!("complete  after {}", span(s))));
    if !quote.pools.is_empty() {
        let mut table = tables::table(&["pool", "$/h", "encode-s/s", "rate", "work alone"]);
        for pool in &quote.pools {
            table.add_row([
                pool.pool.clone(),
                MicroDollars(pool.price_per_hour_micros).exact(),
                format!("{:.1}", pool.encode_rate),
                pool.measured_chunks.map_or_else(|| "not measured".to_owned(), |n| format!("measured ({n} chunks)")),
                format!("${}", MicroDollars(pool.work_micros).exact()),
            ]);
        }
        lines.push(table.to_string());
    }
    lines.extend(quote.assumptions.iter().map(|sentence| format!("  - {sentence}")));
    lines.join("\n")
}

fn roughly(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

/// Shows what a job cost.
pub(super) async fn show_receipt(fleet: &FleetArgs, job: &str, csv: bool, json: bool) -> Result<(), CommandError> {
    let (config, store) = open(fleet)?;
    let id = find(&store, job).await?;
    let receipt = receipt(&store, machines(&config).await?.as_ref(), &store.job(id).await?).await?;
    if json {
        print_json(&receipt);
        return Ok(());
    }
    if csv {
        print(&receipt.csv());
        return Ok(());
    }
    let mut table = tables::table(&["pool", "$/h", "machines", "work s", "boot s", "idle s", "waste s", "$"]);
    for line in &receipt.lines {
        table.add_row([
            line.pool.clone(),
            MicroDollars(line.price_per_hour_micros).exact(),
            line.machines.to_string(),
            format!("{:.1}", line.work_s),
            format!("{:.1}", line.boot_s),
            format!("{:.1}", line.idle_s),
            format!("{:.1}", line.waste_s),
            MicroDollars(line.total_micros).exact(),
        ]);
    }
    print(&table.to_string());
    if receipt.transfer_micros > 0 {
        print(&format!("transfer of the source: ${}", MicroDollars(receipt.transfer_micros).exact()));
    }
    print(&format!("total: ${}", receipt.total_usd));
    for note in &receipt.notes {
        print(&format!("  - {note}"));
    }
    Ok(())
}
