// What a shared link shows: a match or a clip, without a key.

import { useSignal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { call } from '../api/client';
import { describe } from '../api/problem';
import type { Playback, SharedPlayback } from '../api/types';
import { Heading } from '../ui/heading';
import { ClipStage } from './clip-dialog';
import { Player } from './player';
import { Stage } from './stage';
import { type Thumbnail, parseThumbnails } from './thumbnails';

/** How often a match that is still growing is asked about, in ms: events need a key. */
const LOOK = 4000;

export function SharedPage({ token }: { token: string }) {
  const shared = useSignal<SharedPlayback | null>(null);
  const error = useSignal<string | null>(null);
  const thumbnails = useSignal<Thumbnail[]>([]);
  const player = useMemo(() => new Player(), []);

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isOver = false;
    const again = () => {
      if (!isOver) timer = setTimeout(() => void look(), LOOK);
    };
    const look = async () => {
      try {
        const found = await call<SharedPlayback>(`/v1/shared/${encodeURIComponent(token)}`);
        if (isOver) return;
        shared.value = found;
        if (found.offset_s === null) feed(player, found);
        if (found.thumbnails_url) {
          const base = new URL(found.thumbnails_url, location.href).href;
          const response = await fetch(base);
          if (response.ok) thumbnails.value = parseThumbnails(await response.text(), base);
        }
        if (!found.complete) again();
      } catch (problem) {
        if (shared.value === null) error.value = describe(problem);
        else again();
      }
    };
    void look();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [token]);

  const found = shared.value;
  if (error.value) {
    return (
      <div class="empty">
        <Heading text="This link does not play" />
        <p>{error.value}</p>
        <p class="muted">It may have ended. Ask whoever sent it for a new one.</p>
      </div>
    );
  }
  if (!found) return <p class="muted pad">Loading</p>;
  return (
    <div class="watch shared">
      <div class="watch-head">
        <Heading text={found.title} />
      </div>
      {found.url && found.offset_s !== null && found.length_s !== null ? (
        <ClipStage
          clip={{ title: found.title, url: found.url, offset_s: found.offset_s, length_s: found.length_s }}
          frameRate={found.frame_rate}
        />
      ) : found.url ? (
        <Stage
          player={player}
          title={found.title}
          poster={found.poster_url}
          thumbnails={thumbnails.value}
          points={{ start: null, end: null }}
          clips={[]}
          onPoint={null}
          onBeyond={null}
        />
      ) : (
        <p class="muted pad">This match cannot be watched yet. It starts here as soon as it can.</p>
      )}
    </div>
  );
}

function feed(player: Player, playback: Playback): void {
  if (!playback.url) return;
  player.open({
    url: playback.url,
    duration_s: playback.duration_ms === null ? null : playback.duration_ms / 1000,
    watchable_s: playback.watchable_ms / 1000,
    isComplete: playback.complete,
    frameRate: playback.frame_rate,
  });
}
