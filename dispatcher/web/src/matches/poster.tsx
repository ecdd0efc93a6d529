// The picture of a match in the list. Asked for when the match can be watched and the row is near the screen.

import { useEffect, useRef, useState } from 'preact/hooks';
import { call } from '../api/client';
import type { Job, Playback } from '../api/types';
import { clock } from '../text/time';

const known = new Map<string, string>();

export function Poster({ job }: { job: Job }) {
  const box = useRef<HTMLDivElement>(null);
  const [url, setUrl] = useState(known.get(job.id) ?? null);
  const [isBroken, setBroken] = useState(false);
  useEffect(() => setBroken(false), [job.complete]);
  useEffect(() => {
    if (url || isBroken || !job.playable || !box.current) return undefined;
    const seen = new IntersectionObserver(
      (entries) => {
        if (!entries.some((e) => e.isIntersecting)) return;
        seen.disconnect();
        call<Playback>(`/v1/jobs/${job.id}/playback`).then(
          (playback) => {
            if (!playback.poster_url) return;
            setUrl(playback.poster_url);
          },
          () => undefined, // A row without a picture is still a row.
        );
      },
      { rootMargin: '300px' },
    );
    seen.observe(box.current);
    return () => seen.disconnect();
    // Asked again once it is complete: the poster may come last.
  }, [job.id, job.playable, job.complete, url, isBroken]);
  /** An address that worked may have ended since. A fresh one that fails is not asked for again and again. */
  const failed = () => {
    setBroken(!known.delete(job.id));
    setUrl(null);
  };
  return (
    <div class="poster" ref={box}>
      {url && <img src={url} alt="" loading="lazy" onLoad={() => known.set(job.id, url)} onError={failed} />}
      {job.duration_ms !== null && <span class="poster-time">{clock(job.duration_ms / 1000)}</span>}
    </div>
  );
}
