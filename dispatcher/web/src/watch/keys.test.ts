import { expect, it, vi } from 'vitest';

const kept = new Map<string, string>();
vi.stubGlobal('localStorage', {
  getItem: (name: string) => kept.get(name) ?? null,
  setItem: (name: string, value: string) => kept.set(name, value),
  removeItem: (name: string) => kept.delete(name),
});
vi.stubGlobal('Element', class {});
const { SHORTCUTS, onKey, setKeysOn } = await import('./keys');

const press = (key: string) => {
  const goTo = vi.fn();
  const deeds = { goTo } as unknown as Parameters<typeof onKey>[1];
  const hasActed = onKey({ key, target: null } as KeyboardEvent, deeds);
  return [hasActed, goTo.mock.calls.length];
};

it('acts on single keys, until they are turned off', () => {
  expect(press('g')).toEqual([true, 1]);
  setKeysOn(false);
  expect([press('g'), kept.size]).toEqual([[false, 0], 1]);
  setKeysOn(true);
  expect([press('G'), kept.size]).toEqual([[true, 1], 0]);
});

it('has no key twice', () => {
  const keys = SHORTCUTS.flatMap((shortcut) => shortcut.keys);
  expect(new Set(keys).size).toBe(keys.length);
});
