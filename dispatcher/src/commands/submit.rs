//! `dispatcher submit`: hands in matches, past the HTTP interface.

use std::fs::Metadata;
use std::path::Path;
use std::time::Duration;

use fleet::profiles;
use fleet::store::jobs::NewJob;

use super::{CommandError, follow, open, print, print_json, stop_signal};
use crate::cli::{FleetArgs, SubmitArgs};

/// Submits each source, and follows them when asked to.
pub(super) async fn submit(args: &FleetArgs, asked: SubmitArgs) -> Result<(), CommandError> {
    let ladder = profiles::load(&asked.ladder)?;
    let (config, store) = open(args)?;
    if let Some(region) = &asked.region
        && config.region(region).is_none()
    {
        let names: Vec<&str> = config.regions.iter().map(|r| r.name.as_str()).collect();
        return Err(CommandError::Usage(format!("no region {region}; there are {}", names.join(", "))));
    }
    let sources = asked.sources.iter().map(|s| source(s)).collect::<Result<Vec<_>, _>>()?;
    let organisation = store.ensure_organisation(&asked.organisation, asked.weight).await?;
    let ready_by =
        asked.ready_in.map(|minutes| time::OffsetDateTime::now_utc() + Duration::from_secs_f64(minutes * 60.0));
    let mut ids = Vec::new();
    for source in sources {
        let name = source.split(['?', '#']).next().and_then(|s| s.rsplit('/').next()).unwrap_or_default().to_owned();
        let id = store
            .submit(&NewJob {
                organisation,
                title: asked.title.clone().unwrap_or(name),
                home_region: asked.region.clone().unwrap_or_else(|| config.home_region(&source).to_owned()),
                source,
                ladder: ladder.clone(),
                upload: None,
                encoder: asked.encoder.clone(),
                ready_by,
            })
            .await?;
        if asked.json {
            print_json(&serde_json::json!({ "event": "submitted", "job": id }));
        } else {
            print(&id.to_string());
        }
        ids.push(id);
    }
    if asked.follow {
        let stop = stop_signal();
        for id in ids {
            follow::follow(&store, id, asked.json, &stop).await?;
        }
    }
    Ok(())
}

/// A source as a job keeps it: files by their absolute path, so that a worker elsewhere in the tree finds them.
fn source(text: &str) -> Result<String, CommandError> {
    if ["s3://", "http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(text.to_owned());
    }
    let path = Path::new(text);
    film(path)?;
    let path = std::fs::canonicalize(path)
        .map_err(|source| CommandError::Io { what: format!("{text} cannot be found"), source })?;
    path.into_os_string()
        .into_string()
        .map_err(|p| CommandError::Usage(format!("{} is not a UTF-8 path; rename it", p.display())))
}

/// A file that is there and holds something.
pub(super) fn film(path: &Path) -> Result<Metadata, CommandError> {
    let name = path.display();
    let metadata = std::fs::metadata(path).map_err(|e| CommandError::Usage(format!("{name} cannot be read: {e}")))?;
    if !metadata.is_file() {
        return Err(CommandError::Usage(format!("{name} is not a file; give the video itself")));
    }
    if metadata.len() == 0 {
        return Err(CommandError::Usage(format!("{name} is empty; copy it from the camera again")));
    }
    Ok(metadata)
}
