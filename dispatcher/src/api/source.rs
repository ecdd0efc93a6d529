//! Where a job's source may lie. A tenant's word decides what our credentials read, so only what is allowed by name is.

use fleet::config::ApiConfig;
use fleet::store::tenant::Tenant;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Api;
use super::caller::Caller;
use super::problem::Problem;
use super::scope::Scope;

/// A source that a caller may use.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// As workers read it.
    pub(super) address: String,
    /// Upload that it came with.
    pub(super) upload: Option<Uuid>,
    /// To call it by when there is no title.
    pub(super) name: String,
}

const MAX_ADDRESS: usize = 2000;

impl Source {
    /// Reads what a caller wrote.
    pub(super) async fn of(
        api: &Api,
        tenant: &Tenant,
        tx: &mut PgConnection,
        caller: &Caller,
        text: &str,
    ) -> Result<Self, Problem> {
        if text.len() > MAX_ADDRESS || text.chars().any(char::is_control) {
            return Err(Problem::invalid("source", format!("give at most {MAX_ADDRESS} printable characters")));
        }
        if let Ok(id) = text.parse::<Uuid>() {
            let (address, name, state) = tenant
                .upload_source(tx, id)
                .await?
                .ok_or_else(|| Problem::invalid("source", "there is no such upload"))?;
            if state != "completed" {
                let is_under_way = state == "open" || state == "completing";
                let advice = if is_under_way { "complete it first" } else { "upload the file again" };
                let title = format!("The upload is {state}; {advice}.");
                return Err(Problem::conflict("upload_not_complete", title));
            }
            return Ok(Self { address, upload: Some(id), name });
        }
        // Who operates the machine may read what the machine can; nobody else.
        let is_owner = api.config.api.local_sources && caller.has(Scope::Ops);
        let allowed = is_allowed(text, &api.config.api, is_owner).map_err(|why| Problem::invalid("source", why))?;
        if api.config.keeps(allowed) {
            return Err(Problem::invalid("source", "that place is the fleet's own; name uploads by their id"));
        }
        let name = allowed.split(['?', '#']).next().and_then(|s| s.rsplit('/').next()).unwrap_or_default();
        Ok(Self { name: name.chars().take(200).collect(), address: allowed.to_owned(), upload: None })
    }
}

/// An address that this fleet lets tenants name; its owner may name any.
fn is_allowed<'a>(text: &'a str, config: &ApiConfig, is_owner: bool) -> Result<&'a str, &'static str> {
    if let Some(rest) = text.strip_prefix("s3://") {
        let (_, key) = rest.split_once('/').unwrap_or((rest, ""));
        if key.is_empty() || key.split('/').any(|part| part == "..") {
            return Err("is not of the form s3://bucket/key");
        }
        let is_listed = config.source_prefixes.iter().any(|prefix| text.starts_with(prefix.as_str()));
        return if is_listed || is_owner { Ok(text) } else { Err("that bucket is not open to this API") };
    }
    if text.starts_with("https://") || text.starts_with("http://") {
        let is_secure = text.starts_with("https://");
        return match (config.http_sources && is_secure) || is_owner {
            true => Ok(text),
            false => Err("web addresses are not open to this API; upload the file"),
        };
    }
    if is_owner && text.starts_with('/') {
        return Ok(text);
    }
    Err("give the id of a completed upload, or an s3:// or https:// address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_can_be_read() {
        let config = ApiConfig {
            source_prefixes: vec!["s3://archive/club/".to_owned()],
            http_sources: true,
            ..ApiConfig::default()
        };
        for (text, allowed) in [
            ("s3://archive/club/final.mp4", true),
            ("s3://archive/other/final.mp4", false),
            ("s3://archive/club/../other/final.mp4", false),
            ("s3://touchline-media/x", false),
            ("https://example.org/final.mp4?sig=1", true),
            ("http://169.254.169.254/latest/meta-data/", false),
            ("file:///etc/passwd", false),
            ("/etc/passwd", false),
            ("final.mp4", false),
        ] {
            assert_eq!(is_allowed(text, &config, false).is_ok(), allowed, "{text}");
        }
        assert!(is_allowed("/home/coach/final.mp4", &config, true).is_ok());
        assert!(is_allowed("relative.mp4", &config, true).is_err());
    }
}
