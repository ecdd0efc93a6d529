// Pictures for the scrub bar: WebVTT cues that name a rectangle of an image (`strip.jpg#xywh=x,y,w,h`).

export interface Thumbnail {
  start_s: number;
  end_s: number;
  image: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

const TIME = /^(?:(\d+):)?(\d{2}):(\d{2})\.(\d{3})$/;

function seconds(text: string): number | null {
  const match = TIME.exec(text);
  if (!match) return null;
  const [, h, m, s, ms] = match;
  return Number(h ?? 0) * 3600 + Number(m) * 60 + Number(s) + Number(ms) / 1000;
}

/** The cues in order of time; cues that make no sense are left out. `base` is the address of the file itself. */
export function parseThumbnails(text: string, base: string): Thumbnail[] {
  const found: Thumbnail[] = [];
  for (const block of text.replace(/\r\n?/g, '\n').split(/\n{2,}/)) {
    const lines = block.split('\n');
    const at = lines.findIndex((line) => line.includes('-->'));
    if (at < 0) continue;
    const [from, to] = (lines[at] ?? '').split('-->');
    const start_s = seconds((from ?? '').trim());
    const end_s = seconds((to ?? '').trim().split(/\s/)[0] ?? '');
    const place = /^(.*)#xywh=(\d+),(\d+),(\d+),(\d+)$/.exec((lines[at + 1] ?? '').trim());
    if (start_s === null || end_s === null || !place?.[1]) continue;
    const [x, y, width, height] = place.slice(2).map(Number) as [number, number, number, number];
    found.push({ start_s, end_s, image: new URL(place[1], base).href, x, y, width, height });
  }
  return found.sort((a, b) => a.start_s - b.start_s);
}

/** The picture that stands for a moment; null before the first and in gaps. */
export function thumbnailAt(list: readonly Thumbnail[], at: number): Thumbnail | null {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((list[middle]?.start_s ?? Infinity) <= at) low = middle + 1;
    else high = middle;
  }
  const found = list[low - 1];
  return found && at < found.end_s ? found : null;
}
