// All files on their way in this tab, and uploads that an earlier visit left unfinished.

import { computed, effect, signal } from '@preact/signals';
import { call, intention } from '../api/client';
import { describe } from '../api/problem';
import type { Page, PartTarget, Upload } from '../api/types';
import { onOtherPerson } from '../session';
import { announce, notice } from '../ui/notices';
import { fingerprint } from './fingerprint';
import { put } from './put';
import { type Backend, Transfer } from './transfer';

/** Newest first. */
export const transfers = signal<Transfer[]>([]);
/** Open uploads that no file in this tab belongs to. */
export const unfinished = signal<Upload[]>([]);

/** Browsers have it where nobody can read along: HTTPS, and this machine. */
const canHash = globalThis.isSecureContext && globalThis.crypto?.subtle !== undefined;

onOtherPerson(() => {
  for (const transfer of transfers.value) transfer.leave();
  transfers.value = [];
  unfinished.value = [];
});

const backend: Backend = {
  fingerprint,
  put,
  begin: (file, print) =>
    call<Upload>('/v1/uploads', {
      method: 'POST',
      body: {
        filename: file.name,
        size_bytes: file.size,
        ...(file.type ? { content_type: file.type } : {}),
        fingerprint: print,
        ...(canHash ? { checksum: 'sha256' } : {}),
        job: { title: titleOf(file.name) },
      },
    }),
  target: async (upload, number, body) => {
    const part = upload.checksum === null ? { number } : { number, sha256: await sha256(body) };
    const path = `/v1/uploads/${upload.id}/parts`;
    const answer = await call<{ parts: PartTarget[] }>(path, { method: 'POST', body: { parts: [part] } });
    const target = answer.parts[0];
    if (!target) throw new Error(`no address for part ${number}`);
    return target;
  },
  look: (upload) => call<Upload>(`/v1/uploads/${upload}`),
  complete: (upload) => call<Upload>(`/v1/uploads/${upload}/complete`, { method: 'POST', once: intention() }),
  remove: (upload) => call<void>(`/v1/uploads/${upload}`, { method: 'DELETE' }),
};

/** In base64, so that the store refuses damaged bytes. */
async function sha256(body: Blob): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', await body.arrayBuffer()));
  return btoa(String.fromCharCode(...digest));
}

/** A name that people would give: without ending, with spaces. */
export function titleOf(filename: string): string {
  const bare = filename
    .replace(/\.[A-Za-z0-9]{2,5}$/, '')
    .replace(/[_]+/g, ' ')
    .trim();
  return bare || filename;
}

export function send(files: Iterable<File>): void {
  for (const file of files) {
    const transfer = new Transfer(file, backend);
    transfers.value = [transfer, ...transfers.value];
    void transfer.start();
    effect(() => {
      const id = transfer.upload.value?.id;
      if (id) unfinished.value = unfinished.peek().filter((u) => u.id !== id);
    });
    effect(() => {
      if (transfer.state.value === 'done') announce(`Uploaded: ${titleOf(file.name)}`);
    });
  }
}

export function dismiss(transfer: Transfer): void {
  transfers.value = transfers.value.filter((t) => t !== transfer);
}

/** Forgets the file that a match was made of, when the match was deleted. */
export function dismissMatch(job: string): void {
  transfers.value = transfers.value.filter((t) => t.upload.value?.job_id !== job);
}

export async function findUnfinished(): Promise<void> {
  const page = await call<Page<Upload>>('/v1/uploads?state=open');
  // The list does not ask the store what has arrived; a single upload does.
  const seen = await Promise.all(page.items.map((u) => call<Upload>(`/v1/uploads/${u.id}`)));
  const known = new Set(transfers.value.map((t) => t.upload.value?.id));
  unfinished.value = seen.filter((u) => u.state === 'open' && !known.has(u.id));
}

export async function forget(upload: Upload): Promise<void> {
  unfinished.value = unfinished.value.filter((u) => u.id !== upload.id);
  try {
    await call<void>(`/v1/uploads/${upload.id}`, { method: 'DELETE' });
  } catch (error) {
    unfinished.value = [upload, ...unfinished.value];
    notice(describe(error), true);
  }
}

const busy = computed(() =>
  transfers.value.filter((t) => ['reading', 'sending', 'lost', 'finishing'].includes(t.state.value)),
);

/** Share that has been sent of all files on their way; null when there are none. */
export const underWay = computed(() => {
  if (busy.value.length === 0) return null;
  const size = busy.value.reduce((sum, t) => sum + t.file.size, 0);
  return busy.value.reduce((sum, t) => sum + t.sentBytes.value, 0) / Math.max(1, size);
});

addEventListener('offline', () => transfers.value.forEach((t) => t.cutOff()));
addEventListener('online', () => transfers.value.forEach((t) => t.hurry()));
addEventListener('beforeunload', (event) => {
  if (busy.value.length > 0) event.preventDefault();
});
