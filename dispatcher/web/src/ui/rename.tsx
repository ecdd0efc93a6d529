// Asks for another name of a match or a clip.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { call } from '../api/client';
import { describe } from '../api/problem';
import { Dialog } from './dialog';
import { notice } from './notices';

interface Props<T> {
  /** Where it is changed. */
  path: string;
  title: string;
  onRenamed: (renamed: T) => void;
  onClose: () => void;
}

export function RenameDialog<T>({ path, title, onRenamed, onClose }: Props<T>) {
  const error = useSignal<string | null>(null);
  const isBusy = useSignal(false);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.select(), []);

  const refuse = (why: string) => {
    // Closed meanwhile: then it is told on the page.
    if (!input.current) return notice(why, true);
    error.value = why;
    input.current.focus();
  };
  const save = async (event: Event) => {
    event.preventDefault();
    const wanted = input.current?.value.trim() ?? '';
    if (wanted === '') return refuse('Give it a name.');
    isBusy.value = true;
    try {
      onRenamed(await call<T>(path, { method: 'PATCH', body: { title: wanted } }));
      if (input.current) onClose();
    } catch (problem) {
      refuse(describe(problem));
    } finally {
      isBusy.value = false;
    }
  };

  return (
    <Dialog title={`Rename “${title}”`} onClose={onClose}>
      <form class="rename" onSubmit={(event) => void save(event)} noValidate>
        <label class="field">
          <span>Name</span>
          <input
            ref={input}
            class="input"
            name="title"
            defaultValue={title}
            autofocus
            maxLength={500}
            aria-invalid={error.value !== null}
            aria-describedby={error.value === null ? undefined : 'rename-error'}
          />
        </label>
        {error.value !== null && (
          <p id="rename-error" class="error-text" role="alert">
            {error.value}
          </p>
        )}
        <div class="actions">
          <button type="submit" class="button primary" disabled={isBusy.value}>
            Save
          </button>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}
