// Who is signed in: a key in localStorage, and what the API says about it.

import { computed, signal } from '@preact/signals';
import type { Me } from './api/types';

const PLACE = 'touchline.key';

export const key = signal<string | null>(localStorage.getItem(PLACE));
export const me = signal<Me | null>(null);
/** Why the person has to sign in again. */
export const signInNote = signal<string | null>(null);

export const isOperator = computed(() => me.value?.scopes.includes('ops') ?? false);

/** Whether the key may do this; before it is known, everything is tried. */
export function may(scope: string): boolean {
  const scopes = me.value?.scopes;
  return scopes === undefined || scopes.includes(scope) || scopes.includes('ops');
}

export function signIn(newKey: string, who: Me | null): void {
  localStorage.setItem(PLACE, newKey);
  signInNote.value = null;
  me.value = who;
  key.value = newKey;
}

export function signOut(note: string | null = null): void {
  localStorage.removeItem(PLACE);
  signInNote.value = note;
  me.value = null;
  key.value = null;
}

/** The API knows a key no longer: signs out, unless another one is in use by now. */
export function keyRefused(refused: string): void {
  if (key.peek() === refused) signOut('The key is no longer valid. Sign in again.');
}

/** Has `forget` called whenever somebody else, or nobody, is signed in: what one club sees is not the next one's. */
export function onOtherPerson(forget: () => void): void {
  let known = key.peek();
  key.subscribe((now) => {
    if (now === known) return;
    known = now;
    forget();
  });
}

/** Takes a key out of the address (`/#key=tl_…`) before anything else can see it. */
export function takeKeyFromAddress(): void {
  const match = /^#key=(.+)$/.exec(location.hash);
  if (!match?.[1]) return;
  history.replaceState(null, '', location.pathname + location.search);
  signIn(decodeURIComponent(match[1]), null);
}

// Another tab signed in or out.
addEventListener('storage', (event) => {
  if (event.key !== PLACE) return;
  me.value = null;
  key.value = event.newValue;
});
