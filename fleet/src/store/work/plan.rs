//! The plan of a job, which is the work of its first chunk.

use sqlx::types::Json;

use super::ending::finish;
use super::{AttemptId, Work};
use crate::plan::{Backend, JobPlan};
use crate::state::{JobEvent, JobState};
use crate::store::{Edge, Store, StoreError, signed, to_json};

/// What a plan says of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct NewChunk {
    /// What to do.
    pub work: Work,
    /// Order within the job.
    pub position: u64,
    /// Media seconds, for estimates.
    pub seconds: f64,
}

/// A stored plan.
#[derive(Debug)]
pub struct NewPlan<'a> {
    /// The plan.
    pub plan: &'a JobPlan,
    /// Encoder family.
    pub backend: Backend,
    /// Identity of the source's bytes.
    pub source_identity: &'a str,
    /// Size of the source.
    pub source_bytes: u64,
    /// What a person should know.
    pub warnings: &'a [String],
    /// The chunks, without the plan itself.
    pub chunks: &'a [NewChunk],
}

impl Store {
    /// Stores the plan with its chunks and renditions, and ends the plan's own chunk. `false` when the attempt is no
    /// longer ours.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn store_plan(&self, id: AttemptId, new: &NewPlan<'_>) -> Result<bool, StoreError> {
        const PLANNED: Edge = Edge::job(JobState::Planning, JobEvent::Planned);
        let mut tx = self.begin().await?;
        if !finish(self, &mut tx, id, 0).await? {
            return Ok(false);
        }
        let video = &new.plan.video;
        let stored = self
            .query(
                "update touchline.jobs set state = $3, plan = $4, backend = $5, source_identity = $6, warnings = $7,
                notes = $8, expected_frames = $9, duration_ms = $10, frame_rate = $11, source_bytes = $12, planned_at = now(), updated_at = now()
             where id = $1 and state = $2",
            )
            .bind(id.job)
            .bind(PLANNED.from)
            .bind(PLANNED.to)
            .bind(to_json("plan", new.plan)?)
            .bind(new.backend.to_string())
            .bind(new.source_identity)
            .bind(Json(new.warnings))
            .bind(Json(&new.plan.notes))
            .bind(new.plan.expected_frames.map(signed))
            .bind(new.plan.expected_frames.map(|frames| milliseconds(video.rate.seconds(frames))))
            .bind(format!("{}/{}", video.rate.num(), video.rate.den()))
            .bind(signed(new.source_bytes))
            .execute(&mut *tx)
            .await?;
        if stored.rows_affected() == 0 {
            return Ok(false);
        }
        let mut names: Vec<(String, &str)> = video.renditions.iter().map(|r| (r.name.clone(), "video")).collect();
        names.extend(new.plan.audio.iter().map(|a| (a.name.clone(), "audio")));
        names.push(("storyboard".to_owned(), "storyboard"));
        names.push(("poster".to_owned(), "poster"));
        let (names, kinds): (Vec<String>, Vec<&str>) = names.into_iter().unzip();
        self.query(
            "insert into touchline.renditions (job_id, name, kind) select $1, * from unnest($2::text[], $3::text[])",
        )
        .bind(id.job)
        .bind(&names)
        .bind(&kinds)
        .execute(&mut *tx)
        .await?;
        let column = |f: &dyn Fn(&NewChunk) -> i64| new.chunks.iter().map(f).collect::<Vec<i64>>();
        let kinds: Vec<&str> = new
            .chunks
            .iter()
            .map(|c| match c.work {
                Work::Plan => "plan",
                Work::Video { .. } => "video",
                Work::Audio { .. } => "audio",
                Work::Clip => "clip",
            })
            .collect();
        let first = column(&|c| match c.work {
            Work::Video { first, .. } => signed(first),
            _ => 0,
        });
        let end: Vec<Option<i64>> = new
            .chunks
            .iter()
            .map(|c| match c.work {
                Work::Video { end, .. } => end.map(signed),
                _ => None,
            })
            .collect();
        let renditions: Vec<Option<&str>> = new
            .chunks
            .iter()
            .map(|c| match &c.work {
                Work::Audio { rendition } => Some(rendition.as_str()),
                _ => None,
            })
            .collect();
        let media: Vec<f64> = new.chunks.iter().map(|c| c.seconds).collect();
        self.query(
            "insert into touchline.chunks
                (job_id, chunk, kind, position, first_segment, end_segment, rendition, seconds, attempt)
             select $1, n::int, kind, position, first_segment, end_segment, rendition, seconds, $8
             from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::float8[])
                with ordinality as c(kind, position, first_segment, end_segment, rendition, seconds, n)",
        )
        .bind(id.job)
        .bind(&kinds)
        .bind(column(&|c| signed(c.position)))
        .bind(&first)
        .bind(&end)
        .bind(&renditions)
        .bind(&media)
        .bind(id.attempt)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn milliseconds(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "media times")]
    let ms = (seconds * 1000.0).round() as i64;
    ms
}
