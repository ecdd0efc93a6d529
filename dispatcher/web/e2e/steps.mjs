// What both stories do.

import { statSync } from 'node:fs';
import { check } from './browser.mjs';

export async function signIn(page, { base, key }) {
  await page.goto(base);
  await page.getByLabel('Access key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Add a match' }).waitFor();
}

/** Uploads a file with the network cut once on the way; gives what was seen. */
export async function uploadThroughACut(browser, video, onCut) {
  const { page } = browser;
  // Slow enough to be met in the middle.
  await browser.network({ upload: Math.ceil(statSync(video).size / 12) });
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Choose files' }).click();
  await (await chooser).setFiles(video);
  const row = page.locator('.upload').first();
  const bar = row.getByRole('progressbar');
  const share = async () => Number(await bar.getAttribute('aria-valuenow'));
  await page.waitForFunction(
    () => Number(document.querySelector('.upload [role="progressbar"]')?.getAttribute('aria-valuenow') ?? 0) >= 15,
  );
  const before = await share();
  await browser.network({ offline: true });
  await page.locator('.upload[data-state="lost"]').waitFor();
  check((await row.innerText()).includes('The connection is lost'), 'a cut must be said in words');
  await onCut();
  await browser.network();
  await page.locator('.upload[data-state="done"]').waitFor({ timeout: 120_000 });
  return { cut_at_percent: before };
}

/** State of a match as the API tells it. */
export async function jobOf(page, id) {
  return page.evaluate(async (job) => {
    const answer = await fetch(`/v1/jobs/${job}`, {
      headers: { authorization: `Bearer ${localStorage.getItem('touchline.key')}` },
    });
    return answer.json();
  }, id);
}

/** Waits until a video plays and has moved on by `seconds` of its own accord; fails on a media error. */
export async function plays(page, selector, seconds, timeout = 90_000) {
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
