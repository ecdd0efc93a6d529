// All matches of a club: add one, see how far each is.

import { useEffect } from 'preact/hooks';
import type { Job } from '../api/types';
import { may, me } from '../session';
import { Heading } from '../ui/heading';
import { Icon } from '../ui/icons';
import { RenameDialog } from '../ui/rename';
import { findUnfinished, transfers } from '../upload/transfers';
import { Drop } from './drop';
import {
  type Filter,
  filter,
  follow,
  hasMore,
  isLive,
  jobs,
  listError,
  load,
  more,
  query,
  rename,
  renaming,
} from './jobs';
import { Row } from './row';
import { Uploads } from './uploads';

const EMPTY: Record<Filter, string> = {
  all: 'There are no matches.',
  work: 'No match is being prepared.',
  ready: 'No match is ready yet.',
  failed: 'No match has stopped.',
};

const FILTERS: [Filter, string][] = [
  ['all', 'All'],
  ['work', 'In progress'],
  ['ready', 'Ready'],
  ['failed', 'Stopped'],
];

export function MatchesPage() {
  useEffect(() => {
    void load();
    if (may('uploads:write')) findUnfinished().catch(() => undefined);
    return follow();
  }, []);
  const list = jobs.value;
  const isNew = list?.length === 0 && filter.value === 'all' && query.value === '' && transfers.value.length === 0;
  return (
    <div class="matches">
      <Heading text="Matches" hidden />
      {me.value?.usage.cap && (
        <p class="banner" role="status">
          {me.value.usage.cap.message}
        </p>
      )}
      {may('uploads:write') && <Drop isSmall={!isNew} />}
      <Uploads />
      {!isNew && <Finder />}
      {listError.value && (
        <div class="banner bad" role="alert">
          {listError.value}
          <button type="button" class="button" onClick={() => void load()}>
            Try again
          </button>
        </div>
      )}
      {!isLive.value && !listError.value && (
        <p class="banner">
          The connection is lost. What you see may be old; it is renewed when the connection is back.
        </p>
      )}
      {list === null && !listError.value && <p class="muted pad">Loading</p>}
      {list && list.length > 0 && (
        <ul class="rows" aria-label="Matches">
          {list.map((job) => (
            <Row key={job.id} job={job} />
          ))}
        </ul>
      )}
      {list?.length === 0 && !isNew && (
        <div class="empty">
          <p>{query.value ? `No match is called “${query.value}”.` : EMPTY[filter.value]}</p>
        </div>
      )}
      {isNew && <FirstSteps />}
      {renaming.value && (
        <RenameDialog<Job>
          key={renaming.value.id}
          path={`/v1/jobs/${renaming.value.id}`}
          title={renaming.value.title}
          onRenamed={rename}
          onClose={() => (renaming.value = null)}
        />
      )}
      {hasMore.value && (
        <button type="button" class="button more" onClick={() => void more()}>
          Show more
        </button>
      )}
    </div>
  );
}

let typing: ReturnType<typeof setTimeout> | undefined;

function Finder() {
  return (
    <div class="finder">
      <div class="segments" role="group" aria-label="Show">
        {FILTERS.map(([value, label]) => (
          <button
            key={value}
            type="button"
            class="segment"
            aria-pressed={filter.value === value}
            onClick={() => {
              filter.value = value;
              void load();
            }}
          >
            {label}
          </button>
        ))}
      </div>
      <label class="search">
        <Icon name="search" />
        <span class="sr-only">Search matches</span>
        <input
          type="search"
          placeholder="Search"
          value={query.value}
          onInput={(event) => {
            query.value = event.currentTarget.value;
            clearTimeout(typing);
            typing = setTimeout(() => void load(), 200);
          }}
        />
      </label>
    </div>
  );
}

function FirstSteps() {
  return (
    <ol class="steps" aria-label="How it works">
      <li>
        <strong>Add the video</strong>
        <span class="muted">
          From a phone, camcorder or drone, as it came from the camera. A cut connection costs nothing: the upload goes
          on where it stopped.
        </span>
      </li>
      <li>
        <strong>Watch at once</strong>
        <span class="muted">The first minute is ready long before the last: watch while the rest is prepared.</span>
      </li>
      <li>
        <strong>Show your players</strong>
        <span class="muted">Step frame by frame, cut clips, share a link that needs no account.</span>
      </li>
    </ol>
  );
}
