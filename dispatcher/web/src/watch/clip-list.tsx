// The clips of a match: play, download, share, delete.

import { useSignal } from '@preact/signals';
import { call, intention } from '../api/client';
import { describe } from '../api/problem';
import type { Clip } from '../api/types';
import { may } from '../session';
import { percent } from '../text/size';
import { clock } from '../text/time';
import { confirm } from '../ui/confirm';
import { Icon } from '../ui/icons';
import { type Choice, Menu } from '../ui/menu';
import { notice } from '../ui/notices';
import { RenameDialog } from '../ui/rename';
import { ClipDialog } from './clip-dialog';
import type { Match } from './match';
import { ShareDialog } from './share';

/** How often a download that is being made is looked at, in ms. */
const LOOK = 1500;

export function ClipList({ match }: { match: Match }) {
  const playing = useSignal<Clip | null>(null);
  const sharing = useSignal<Clip | null>(null);
  const renaming = useSignal<Clip | null>(null);
  const clips = match.clips.value;

  const replace = (clip: Clip) => (match.clips.value = match.clips.value.map((c) => (c.id === clip.id ? clip : c)));
  const tell = (error: unknown) => notice(describe(error), true);

  const heights = [...new Set(match.player.levels.value.map((level) => level.height))].toSorted((a, b) => b - a);

  const prepare = async (clip: Clip, height?: number) => {
    try {
      const body = height === undefined ? {} : { height };
      let now = await call<Clip>(`/v1/clips/${clip.id}/download`, { method: 'POST', body, once: intention() });
      replace(now);
      while (!match.hasLeft && (now.download?.state === 'queued' || now.download?.state === 'running')) {
        await new Promise((resolve) => setTimeout(resolve, LOOK));
        now = await call<Clip>(`/v1/clips/${clip.id}`);
        replace(now);
      }
      if (match.hasLeft) return;
      const error = now.download?.error ?? 'The file could not be made.';
      notice(
        now.download?.state === 'ready' ? `Ready to download: ${clip.title}` : error,
        now.download?.state !== 'ready',
      );
    } catch (error) {
      tell(error);
    }
  };
  const remove = async (clip: Clip) => {
    const question = {
      title: 'Delete this clip?',
      text: `“${clip.title}” and links to it stop playing. The match stays.`,
      yes: 'Delete the clip',
      no: 'Keep it',
    };
    if (!(await confirm(question))) return;
    try {
      await call<void>(`/v1/clips/${clip.id}`, { method: 'DELETE' });
      match.clips.value = match.clips.value.filter((c) => c.id !== clip.id);
      notice(`Deleted: ${clip.title}`);
      // The button that was pressed is gone with its clip.
      document.getElementById('clips-title')?.focus();
    } catch (error) {
      tell(error);
    }
  };

  return (
    <section class="panel" aria-labelledby="clips-title">
      <h2 id="clips-title" class="panel-title" tabIndex={-1}>
        Clips
      </h2>
      {clips.length === 0 && (
        <p class="muted">No clips yet. Pause where something happens, mark start and end, and save.</p>
      )}
      <ul class="clips">
        {clips.map((clip) => {
          const state = clip.download?.state;
          const choices: Choice[] = [
            { label: 'Show in the match', onSelect: () => void match.player.seek(clip.start_s) },
          ];
          if (may('clips:write')) {
            choices.push({ label: 'Share', onSelect: () => (sharing.value = clip) });
            choices.push({ label: 'Rename', onSelect: () => (renaming.value = clip) });
            if (heights.length < 2 && (state === 'none' || state === 'failed'))
              choices.push({ label: 'Make a file to download', onSelect: () => void prepare(clip) });
            if (heights.length > 1 && state !== undefined)
              for (const height of heights.filter(
                (h) => state === 'none' || state === 'failed' || h !== clip.download?.height,
              ))
                choices.push({ label: `Make a file, ${height}p`, onSelect: () => void prepare(clip, height) });
            choices.push({ label: 'Delete', isDanger: true, onSelect: () => void remove(clip) });
          }
          return (
            <li key={clip.id} class="clip" data-clip={clip.id}>
              <button
                type="button"
                class="icon-button"
                aria-label={`Play clip ${clip.title}`}
                title="Play"
                onClick={() => (playing.value = clip)}
              >
                <Icon name="play" />
              </button>
              <div class="clip-text">
                <p class="clip-title">{clip.title}</p>
                <p class="muted small mono">
                  {clock(clip.start_s)} to {clock(clip.end_s)}
                  {(state === 'queued' || state === 'running') && (
                    <span class="clip-making">
                      , making the file{state === 'running' && ` (${percent(clip.download?.progress ?? 0)})`}
                    </span>
                  )}
                </p>
              </div>
              {state === 'ready' && clip.download?.url && (
                <a
                  class="icon-button"
                  href={clip.download.url}
                  download={`${clip.title}.mp4`}
                  aria-label={`Download ${clip.title}`}
                  title="Download"
                >
                  <Icon name="download" />
                </a>
              )}
              <Menu label={`Actions for clip ${clip.title}`} choices={choices}>
                <Icon name="more" />
              </Menu>
            </li>
          );
        })}
      </ul>
      {playing.value && (
        <ClipDialog
          clip={playing.value}
          frameRate={match.job.value?.frame_rate ?? null}
          onOpen={() => match.player.pause()}
          onClose={() => (playing.value = null)}
        />
      )}
      {sharing.value && (
        <ShareDialog
          path={`/v1/clips/${sharing.value.id}/share`}
          title={sharing.value.title}
          onClose={() => (sharing.value = null)}
        />
      )}
      {renaming.value && (
        <RenameDialog<Clip>
          path={`/v1/clips/${renaming.value.id}`}
          title={renaming.value.title}
          onRenamed={replace}
          onClose={() => (renaming.value = null)}
        />
      )}
    </section>
  );
}
