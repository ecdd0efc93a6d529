// The line of the match: played, buffered, watchable, and hatched what is not there yet.

import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import type { Clip } from '../api/types';
import { clock, spoken } from '../text/time';
import type { Player } from './player';
import { spans, timeAt } from './ranges';
import { type Thumbnail, thumbnailAt } from './thumbnails';

interface Props {
  player: Player;
  thumbnails: readonly Thumbnail[];
  points: { start: number | null; end: number | null };
  clips: readonly Clip[];
  /** Somebody wants to see a place that is not there yet; null where nothing can be asked for. */
  onBeyond: ((at: number) => void) | null;
}

export function Timeline({ player, thumbnails, points, clips, onBeyond }: Props) {
  const track = useRef<HTMLDivElement>(null);
  const hover = useSignal<number | null>(null);
  const isDragging = useSignal(false);
  const whole = player.duration.value;
  const isComplete = player.source.value?.isComplete ?? false;
  const watchable = isComplete ? whole : player.watchable.value;
  // A later minute that was put first: there is a gap before it.
  const starts = player.source.value?.starts_s ?? 0;
  const elsewhere = player.source.value?.elsewhere ?? null;
  const time = Math.min(player.time.value, whole || player.time.value);
  const share = (t: number) => `${whole > 0 ? Math.min(100, Math.max(0, (t / whole) * 100)) : 0}%`;

  const at = (event: PointerEvent) => {
    const box = track.current?.getBoundingClientRect();
    return box ? timeAt(event.clientX, box.left, box.width, whole) : 0;
  };
  const goTo = (t: number, isFinal: boolean) => {
    if (!player.seek(t) && isFinal) onBeyond?.(t);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageDown: -60, PageUp: 60 }[event.key];
    if (by !== undefined) player.skip(by);
    else if (event.key === 'Home') player.seek(0);
    else if (event.key === 'End') player.skip(Infinity);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const isUnready = hover.value !== null && !isComplete && !player.isWatchable(hover.value);
  const reach = starts > 0 ? `watchable from ${spoken(starts)} to` : 'watchable up to';
  const valueText = `${spoken(time)} of ${spoken(whole)}${isComplete ? '' : `, ${reach} ${spoken(watchable)}`}`;
  const isMarked = points.start !== null || points.end !== null;
  return (
    <div
      class={isDragging.value ? 'timeline dragging' : 'timeline'}
      ref={track}
      role="slider"
      tabIndex={0}
      aria-label="Place in the match"
      aria-valuemin={0}
      aria-valuemax={Math.floor(whole)}
      aria-valuenow={Math.floor(time)}
      aria-valuetext={valueText}
      onKeyDown={onKeyDown}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        isDragging.value = true;
        hover.value = at(event);
        goTo(at(event), false);
      }}
      onPointerMove={(event) => {
        hover.value = at(event);
        if (isDragging.value) goTo(at(event), false);
      }}
      onPointerUp={(event) => {
        if (!isDragging.value) return;
        isDragging.value = false;
        goTo(at(event), true);
        if (event.pointerType !== 'mouse') hover.value = null;
      }}
      onPointerCancel={() => {
        isDragging.value = false;
        hover.value = null;
      }}
      onPointerLeave={() => {
        if (!isDragging.value) hover.value = null;
      }}
    >
      <div class="timeline-line">
        <div class="timeline-watchable" style={{ left: share(starts), width: share(watchable - starts) }} />
        {elsewhere && (
          <div
            class="timeline-watchable"
            style={{ left: share(elsewhere.from_s), width: share(elsewhere.to_s - elsewhere.from_s) }}
          />
        )}
        {spans(player.buffered.value, whole).map((span) => (
          <div
            key={span.from}
            class="timeline-buffered"
            style={{ left: `${span.from}%`, width: `${span.to - span.from}%` }}
          />
        ))}
        <div class="timeline-played" style={{ left: share(starts), width: share(time - starts) }} />
      </div>
      {clips.map((clip) => (
        <div
          key={clip.id}
          class="timeline-clip"
          style={{ left: share(clip.start_s), width: share(clip.end_s - clip.start_s) }}
        />
      ))}
      {isMarked && (
        <div
          class={`timeline-mark${points.start === null ? ' open-start' : ''}${points.end === null ? ' open-end' : ''}`}
          style={{
            left: share(points.start ?? points.end ?? 0),
            width: points.start !== null && points.end !== null ? share(points.end - points.start) : '0%',
          }}
        />
      )}
      <div class="timeline-head" style={{ left: share(time) }} />
      {player.wanted.value !== null && <div class="timeline-wanted" style={{ left: share(player.wanted.value) }} />}
      {hover.value !== null && whole > 0 && (
        <Preview
          at={hover.value}
          left={share(hover.value)}
          isUnready={isUnready}
          canAsk={onBeyond !== null}
          thumbnail={thumbnailAt(thumbnails, hover.value)}
        />
      )}
    </div>
  );
}

function Preview({
  at,
  left,
  isUnready,
  canAsk,
  thumbnail,
}: {
  at: number;
  left: string;
  isUnready: boolean;
  canAsk: boolean;
  thumbnail: Thumbnail | null;
}) {
  return (
    <div class="preview" style={{ '--at': left }}>
      {thumbnail && !isUnready && (
        <div
          class="preview-picture"
          style={{
            width: `${thumbnail.width}px`,
            height: `${thumbnail.height}px`,
            backgroundImage: `url("${thumbnail.image.replaceAll('"', '%22')}")`,
            backgroundPosition: `-${thumbnail.x}px -${thumbnail.y}px`,
          }}
        />
      )}
      <span class="preview-time">{clock(at)}</span>
      {isUnready && <span class="preview-note">Not ready yet.{canAsk && ' Choose it to have it prepared first.'}</span>}
    </div>
  );
}
