// What a file that is being sent will cost, asked before its job exists.

import { call } from '../api/client';
import type { Quote } from '../api/types';

/** A browser that cannot open a file says so soon; one that hangs is not waited for. */
const PATIENCE_MS = 5000;

/** Length and height of a video as the browser reads them; nothing for what it does not open. */
export function look(file: File): Promise<{ duration_s?: number; height?: number }> {
  return new Promise((resolve) => {
    const video = document.createElement('video');
    const url = URL.createObjectURL(file);
    const end = () => {
      clearTimeout(timer);
      video.onloadedmetadata = video.onerror = null;
      const { duration, videoWidth, videoHeight } = video;
      const height = Math.min(videoWidth, videoHeight);
      resolve({
        ...(Number.isFinite(duration) && duration > 0 ? { duration_s: Math.min(duration, 28_800) } : {}),
        ...(height >= 16 ? { height: Math.min(height, 4320) } : {}),
      });
      // The browser lets go of the file before its address ends: what it still reads would fail.
      video.removeAttribute('src');
      video.load();
      URL.revokeObjectURL(url);
    };
    const timer = setTimeout(end, PATIENCE_MS);
    video.onloadedmetadata = end;
    video.onerror = end;
    video.preload = 'metadata';
    video.src = url;
  });
}

export async function estimate(file: File): Promise<Quote> {
  const body = { size_bytes: Math.max(1, file.size), ...(await look(file)) };
  return call<Quote>('/v1/quote', { method: 'POST', body });
}
