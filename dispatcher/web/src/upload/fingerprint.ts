// Recognises a file that is chosen again after a reload.

const PROBE = 1 << 20;

/** Name, size, time of last change and a hash of the first and last MiB. No secret and no proof: it only finds the
 * unfinished upload of the same file in one's own organisation, so a fast hash that needs no secure context will do. */
export async function fingerprint(file: File): Promise<string> {
  const first = await file.slice(0, PROBE).arrayBuffer();
  const last = await file.slice(Math.max(0, file.size - PROBE)).arrayBuffer();
  const name = hash(new TextEncoder().encode(file.name));
  return `v1-${file.size}-${file.lastModified}-${name}-${hash(new Uint8Array(first))}${hash(new Uint8Array(last))}`;
}

/** cyrb53 (public domain, bryc): 53 bits. */
export function hash(data: Uint8Array): string {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (const byte of data) {
    a = Math.imul(a ^ byte, 2654435761);
    b = Math.imul(b ^ byte, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (4294967296 * (2097151 & b) + (a >>> 0)).toString(16).padStart(14, '0');
}
