// The picture with its line and controls: what goes full screen together.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Clip } from '../api/types';
import { clock } from '../text/time';
import { Icon } from '../ui/icons';
import { Controls } from './controls';
import { Help } from './help';
import { onKey } from './keys';
import type { Player } from './player';
import type { Thumbnail } from './thumbnails';
import { Timeline } from './timeline';

interface Props {
  player: Player;
  title: string;
  poster: string | null;
  thumbnails: readonly Thumbnail[];
  points: { start: number | null; end: number | null };
  clips: readonly Clip[];
  /** Null where no clips can be made. */
  onPoint: ((which: 'start' | 'end') => void) | null;
  /** Null where nothing can be asked for. */
  onBeyond: ((at: number) => void) | null;
}

export function Stage({ player, title, poster, thumbnails, points, clips, onPoint, onBeyond }: Props) {
  const stage = useRef<HTMLDivElement>(null);
  const video = useRef<HTMLVideoElement>(null);
  const isHelpOpen = useSignal(false);
  const isFullscreen = useSignal(false);

  const fullscreen = () => {
    const element = stage.current;
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (element?.requestFullscreen) element.requestFullscreen().catch(() => undefined);
    // iPhones know full screen for the video alone.
    else
      (video.current as (HTMLVideoElement & { webkitEnterFullscreen?: () => void }) | null)?.webkitEnterFullscreen?.();
  };

  useEffect(() => {
    if (video.current) player.attach(video.current);
    return () => player.detach();
  }, [player]);

  useEffect(() => {
    const changed = () => (isFullscreen.value = document.fullscreenElement === stage.current);
    document.addEventListener('fullscreenchange', changed);
    return () => document.removeEventListener('fullscreenchange', changed);
  }, []);

  useEffect(() => {
    const listener = (event: KeyboardEvent) => {
      // An open dialog has the keyboard for itself, and for the player that is in it.
      const dialog = document.querySelector('dialog[open]');
      if (dialog && !dialog.contains(stage.current)) return;
      const deeds = {
        player,
        fullscreen,
        setPoint: onPoint ?? (() => undefined),
        canClip: onPoint !== null,
        help: () => (isHelpOpen.value = true),
        goTo: () => stage.current?.querySelector<HTMLButtonElement>('button.times')?.click(),
      };
      if (onKey(event, deeds)) event.preventDefault();
    };
    addEventListener('keydown', listener);
    return () => removeEventListener('keydown', listener);
  });

  return (
    <div class="stage" ref={stage}>
      <div class="picture" onClick={() => player.toggle()} onDblClick={fullscreen}>
        <video
          ref={video}
          class="video"
          playsInline
          preload="auto"
          aria-label={title}
          {...(poster ? { poster } : {})}
        />
        <Still canvas={player.still.value} />
        <Overlay player={player} />
      </div>
      <div class="desk">
        <Timeline player={player} thumbnails={thumbnails} points={points} clips={clips} onBeyond={onBeyond} />
        <Controls
          player={player}
          isFullscreen={isFullscreen.value}
          onFullscreen={fullscreen}
          onBeyond={onBeyond}
          onHelp={() => (isHelpOpen.value = true)}
        />
      </div>
      {isHelpOpen.value && <Help canClip={onPoint !== null} onClose={() => (isHelpOpen.value = false)} />}
    </div>
  );
}

function Still({ canvas }: { canvas: HTMLCanvasElement | null }) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    ref.current?.replaceChildren(...(canvas ? [canvas] : []));
  }, [canvas]);
  return <div class="still" ref={ref} aria-hidden="true" />;
}

/** Why the picture stands still. */
function Overlay({ player }: { player: Player }) {
  if (player.error.value) {
    return (
      <div class="overlay" role="alert">
        <p>{player.error.value}</p>
        <button
          type="button"
          class="button"
          onClick={(event) => {
            event.stopPropagation();
            player.retry();
          }}
        >
          Try again
        </button>
      </div>
    );
  }
  if (player.isWaiting.value && player.isAtEdge.value) {
    return (
      <p class="overlay-note" role="status">
        You are up to date at {clock(player.watchable.value)}. It goes on with the next seconds.
      </p>
    );
  }
  // The controls have the button that keyboards and screen readers use; this one is for the pointer.
  if (player.isFresh.value && player.isPaused.value && player.source.value) {
    return (
      <div class="overlay-play" aria-hidden="true">
        <Icon name="play" />
      </div>
    );
  }
  if (player.isWaiting.value) return <div class="spinner" role="status" aria-label="Loading" />;
  return null;
}
