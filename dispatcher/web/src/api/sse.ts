// The event stream format (WHATWG HTML 9.2.6), read piece by piece. Own code because `EventSource` sends no headers.

export interface Frame {
  id: string | null;
  event: string;
  data: string;
}

/** Turns pieces of text, cut anywhere, into frames. */
export class FrameParser {
  #rest = '';
  #data: string[] = [];
  #event = '';
  #id: string | null = null;

  push(piece: string): Frame[] {
    const frames: Frame[] = [];
    const text = this.#rest + piece;
    let from = 0;
    for (;;) {
      const end = lineEnd(text, from);
      if (!end) break;
      const frame = this.#line(text.slice(from, end.at));
      if (frame) frames.push(frame);
      from = end.next;
    }
    this.#rest = text.slice(from);
    return frames;
  }

  #line(line: string): Frame | null {
    if (line === '') return this.#dispatch();
    if (line.startsWith(':')) return null;
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#event = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    return null;
  }

  #dispatch(): Frame | null {
    const frame =
      this.#data.length > 0 ? { id: this.#id, event: this.#event || 'message', data: this.#data.join('\n') } : null;
    this.#data = [];
    this.#event = '';
    this.#id = null;
    return frame;
  }
}

/** The next end of a line; a carriage return at the very end waits, because a line feed may follow it. */
function lineEnd(text: string, from: number): { at: number; next: number } | null {
  for (let i = from; i < text.length; i += 1) {
    if (text[i] === '\n') return { at: i, next: i + 1 };
    if (text[i] === '\r') {
      if (i + 1 === text.length) return null;
      return { at: i, next: text[i + 1] === '\n' ? i + 2 : i + 1 };
    }
  }
  return null;
}
