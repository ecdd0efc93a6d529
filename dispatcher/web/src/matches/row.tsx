// One match in the list.

import { call, intention } from '../api/client';
import { describe } from '../api/problem';
import type { Job } from '../api/types';
import { canRetry, isAtWork, say } from '../text/state';
import { ago } from '../text/time';
import { Icon } from '../ui/icons';
import { MatchBar } from '../ui/match-bar';
import { type Choice, Menu } from '../ui/menu';
import { notice } from '../ui/notices';
import { route } from '../router';
import { may } from '../session';
import { renaming } from './jobs';
import { Poster } from './poster';
import { removeMatch } from './remove';

async function act(job: Job, verb: 'cancel' | 'retry'): Promise<void> {
  try {
    await call<Job>(`/v1/jobs/${job.id}/${verb}`, { method: 'POST', once: intention() });
    notice(verb === 'cancel' ? `Cancelled: ${job.title}` : `Trying again: ${job.title}`);
  } catch (error) {
    notice(describe(error), true);
  }
}

async function remove(job: Job): Promise<void> {
  if (!(await removeMatch(job))) return;
  // When its row is gone, so is the button that had the focus; who has moved on meanwhile stays there.
  setTimeout(() => {
    const isLost = document.activeElement === null || document.activeElement === document.body;
    if (isLost && route.peek().page === 'matches') document.querySelector('h1')?.focus({ preventScroll: true });
  });
}

export function Row({ job }: { job: Job }) {
  const saying = say(job);
  const choices: Choice[] = [];
  if (may('jobs:write')) {
    if (isAtWork(job)) choices.push({ label: 'Cancel', isDanger: true, onSelect: () => void act(job, 'cancel') });
    choices.push({ label: 'Rename', onSelect: () => (renaming.value = job) });
    if (canRetry(job)) choices.push({ label: 'Try again', onSelect: () => void act(job, 'retry') });
    if (!isAtWork(job)) choices.push({ label: 'Delete', isDanger: true, onSelect: () => void remove(job) });
  }
  const share = job.duration_ms ? job.watchable_ms / job.duration_ms : 0;
  return (
    <li class="row" data-job={job.id}>
      <Poster job={job} />
      <div class="row-text">
        <h2 class="row-title">
          <a href={`/jobs/${job.id}`}>{job.title}</a>
        </h2>
        <p class={`row-saying tone-${saying.tone}`}>
          <span class="chip">{saying.short}</span>
          {job.state !== 'succeeded' && <span class="row-sentence">{saying.long}</span>}
          {job.state === 'succeeded' && <span class="muted">{ago(job.finished_at ?? job.created_at)}</span>}
        </p>
        {isAtWork(job) && <MatchBar share={share} label={`Watchable part of ${job.title}`} />}
      </div>
      {choices.length > 0 && (
        <Menu label={`Actions for ${job.title}`} choices={choices}>
          <Icon name="more" />
        </Menu>
      )}
    </li>
  );
}
