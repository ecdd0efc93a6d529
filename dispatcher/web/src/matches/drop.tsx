// Where files come in: dropped anywhere on the page, or chosen.

import { useEffect, useRef, useState } from 'preact/hooks';
import { send } from '../upload/transfers';
import { Icon } from '../ui/icons';

const ACCEPT = 'video/*,.mts,.m2ts,.ts,.mxf,.mkv,.insv,.lrv,.360';

export function Drop({ isSmall }: { isSmall: boolean }) {
  const input = useRef<HTMLInputElement>(null);
  const isOver = useDrop();
  return (
    <section class={`drop${isSmall ? ' compact' : ''}${isOver ? ' over' : ''}`} aria-labelledby="drop-title">
      <svg class="drop-pitch" viewBox="0 0 600 160" preserveAspectRatio="xMidYMid slice" aria-hidden="true">
        <path d="M300 0v160M300 40a40 40 0 1 1 0 80 40 40 0 1 1 0-80M0 30h70v100H0M600 30h-70v100h70M0 60h26v40H0M600 60h-26v40h26" />
      </svg>
      <div class="drop-text">
        <h2 id="drop-title">{isOver ? 'Let go to upload' : 'Add a match'}</h2>
        <p class="muted">
          <span class="with-mouse">Drop video files here. </span>You can watch the first minute while the rest is
          prepared.
        </p>
      </div>
      <button type="button" class="button primary" onClick={() => input.current?.click()}>
        <Icon name="upload" />
        Choose files
      </button>
      <input
        ref={input}
        class="sr-only"
        type="file"
        multiple
        accept={ACCEPT}
        aria-label="Video files"
        tabIndex={-1}
        onChange={(event) => {
          send(event.currentTarget.files ?? []);
          event.currentTarget.value = '';
        }}
      />
    </section>
  );
}

/** Files may be dropped on the whole page; gives whether some are held over it. */
function useDrop(): boolean {
  const [isOver, setOver] = useState(false);
  useEffect(() => {
    let depth = 0;
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
    const change = (by: number) => (event: DragEvent) => {
      if (!hasFiles(event)) return;
      depth = Math.max(0, depth + by);
      setOver(depth > 0);
    };
    const [enter, leave] = [change(1), change(-1)];
    const over = (event: DragEvent) => {
      if (hasFiles(event)) event.preventDefault();
    };
    const drop = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      depth = 0;
      setOver(false);
      send(event.dataTransfer?.files ?? []);
    };
    addEventListener('dragenter', enter);
    addEventListener('dragleave', leave);
    addEventListener('dragover', over);
    addEventListener('drop', drop);
    return () => {
      removeEventListener('dragenter', enter);
      removeEventListener('dragleave', leave);
      removeEventListener('dragover', over);
      removeEventListener('drop', drop);
    };
  }, []);
  return isOver;
}
