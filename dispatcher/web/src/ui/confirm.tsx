// Asks before something that cannot be taken back.

import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { Dialog } from './dialog';

interface Question {
  title: string;
  text: string;
  /** What the buttons say. */
  yes: string;
  no: string;
}

interface Asked extends Question {
  answer: (isYes: boolean) => void;
}

const asked = signal<Asked | null>(null);

/** Resolves to whether the person agrees, when the dialog is gone and focus back where it was; closing it is a no. */
export function confirm(question: Question): Promise<boolean> {
  return new Promise((resolve) => (asked.value = { ...question, answer: resolve }));
}

/** Where the question appears; once on every page. */
export function Confirmation() {
  const question = asked.value;
  return question && <Ask key={question} question={question} />;
}

function Ask({ question }: { question: Asked }) {
  const isYes = useRef(false);
  useEffect(() => () => question.answer(isYes.current), []);
  const close = () => {
    if (asked.peek() === question) asked.value = null;
  };
  return (
    <Dialog title={question.title} onClose={close}>
      <p>{question.text}</p>
      <div class="actions">
        <button type="button" class="button" autofocus onClick={close}>
          {question.no}
        </button>
        <button
          type="button"
          class="button danger"
          onClick={() => {
            isYes.current = true;
            close();
          }}
        >
          {question.yes}
        </button>
      </div>
    </Dialog>
  );
}
