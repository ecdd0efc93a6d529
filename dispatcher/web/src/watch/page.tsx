// A match: watch it while it is prepared, find a moment, cut it out, pass it on.

import { useSignal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import type { Job } from '../api/types';
import { may } from '../session';
import { canRetry, isAtWork, say } from '../text/state';
import { percent } from '../text/size';
import { clock } from '../text/time';
import { Heading } from '../ui/heading';
import { Icon } from '../ui/icons';
import { MatchBar } from '../ui/match-bar';
import { type Choice, Menu } from '../ui/menu';
import { RenameDialog } from '../ui/rename';
import { ClipList } from './clip-list';
import { ClipTool, type Points } from './clip-tool';
import { Match } from './match';
import { rememberPlace } from './place';
import { withPoint } from './ranges';
import { ShareDialog } from './share';
import { Stage } from './stage';

export function WatchPage({ id }: { id: string }) {
  const match = useMemo(() => new Match(id), [id]);
  const points = useSignal<Points>({ start: null, end: null });
  const isSharing = useSignal(false);
  const isRenaming = useSignal(false);
  useEffect(() => match.follow(), [match]);
  useEffect(() => {
    const keep = () => {
      const { time, duration, source } = match.player;
      if (source.peek()) rememberPlace(id, time.peek(), duration.peek());
    };
    const timer = setInterval(keep, 5000);
    return () => {
      clearInterval(timer);
      keep();
    };
  }, [match]);

  const job = match.job.value;
  if (match.error.value) {
    return (
      <div class="empty">
        <Heading text="This match cannot be shown" />
        <p>{match.error.value}</p>
        <p class="actions">
          {!match.isDeleted.value && (
            <button type="button" class="button" onClick={() => void match.reload()}>
              Try again
            </button>
          )}
          <a class="button" href="/">
            All matches
          </a>
        </p>
      </div>
    );
  }
  if (!job) return <p class="muted pad">Loading</p>;

  const canClip = may('clips:write');
  const setPoint = (which: 'start' | 'end') => (points.value = withPoint(points.value, which, match.player.time.value));
  const choices: Choice[] = [];
  if (may('jobs:write') && isAtWork(job))
    choices.push({ label: 'Cancel', isDanger: true, onSelect: () => void match.act('cancel') });
  if (may('jobs:write')) choices.push({ label: 'Rename', onSelect: () => (isRenaming.value = true) });
  if (may('jobs:write') && canRetry(job)) choices.push({ label: 'Try again', onSelect: () => void match.act('retry') });
  if (may('jobs:write') && !isAtWork(job))
    choices.push({ label: 'Delete', isDanger: true, onSelect: () => void match.remove() });
  const canWatch = match.player.source.value !== null;

  return (
    <div class="watch">
      <div class="watch-head">
        <a class="back" href="/">
          Matches
        </a>
        <Heading text={job.title} />
        <span class="grow" />
        {job.playable && may('clips:write') && (
          <button type="button" class="button" onClick={() => (isSharing.value = true)}>
            <Icon name="share" />
            Share
          </button>
        )}
        {choices.length > 0 && (
          <Menu label="Actions for this match" choices={choices}>
            <Icon name="more" />
          </Menu>
        )}
      </div>
      <div class="watch-columns">
        <div class="watch-main">
          {job.playable ? (
            <Stage
              player={match.player}
              title={job.title}
              poster={match.poster.value}
              thumbnails={match.thumbnails.value}
              points={points.value}
              clips={match.clips.value}
              onPoint={canClip ? setPoint : null}
              onBeyond={may('jobs:write') ? (at) => void match.focus(at) : null}
            />
          ) : (
            <NotYet match={match} />
          )}
          {job.playable && <StateLine match={match} />}
          {job.warnings.map((warning) => (
            <p key={warning} class="banner">
              {warning}
            </p>
          ))}
        </div>
        {canWatch && (
          <aside class="watch-side" aria-label="Clips">
            {canClip && <ClipTool match={match} points={points} setPoint={setPoint} />}
            <ClipList match={match} />
          </aside>
        )}
      </div>
      {isSharing.value && (
        <ShareDialog path={`/v1/jobs/${id}/share`} title={job.title} onClose={() => (isSharing.value = false)} />
      )}
      {isRenaming.value && (
        <RenameDialog<Job>
          path={`/v1/jobs/${id}`}
          title={job.title}
          onRenamed={({ title }) => (match.job.value = { ...job, ...match.job.peek(), title })}
          onClose={() => (isRenaming.value = false)}
        />
      )}
    </div>
  );
}

/** What is going on, in one sentence below the picture. */
function StateLine({ match }: { match: Match }) {
  const job = match.job.value;
  if (!job) return null;
  const saying = say(job);
  const wanted = match.player.wanted.value;
  const starts = match.player.source.value?.starts_s ?? 0;
  if (job.state === 'succeeded' && wanted === null && match.isLive.value) return null;
  return (
    <div class={`state-line tone-${saying.tone}`}>
      <span class="chip">{saying.short}</span>
      <span>{saying.long}</span>
      {wanted !== null && (
        <span class="wanted">
          {clock(wanted)} and what follows is prepared first. Playback goes there when it can be watched.{' '}
          <button type="button" class="link" onClick={() => (match.player.wanted.value = null)}>
            Stay here
          </button>
        </span>
      )}
      {wanted === null && starts > 0 && (
        <span class="part">
          You are watching what was put first, from {clock(starts)} on.{' '}
          <button type="button" class="link" onClick={() => match.player.seek(0)}>
            Back to the beginning
          </button>
        </span>
      )}
      {!match.isLive.value && <span class="muted">The connection is lost; this may be old.</span>}
    </div>
  );
}

/** In place of the picture while there is none. */
function NotYet({ match }: { match: Match }) {
  const job = match.job.value;
  if (!job) return null;
  const saying = say(job);
  return (
    <section class={`not-yet tone-${saying.tone}`} aria-label="State">
      <span class="chip">{saying.short}</span>
      <p class="not-yet-sentence">{saying.long}</p>
      {isAtWork(job) && <MatchBar share={job.progress} label={`Progress, ${percent(job.progress)}`} />}
      {match.reasons.value.length > 0 && (
        <ul class="reasons">
          {match.reasons.value.map((reason) => (
            <li key={reason}>{reason}</li>
          ))}
        </ul>
      )}
      {job.failure?.detail && (
        <details>
          <summary>For operators</summary>
          <p class="mono small">
            {job.failure.code}: {job.failure.detail}
          </p>
        </details>
      )}
      {canRetry(job) && may('jobs:write') && (
        <button type="button" class="button primary" onClick={() => void match.act('retry')}>
          Try again
        </button>
      )}
    </section>
  );
}
