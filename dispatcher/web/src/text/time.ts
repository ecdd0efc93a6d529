// Times in words and figures.

/** `1:02:03` or `2:03`; with `precise` also hundredths, `2:03.48`. */
export function clock(seconds: number, precise = false): string {
  const safe = Number.isFinite(seconds) ? Math.max(0, seconds) : 0;
  const hundredths = Math.floor(safe * 100 + 1e-6);
  const whole = Math.floor(hundredths / 100);
  const two = (n: number) => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const text = h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  return precise ? `${text}.${two(hundredths % 100)}` : text;
}

/** Seconds from `1:02:03.5`, `2:03` or `75`; null when it is no time. */
export function parseClock(text: string): number | null {
  const match = /^\s*(?:(?:(\d+):)?(\d{1,3}):)?(\d{1,5}(?:[.,]\d{1,3})?)\s*$/.exec(text);
  if (!match) return null;
  const [, h, m, s = ''] = match;
  const seconds = Number(s.replace(',', '.'));
  if (m !== undefined && seconds >= 60) return null;
  if (h !== undefined && Number(m) >= 60) return null;
  return Number(h ?? 0) * 3600 + Number(m ?? 0) * 60 + seconds;
}

/** For screen readers: `1 hour 2 minutes 3 seconds`. */
export function spoken(seconds: number): string {
  const whole = Math.max(0, Math.floor(Number.isFinite(seconds) ? seconds : 0));
  const parts = [
    [Math.floor(whole / 3600), 'hour'],
    [Math.floor(whole / 60) % 60, 'minute'],
    [whole % 60, 'second'],
  ] as const;
  const said = parts.filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}${n === 1 ? '' : 's'}`);
  return said.length > 0 ? said.join(' ') : '0 seconds';
}

/** How long something will take, roughly: `about 5 min`. */
export function roughly(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds > 48 * 3600) return 'a long time';
  if (seconds < 10) return 'a few seconds';
  if (seconds < 55) return `about ${Math.ceil(seconds / 10) * 10} s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `about ${minutes} min`;
  return `about ${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** When something happened, seen from now: `just now`, `12 min ago`, `14:05`, `3 Nov`. */
export function ago(iso: string, now = Date.now()): string {
  const at = Date.parse(iso);
  if (Number.isNaN(at)) return '';
  const seconds = (now - at) / 1000;
  if (seconds < 45) return 'just now';
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  const date = new Date(at);
  if (seconds < 20 * 3600)
    return new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' }).format(date);
  const sameYear = date.getFullYear() === new Date(now).getFullYear();
  const style: Intl.DateTimeFormatOptions = {
    day: 'numeric',
    month: 'short',
    ...(sameYear ? {} : { year: 'numeric' }),
  };
  return new Intl.DateTimeFormat(undefined, style).format(date);
}

/** Number of the frame on screen at a time, and the middle of a frame: seeking there meets it whatever the rounding. */
export function frameAt(seconds: number, rate: { num: number; den: number }): number {
  return Math.floor((seconds * rate.num) / rate.den + 1e-3);
}

export function middleOfFrame(frame: number, rate: { num: number; den: number }): number {
  return ((Math.max(0, frame) + 0.5) * rate.den) / rate.num;
}
