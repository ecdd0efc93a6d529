import { expect, it } from 'vitest';
import { fingerprint } from './fingerprint';

const MIB = 1 << 20;

function file(change?: { at: number; to: number }, name = 'final.mp4', lastModified = 7): File {
  const data = new Uint8Array(3 * MIB).map((_, i) => i % 251);
  if (change) data[change.at] = change.to;
  return new File([data], name, { lastModified });
}

it('knows the same file again', async () => {
  expect(await fingerprint(file())).toBe(await fingerprint(file()));
});

it('tells files apart by name, time, beginning and end', async () => {
  const all = await Promise.all(
    [
      file(),
      file(undefined, 'semi.mp4'),
      file(undefined, 'final.mp4', 8),
      file({ at: 0, to: 9 }),
      file({ at: 3 * MIB - 1, to: 9 }),
    ].map(fingerprint),
  );
  expect(new Set(all).size).toBe(all.length);
});

it('reads files that are shorter than a MiB', async () => {
  expect(await fingerprint(new File(['x'], 'x.mp4', { lastModified: 1 }))).toMatch(/^v1-1-1-/);
});
