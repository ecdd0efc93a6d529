// "This minute first": a coach wants a later minute of a match that is still being made, is told, is taken there, and goes
// back; and once more, but stays where he is.

import { join } from 'node:path';
import { checkAccessibility } from './axe.mjs';
import { DESK, check, settings, tell } from './browser.mjs';
import { api, isWatchable, plays, signIn, submit } from './steps.mjs';

const given = settings();
const VIDEO = '.watch-main video';

await tell('focus', DESK, async (browser, facts) => {
  const { page } = browser;
  const shot = (name) => page.screenshot({ path: join(given.shots, `focus-${name}.png`) });
  const line = page.locator('.timeline');
  const place = async () => Number(await line.getAttribute('aria-valuenow'));
  const pointAt = async (share, act) => {
    const box = await line.boundingBox();
    await act.call(page.mouse, box.x + box.width * share, box.y + box.height / 2);
    return share * Number(await line.getAttribute('aria-valuemax'));
  };
  const asked = [];
  page.on('request', (request) => request.url().endsWith('/focus') && asked.push(request.postDataJSON().at_s));

  await signIn(browser, given.key);
  const job = await submit(page, { source: given.video, title: 'Cup final', ladder: 'sports', encoder: 'x264' });
  await given.gate.stepUntil('there is something to watch', () => isWatchable(page, job));
  await page.goto(`${browser.link.url}/jobs/${job}`);
  await page.locator(VIDEO).waitFor({ timeout: 120_000 });
  await page.getByRole('button', { name: 'Play (K)' }).click();
  await plays(page, VIDEO, 1);

  await pointAt(0.8, page.mouse.move);
  await page.locator('.preview-note').waitFor();
  await shot('1-not-ready');
  const later = await pointAt(0.8, page.mouse.click);
  await page.locator('.wanted').waitFor();
  await shot('2-asked');
  facts.axe_rules_passed = await checkAccessibility(page, 'a later minute is asked for');
  const plays_from = (at) => async () => (await api(page, `/v1/jobs/${job}/playback?from_s=${at}`)).starts_at_ms > 0;
  await given.gate.stepUntil('the later minute is there', plays_from(later));
  await page.locator('.part').waitFor({ timeout: 180_000 });
  facts.later_s = Math.round(later);
  await plays(page, VIDEO, 2);
  const { complete, watchable_ms } = await api(page, `/v1/jobs/${job}`);
  check(
    !complete && watchable_ms < later * 1000,
    `it was to play before what precedes it: ${watchable_ms} ms are there`,
  );
  facts.watchable_then_s = Math.round(watchable_ms / 1000);
  check(Math.abs((await place()) - later) < 30, `asked for ${later} s, taken to ${await place()} s`);
  check((await page.locator('.timeline-watchable').count()) === 2, 'both stretches are drawn');
  await shot('3-playing-later');
  facts.axe_rules_passed += await checkAccessibility(page, 'a later minute plays');
  await clip(page, later);

  await page.getByRole('button', { name: 'Back to the beginning' }).click();
  // The clip stopped the match.
  await page.getByRole('button', { name: 'Play (K)' }).click();
  await plays(page, VIDEO, 1);
  check((await place()) < 30 && (await page.locator('.part').count()) === 0, `back leads to ${await place()} s`);
  await pointAt(0.802, page.mouse.click);
  await page.locator('.part').waitFor();
  await plays(page, VIDEO, 1);
  check(asked.length === 1, `what is there needs no asking: ${asked}`);
  await page.getByRole('button', { name: 'Back to the beginning' }).click();
  await plays(page, VIDEO, 1);

  const middle = await pointAt(0.5, page.mouse.click);
  await page.getByRole('button', { name: 'Stay here' }).click();
  await given.gate.stepUntil('the middle is there', plays_from(middle));
  await page.waitForFunction(
    (share) =>
      [...document.querySelectorAll('.timeline-watchable')].some((s) => Math.abs(parseFloat(s.style.left) - share) < 2),
    50,
    { timeout: 180_000 },
  );
  check(
    (await place()) < 300 && (await page.locator('.part').count()) === 0,
    `who stays was taken to ${await place()} s`,
  );
  await plays(page, VIDEO, 1);
  await shot('4-stayed');

  await pointAt(0.502, page.mouse.click);
  await page.locator('.part').waitFor();
  await plays(page, VIDEO, 1);
  await page.keyboard.press('k');
  const before = await place();
  given.gate.open();
  await page.locator('.state-line').waitFor({ state: 'detached', timeout: 600_000 });
  await page.waitForFunction((css) => (document.querySelector(css)?.readyState ?? 0) >= 2, VIDEO);
  check(Math.abs((await place()) - before) <= 1, `the place was lost: ${before} s, then ${await place()} s`);
  await page.keyboard.press('k');
  await plays(page, VIDEO, 1);
});

/** A clip of a minute that is there before what precedes it. */
async function clip(page, later) {
  const start = page.getByLabel('Start', { exact: true });
  await start.fill(clock(later + 0.5));
  await start.press('Tab');
  const end = page.getByLabel('End', { exact: true });
  await end.fill(clock(later + 3));
  await end.press('Tab');
  await page.getByLabel('Title').fill('Late goal');
  await page.getByRole('button', { name: 'Save clip' }).click();
  await page.getByRole('button', { name: 'Play clip Late goal' }).click();
  await plays(page, 'dialog video', 0.5);
  await page.getByRole('button', { name: 'Close' }).click();
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, '0')}`;
}
