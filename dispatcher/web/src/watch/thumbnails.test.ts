import { describe, expect, it } from 'vitest';
import { parseThumbnails, thumbnailAt } from './thumbnails';

const TEXT = `WEBVTT

00:00:00.000 --> 00:00:02.000
storyboard_000.jpg#xywh=0,0,160,90

2
00:00:02.000 --> 00:00:04.500 line:0
sub/storyboard_001.jpg#xywh=160,0,160,90

NOTE nothing here

01:30:00.000 --> 01:30:02.000
storyboard_002.jpg#xywh=320,90,160,90
`;

describe('parseThumbnails', () => {
  it('reads times, rectangles and addresses relative to the file', () => {
    const list = parseThumbnails(TEXT, 'https://media.example/t/o/j/thumbnails.vtt');
    expect(list).toHaveLength(3);
    expect(list[1]).toEqual({
      start_s: 2,
      end_s: 4.5,
      image: 'https://media.example/t/o/j/sub/storyboard_001.jpg',
      x: 160,
      y: 0,
      width: 160,
      height: 90,
    });
    expect(list[2]?.start_s).toBe(5400);
  });

  it('reads files with other line ends the same', () => {
    const base = 'https://media.example/';
    expect(parseThumbnails(TEXT.replaceAll('\n', '\r\n'), base)).toEqual(parseThumbnails(TEXT, base));
  });

  it('leaves out what it cannot read', () => {
    expect(parseThumbnails('WEBVTT\n\n00:00 --> 00:01\na.jpg\n\nx --> y\nb.jpg#xywh=0,0,1,1\n', 'https://a/')).toEqual(
      [],
    );
  });
});

describe('thumbnailAt', () => {
  const list = parseThumbnails(TEXT, 'https://a/');
  it.each([
    [0, 0],
    [1.999, 0],
    [2, 160],
    [5400.5, 320],
  ])('finds the picture at %s s', (at, x) => expect(thumbnailAt(list, at)?.x).toBe(x));
  it.each([-1, 4.5, 60, 5402])('has none at %s s', (at) => expect(thumbnailAt(list, at)).toBeNull());
});
