import { describe, expect, it } from 'vitest';
import { FrameParser } from './sse';

describe('FrameParser', () => {
  it('reads a frame with id, event and data', () => {
    expect(new FrameParser().push('id: 7\nevent: job.progress\ndata: {"a":1}\n\n')).toEqual([
      { id: '7', event: 'job.progress', data: '{"a":1}' },
    ]);
  });

  it('gives the same frames wherever the text is cut', () => {
    const text = 'id: 1\r\nevent: a\r\ndata: x\r\n\r\n: keep\n\ndata: y\ndata: z\n\n';
    const whole = new FrameParser().push(text);
    for (let cut = 0; cut <= text.length; cut += 1) {
      const parser = new FrameParser();
      expect([...parser.push(text.slice(0, cut)), ...parser.push(text.slice(cut))]).toEqual(whole);
    }
    expect(whole).toEqual([
      { id: '1', event: 'a', data: 'x' },
      { id: null, event: 'message', data: 'y\nz' },
    ]);
  });

  it('says nothing for comments and frames without data', () => {
    expect(new FrameParser().push(': keep\n\nevent: a\n\n')).toEqual([]);
  });

  it('keeps a frame that is not finished to itself', () => {
    const parser = new FrameParser();
    expect(parser.push('data: half')).toEqual([]);
    expect(parser.push('\n\n')).toEqual([{ id: null, event: 'message', data: 'half' }]);
  });
});
