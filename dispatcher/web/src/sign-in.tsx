// Signing in with a key.

import { useRef, useState } from 'preact/hooks';
import { call } from './api/client';
import { describe } from './api/problem';
import type { Me } from './api/types';
import { signIn, signInNote } from './session';
import { Heading } from './ui/heading';
import { Mark } from './ui/icons';

export function SignIn() {
  const [value, setValue] = useState('');
  const [error, setError] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const input = useRef<HTMLInputElement>(null);

  const submit = async (event: Event) => {
    event.preventDefault();
    const entered = value.trim();
    if (entered === '') {
      setError('Paste the key that your club was given.');
      input.current?.focus();
      return;
    }
    setBusy(true);
    setError(null);
    try {
      signIn(entered, await call<Me>('/v1/me', { as: entered }));
    } catch (problem) {
      setError(describe(problem));
      input.current?.focus();
    } finally {
      setBusy(false);
    }
  };

  const message = error ?? signInNote.value;
  return (
    <form class="sign-in" onSubmit={submit} noValidate>
      <Mark />
      <Heading text="Sign in" />
      <p class="muted">Match video, ready to watch while it is still being prepared.</p>
      <label class="field">
        <span>Access key</span>
        <input
          ref={input}
          class="input mono"
          type="password"
          name="key"
          autocomplete="current-password"
          autocapitalize="off"
          spellcheck={false}
          placeholder="tl_…"
          value={value}
          aria-invalid={error !== null}
          aria-describedby={message ? 'sign-in-message' : undefined}
          onInput={(event) => setValue(event.currentTarget.value)}
        />
      </label>
      {message && (
        <p id="sign-in-message" class="error-text" role="alert">
          {message}
        </p>
      )}
      <button type="submit" class="button primary" disabled={isBusy}>
        {isBusy ? 'Signing in' : 'Sign in'}
      </button>
      <p class="muted small">The key stays in this browser. Whoever runs Touchline for your club can make one.</p>
    </form>
  );
}
