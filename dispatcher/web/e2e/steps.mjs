// What both stories do.

import { statSync } from 'node:fs';

export async function signIn({ page, link }, key) {
  await page.goto(link.url);
  await page.getByLabel('Access key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Add a match' }).waitFor();
}

async function choose(page, video) {
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Choose files' }).click();
  await (await chooser).setFiles(video);
}

/** Begins to upload a file, cuts the network in the middle and mends it; the upload goes on by itself. */
export async function uploadThroughACut({ page, link }, video, onCut) {
  // Slow enough to be met in the middle.
  const pace = Math.ceil(statSync(video).size / 24);
  link.slow(pace);
  await choose(page, video);
  const bar = page.locator('.upload').getByRole('progressbar');
  await page.waitForFunction(
    (css) => Number(document.querySelector(css)?.ariaValueNow ?? 0) >= 15,
    '.upload [role="progressbar"]',
  );
  const cut_at_percent = Number(await bar.getAttribute('aria-valuenow'));
  link.cut();
  await page.locator('.upload').getByText('The connection is lost').waitFor();
  await onCut();
  link.mend();
  link.slow(pace);
  await page.locator('.upload[data-state="sending"]').waitFor({ timeout: 60_000 });
  return { cut_at_percent };
}

/** Loads the page anew while the upload goes on, chooses the same file again, and gives what was not sent twice. */
export async function resumeAfterReload({ page }, video) {
  const received = async () => {
    const { items } = await api(page, '/v1/uploads?state=open');
    return items.length > 0 ? (await api(page, `/v1/uploads/${items[0].id}`)).received_bytes : 0;
  };
  while ((await received()) === 0) await page.waitForTimeout(100);
  page.on('dialog', (dialog) => dialog.accept());
  await page.reload();
  await page.locator('.upload[data-state="unfinished"]').waitFor();
  const resumed_bytes = await received();
  await choose(page, video);
  await page.locator('.upload').filter({ hasText: 'Continued.' }).waitFor();
  return { resumed_bytes };
}

export async function uploaded({ page, link }) {
  link.mend();
  await page.locator('.upload[data-state="done"]').waitFor({ timeout: 300_000 });
}

/** Makes a job of a file that the fleet can read itself; gives its id. */
export async function submit(page, body) {
  return page.evaluate(async (text) => {
    const headers = {
      authorization: `Bearer ${localStorage.getItem('touchline.key')}`,
      'content-type': 'application/json',
    };
    const answer = await fetch('/v1/jobs', { method: 'POST', headers, body: text });
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()).id;
  }, JSON.stringify(body));
}

/** What the API answers to the key of the page. */
export async function api(page, path) {
  return page.evaluate(async (address) => {
    const authorization = `Bearer ${localStorage.getItem('touchline.key')}`;
    return (await fetch(address, { headers: { authorization } })).json();
  }, path);
}

/** Waits until the page is that of a match; gives its id. */
export async function matchOf(page) {
  await page.waitForURL(/\/jobs\//);
  return new URL(page.url()).pathname.split('/')[2];
}

/** Whether a match can be watched from its beginning. */
export async function isWatchable(page, id) {
  return (await api(page, `/v1/jobs/${id}`)).watchable_ms > 0;
}

/** Waits until a video plays and has moved on by `seconds` of its own accord; fails on a media error. */
export async function plays(page, selector, seconds, timeout = 180_000) {
  const run = { css: selector, seconds };
  await page.waitForFunction(
    ({ css, seconds: wanted }) => {
      const video = document.querySelector(css);
      if (video?.error) throw new Error(`media error ${video.error.code}: ${video.error.message}`);
      if (!video || video.seeking || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return false;
      // A jump is no playing: counted is from where it stood still before.
      const last = video.dataset.last === undefined ? video.currentTime : Number(video.dataset.last);
      const step = video.currentTime - last;
      const played = Number(video.dataset.played ?? 0) + (step > 0 && step < 1.5 ? step : 0);
      video.dataset.last = String(video.currentTime);
      video.dataset.played = String(played);
      if (played < wanted) return false;
      delete video.dataset.last;
      delete video.dataset.played;
      return true;
    },
    run,
    { timeout, polling: 50 },
  );
  return page.locator(selector).evaluate((video) => video.currentTime);
}
