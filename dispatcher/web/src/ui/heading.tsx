// The first heading of a page: named in the tab, and focused when the page changes.

import { useEffect, useRef } from 'preact/hooks';

let isFirst = true;

export function Heading({ text, hidden }: { text: string; hidden?: boolean }) {
  const ref = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${text} · Touchline`;
  }, [text]);
  useEffect(() => {
    // On the first page focus stays where the browser put it.
    if (!isFirst) ref.current?.focus({ preventScroll: true });
    isFirst = false;
  }, []);
  return (
    <h1 ref={ref} tabIndex={-1} class={hidden ? 'sr-only' : 'page-title'}>
      {text}
    </h1>
  );
}
