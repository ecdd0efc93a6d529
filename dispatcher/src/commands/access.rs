//! Who may use the fleet, and where its matches can be watched.

use fleet::store::Store;
use fleet::store::organisations::OrganisationRow;
use fleet::store::tenant::AuditEntry;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{CommandError, find, local_dir, open, print, print_json, tables};
use crate::api::secret_key::SecretKey;
use crate::api::{Api, Scope};
use crate::cli::{FleetArgs, KeyVerb, MonthlyCap, OrganisationVerb};
use crate::local::ADDRESS_FILE;

/// Organisations that the command line looks through.
const MOST: u32 = 10_000;

/// Prints where a job can be played.
pub(super) async fn play(fleet: &FleetArgs, job: &str, json: bool) -> Result<(), CommandError> {
    let (config, store) = open(fleet)?;
    let id = find(&store, job).await?;
    let objects = config.objects(&config.buckets()).await?;
    let api = Api::new(&config, store.clone(), objects)?;
    let mut playback = serde_json::to_value(api.playback(&store.job(id).await?)).unwrap_or_default();
    // Addresses that begin at `/` are those of the local fleet.
    let base = match fleet.config {
        Some(_) => String::new(),
        None => std::fs::read_to_string(local_dir(fleet)?.join(ADDRESS_FILE)).unwrap_or_default(),
    };
    for (_, value) in playback.as_object_mut().into_iter().flatten() {
        if let Some(path) = value.as_str().filter(|text| text.starts_with("/media/")) {
            *value = format!("{}{path}", base.trim_end()).into();
        }
    }
    if json {
        print_json(&playback);
        return Ok(());
    }
    match playback["url"].as_str() {
        Some(url) => print(url),
        None => return Err(CommandError::Usage(format!("{id} cannot be watched yet; see `dispatcher why {id}`"))),
    }
    Ok(())
}

async fn named(store: &Store, name: &str) -> Result<OrganisationRow, CommandError> {
    let all = store.organisations(None, MOST).await?;
    all.into_iter().find(|o| o.name == name).ok_or_else(|| {
        CommandError::Usage(format!("no organisation is called {name}; see `dispatcher organisation list`"))
    })
}

/// Lists, makes and changes organisations.
pub(super) async fn organisation(store: &Store, verb: OrganisationVerb) -> Result<(), CommandError> {
    match verb {
        OrganisationVerb::List { json } => {
            let all = store.organisations(None, MOST).await?;
            if json {
                print_json(&all);
            } else {
                print(&tables::organisations(&all));
            }
        }
        OrganisationVerb::Create { name, tier, weight } => {
            let name = name.trim();
            if name.is_empty() || name.chars().count() > 200 {
                return Err(CommandError::Usage("give a name of 1 to 200 characters".to_owned()));
            }
            let made = store.create_organisation(name, &tier, weight).await?;
            let made = made.ok_or_else(|| CommandError::Usage(format!("there is an organisation called {name}")))?;
            record(store, made.id, "organisation.created", made.id.to_string()).await?;
            print(&made.id.to_string());
        }
        OrganisationVerb::Set { name, tier, weight, monthly_cap } => {
            if tier.is_none() && weight.is_none() && monthly_cap.is_none() {
                let what = format!("say what to change of {name}: --tier, --weight or --monthly-cap");
                return Err(CommandError::Usage(what));
            }
            let row = named(store, &name).await?;
            store.change_organisation(row.id, tier.as_deref(), weight).await?;
            if let Some(MonthlyCap(cap)) = monthly_cap {
                store.set_cap(row.id, cap.map(|usd| usd.0)).await?;
            }
            record(store, row.id, "organisation.changed", row.id.to_string()).await?;
            print(&format!("{name} is changed"));
        }
    }
    Ok(())
}

/// Lists, makes and withdraws keys.
pub(super) async fn key(store: &Store, verb: KeyVerb) -> Result<(), CommandError> {
    match verb {
        KeyVerb::List { organisation, json } => {
            let tenant = store.tenant(named(store, &organisation).await?.id);
            let keys = tenant.keys(None, MOST).await?;
            if json {
                print_json(&keys);
            } else {
                print(&tables::keys(&keys));
            }
        }
        KeyVerb::Create { organisation, name, scopes, expires_in } => {
            let scopes = Scope::list(&scopes).map_err(|_| {
                let known: Vec<&str> = Scope::ALL.iter().map(|s| s.as_str()).collect();
                CommandError::Usage(format!("--scope: there are all, {}", known.join(", ")))
            })?;
            let row = named(store, &organisation).await?;
            let secret = SecretKey::generate()
                .map_err(|e| CommandError::Io { what: "no randomness".to_owned(), source: std::io::Error::other(e) })?;
            let expires_at = expires_in.map(|days| OffsetDateTime::now_utc() + time::Duration::days(i64::from(days)));
            let tenant = store.tenant(row.id);
            let mut tx = tenant.begin().await?;
            let made = tenant.create_key(&mut tx, &secret.as_new(name, &scopes, expires_at)).await?;
            let detail = serde_json::json!({ "prefix": made.prefix, "scopes": made.scopes });
            let entry =
                AuditEntry { actor: "cli", action: "key.created", object: made.id.to_string(), detail, request: "" };
            tenant.audit(&mut tx, &entry).await?;
            tx.commit().await.map_err(fleet::store::StoreError::from)?;
            print(&secret.text);
        }
        KeyVerb::Revoke { prefix, organisation } => {
            let row = named(store, &organisation).await?;
            let tenant = store.tenant(row.id);
            let keys = tenant.keys(None, MOST).await?;
            let key = keys.iter().find(|k| k.prefix == prefix);
            let key = key.ok_or_else(|| CommandError::Usage(format!("{organisation} has no key {prefix}")))?;
            let mut tx = tenant.begin().await?;
            tenant.revoke_key(&mut tx, key.id).await?;
            let detail = serde_json::json!({ "prefix": prefix });
            let entry =
                AuditEntry { actor: "cli", action: "key.revoked", object: key.id.to_string(), detail, request: "" };
            tenant.audit(&mut tx, &entry).await?;
            tx.commit().await.map_err(fleet::store::StoreError::from)?;
            print(&format!("{prefix} is withdrawn; running dispatchers notice within ten seconds"));
        }
    }
    Ok(())
}

async fn record(store: &Store, organisation: Uuid, action: &str, object: String) -> Result<(), CommandError> {
    let tenant = store.tenant(organisation);
    let mut tx = tenant.begin().await?;
    let entry = AuditEntry { actor: "cli", action, object, detail: serde_json::json!({}), request: "" };
    tenant.audit(&mut tx, &entry).await?;
    tx.commit().await.map_err(fleet::store::StoreError::from)?;
    Ok(())
}
