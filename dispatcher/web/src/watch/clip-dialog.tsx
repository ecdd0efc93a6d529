// Plays one clip.

import { useEffect, useRef } from 'preact/hooks';
import { useSignal } from '@preact/signals';
import type { Clip } from '../api/types';
import { clock } from '../text/time';
import { Dialog } from '../ui/dialog';
import { type Engine, openEngine } from './engine';

export function ClipDialog({ clip, onOpen, onClose }: { clip: Clip; onOpen: () => void; onClose: () => void }) {
  useEffect(onOpen, []);
  return (
    <Dialog title={clip.title} onClose={onClose} wide>
      <ClipVideo clip={clip} />
      <p class="muted small mono">
        {clock(clip.start_s)} to {clock(clip.end_s)}
      </p>
    </Dialog>
  );
}

export interface ClipSource {
  title: string;
  url: string;
  offset_s: number;
  length_s: number;
}

/** The clip from its exact start to its exact end: its playlist is made of whole segments and holds a little more. */
export function ClipVideo({ clip }: { clip: ClipSource }) {
  const ref = useRef<HTMLVideoElement>(null);
  const error = useSignal<string | null>(null);
  useEffect(() => {
    const video = ref.current;
    if (!video) return undefined;
    const from = clip.offset_s;
    let offset = 0;
    let engine: Engine | null = null;
    let isGone = false;
    const events = {
      onLevels: () => undefined,
      onLevel: () => undefined,
      onOffset: (seconds: number) => (offset = seconds),
      onExpired: () => (error.value = 'This link is no longer good. Reload the page.'),
      onFailure: (message: string) => (error.value = message),
    };
    openEngine(video, events).then(
      (opened) => {
        if (isGone) return opened.destroy();
        engine = opened;
        engine.load(new URL(clip.url, location.href).href, from);
        return video.play().catch(() => undefined);
      },
      (reason: unknown) => (error.value = reason instanceof Error ? reason.message : String(reason)),
    );
    const onTime = () => {
      if (video.currentTime >= offset + from + clip.length_s) video.pause();
    };
    // Played again from its end, it begins anew.
    const onPlay = () => {
      if (video.currentTime >= offset + from + clip.length_s - 0.05) video.currentTime = offset + from;
    };
    video.addEventListener('timeupdate', onTime);
    video.addEventListener('play', onPlay);
    return () => {
      isGone = true;
      video.removeEventListener('timeupdate', onTime);
      video.removeEventListener('play', onPlay);
      engine?.destroy();
    };
  }, [clip.url, clip.offset_s, clip.length_s]);
  return (
    <>
      <video ref={ref} class="clip-video" controls playsInline aria-label={`Clip: ${clip.title}`} />
      {error.value && (
        <p class="error-text" role="alert">
          {error.value}
        </p>
      )}
    </>
  );
}
