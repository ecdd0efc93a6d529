import { expect, it, vi } from 'vitest';

const kept = new Map<string, string>();
vi.stubGlobal('localStorage', {
  getItem: (name: string) => kept.get(name) ?? null,
  setItem: (name: string, value: string) => kept.set(name, value),
  removeItem: (name: string) => kept.delete(name),
});
vi.stubGlobal('addEventListener', () => undefined);
const { key, keyRefused, onOtherPerson, signIn, signInNote, signOut } = await import('./session');

it('has what one person saw forgotten when another signs in, and when nobody is', () => {
  signIn('tl_rovers', null);
  const forget = vi.fn();
  onOtherPerson(forget);
  expect(forget).not.toHaveBeenCalled();
  signIn('tl_rovers', null);
  expect(forget).not.toHaveBeenCalled();
  signIn('tl_united', null);
  signOut();
  expect(forget).toHaveBeenCalledTimes(2);
});

it('signs out who uses a refused key, and nobody who has another one by now', () => {
  signIn('tl_new', null);
  keyRefused('tl_old');
  expect(key.value).toBe('tl_new');
  keyRefused('tl_new');
  expect([key.value, kept.size]).toEqual([null, 0]);
  expect(signInNote.value).toContain('no longer valid');
});
