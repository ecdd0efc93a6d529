// Icons, drawn for 24 by 24. They say nothing to screen readers: the control around them has a name.

const paths = {
  back10: 'M12 5V2L7 6l5 4V7a6 6 0 1 1-6 6H4a8 8 0 1 0 8-8Z',
  forward10: 'M12 5V2l5 4-5 4V7a6 6 0 1 0 6 6h2a8 8 0 1 1-8-8Z',
  check: 'm5 12.5 4.5 4.5L19 7.5l-1.5-1.5-8 8-3-3Z',
  clip: 'M4 5h2v14H4Zm14 0h2v14h-2ZM8 9h8v6H8Z',
  close: 'm6.4 5 5.6 5.6L17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4-5.6-5.6L6.4 19 5 17.6l5.6-5.6L5 6.4Z',
  download: 'M11 4h2v8.2l3.3-3.3 1.4 1.4L12 16l-5.7-5.7 1.4-1.4 3.3 3.3ZM5 18h14v2H5Z',
  frameBack: 'M17 6v12l-8-6Zm-10 0h2v12H7Z',
  frameNext: 'm7 6 8 6-8 6Zm8 0h2v12h-2Z',
  fullscreen: 'M5 5h6v2H7v4H5Zm8 0h6v6h-2V7h-4ZM5 13h2v4h4v2H5Zm12 0h2v6h-6v-2h4Z',
  help: 'M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20Zm0 2a8 8 0 1 1 0 16 8 8 0 0 1 0-16Zm-1 11h2v2h-2Zm1-9a4 4 0 0 0-4 4h2a2 2 0 1 1 2.9 1.8c-1 .5-1.9 1.2-1.9 2.4h2c0-.4.3-.6.9-.9A4 4 0 0 0 12 6Z',
  more: 'M5 10a2 2 0 1 1 0 4 2 2 0 0 1 0-4Zm7 0a2 2 0 1 1 0 4 2 2 0 0 1 0-4Zm7 0a2 2 0 1 1 0 4 2 2 0 0 1 0-4Z',
  moon: 'M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z',
  muted: 'M4 9v6h4l5 4V5L8 9Zm12.5.1 2 2 2-2 1.4 1.4-2 2 2 2-1.4 1.4-2-2-2 2-1.4-1.4 2-2-2-2Z',
  pause: 'M7 5h4v14H7Zm6 0h4v14h-4Z',
  play: 'M8 5v14l11-7Z',
  search: 'M10 4a6 6 0 1 0 3.6 10.8l5.3 5.3 1.4-1.4-5.3-5.3A6 6 0 0 0 10 4Zm0 2a4 4 0 1 1 0 8 4 4 0 0 1 0-8Z',
  share: 'M11 15V6.8L8.7 9.1 7.3 7.7 12 3l4.7 4.7-1.4 1.4L13 6.8V15ZM5 11h3v2H7v6h10v-6h-1v-2h3v10H5Z',
  sound: 'M4 9v6h4l5 4V5L8 9Zm11-1v8a4.5 4.5 0 0 0 0-8Zm0-4v2a6.5 6.5 0 0 1 0 12v2a8.5 8.5 0 0 0 0-16Z',
  sun: 'M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10Zm-1-5h2v3h-2Zm0 17h2v3h-2ZM2 11h3v2H2Zm17 0h3v2h-3ZM4.2 5.6l1.4-1.4 2.2 2.1-1.4 1.5Zm12 12 1.5-1.4 2.1 2.2-1.4 1.4Zm2.2-13.4 1.4 1.4-2.1 2.2-1.5-1.5Zm-12 12 1.4 1.5-2.2 2.1-1.4-1.4Z',
  trash: 'M9 3h6l1 2h4v2H4V5h4Zm-3 6h12l-1 12H7Zm3 2 .5 8h1.5l-.4-8Zm4 0-.4 8H14l.5-8Z',
  window: 'M9 5h2v6H5V9h4Zm4 0h2v4h4v2h-6Zm-8 8h6v6H9v-4H5Zm8 0h6v2h-4v4h-2Z',
  upload: 'M11 16V7.8L7.7 11.1 6.3 9.7 12 4l5.7 5.7-1.4 1.4L13 7.8V16ZM5 18h14v2H5Z',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={paths[name]} fill="currentColor" />
    </svg>
  );
}

/** The corner of a pitch. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="7" class="mark-ground" />
      <path d="M8 5v19h19M8 15a9 9 0 0 1 9 9" class="mark-lines" />
    </svg>
  );
}
