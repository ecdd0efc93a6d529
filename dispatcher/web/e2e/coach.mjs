// A coach at a desk: signs in, uploads through a cut network, watches before it is finished, scrubs, steps, clips, shares, deletes.

import { join } from 'node:path';
import { checkAccessibility } from './axe.mjs';
import { Browser, DESK, check, settings, tell } from './browser.mjs';
import { api, isWatchable, matchOf, plays, resumeAfterReload, signIn, uploadThroughACut, uploaded } from './steps.mjs';

const given = settings();
const VIDEO = '.watch-main video, .shared video';
const CLIP = 'dialog video';

await tell('coach', DESK, async (browser, facts) => {
  const { page } = browser;
  const shot = (name) => page.screenshot({ path: join(given.shots, `coach-${name}.png`) });
  const accessible = async (where) =>
    (facts.axe_rules_passed = (facts.axe_rules_passed ?? 0) + (await checkAccessibility(page, where)));

  await page.goto(browser.link.url);
  await accessible('sign in');
  await shot('1-sign-in');
  await signIn(browser, given.key);

  Object.assign(facts, await uploadThroughACut(browser, given.video, () => shot('2-cut')));
  Object.assign(facts, await resumeAfterReload(browser, given.video));
  await uploaded(browser);
  await page.locator('.row').first().waitFor();
  await shot('3-uploaded');
  await accessible('matches');

  await page.locator('.upload').getByRole('link', { name: 'Open' }).click();
  const id = await matchOf(page);
  await given.gate.stepUntil('there is something to watch', () => isWatchable(page, id));
  await page.locator(VIDEO).waitFor({ timeout: 300_000 });
  await page.getByRole('button', { name: 'Play (K)' }).click();
  facts.played_to_s = await plays(page, VIDEO, 1);
  const early = await api(page, `/v1/jobs/${id}`);
  check(!early.complete, `playback was to begin before the job is finished; it is ${early.state}`);
  facts.watchable_then_ms = early.watchable_ms;
  await shot('4-watching-while-it-encodes');
  await accessible('watch, growing');
  await askForLater(page, facts);
  given.gate.open();

  await follow(page, facts, id);
  await shot('5-complete');
  await scrub(page, facts, shot);
  await step(page, facts);
  await goTo(page);
  await clip(page, facts, shot);
  await accessible('watch, complete');
  await share(page, facts);
  await rename(page, shot);
  await remove(page, id, shot);
});

/** "This minute first": a place that is not there yet is asked for, and the person is told. */
async function askForLater(page, facts) {
  const line = await page.locator('.timeline').boundingBox();
  await page.mouse.click(line.x + line.width * 0.97, line.y + line.height / 2);
  await page.locator('.wanted').waitFor();
  facts.asked_for = (await page.locator('.wanted').innerText()).split(' ')[0];
  await page.getByRole('button', { name: 'Stay here' }).click();
}

/** To the end of the job, without losing the place. */
async function follow(page, facts, id) {
  await page.keyboard.press('k');
  const before = await page.locator(VIDEO).evaluate((video) => video.currentTime);
  await page.locator('.state-line').waitFor({ state: 'detached', timeout: 600_000 });
  check((await api(page, `/v1/jobs/${id}`)).complete, 'the page says it is ready, the job is not');
  await page.waitForFunction((css) => (document.querySelector(css)?.readyState ?? 0) >= 2, VIDEO);
  const after = await page.locator(VIDEO).evaluate((video) => video.currentTime);
  check(Math.abs(after - before) < 0.5, `the place was lost: ${before} s, then ${after} s`);
  facts.place_moved_s = Math.round(Math.abs(after - before) * 1000) / 1000;
  await page.keyboard.press('k');
  await plays(page, VIDEO, 0.5);
  await page.keyboard.press('k');
}

async function scrub(page, facts, shot) {
  const line = await page.locator('.timeline').boundingBox();
  const places = new Set();
  for (const share of [0.2, 0.5, 0.8]) {
    await page.mouse.move(line.x + line.width * share, line.y + line.height / 2);
    const picture = page.locator('.preview-picture');
    await picture.waitFor();
    const { image, position } = await picture.evaluate((p) => ({
      image: p.style.backgroundImage,
      position: p.style.backgroundPosition,
    }));
    const loads = await page.evaluate(async (css) => {
      const img = new Image();
      img.src = css.slice(5, -2);
      await img.decode();
      return img.naturalWidth;
    }, image);
    check(loads > 0, `no picture at ${share}`);
    places.add(`${image} ${position}`);
    if (share === 0.5) await shot('6-scrubbing');
  }
  check(places.size === 3, `each place has a picture of its own: ${[...places].join('; ')}`);
  facts.thumbnails = places.size;
  await page.mouse.click(line.x + line.width * 0.5, line.y + line.height / 2);
  const [at, whole] = await page.locator('.timeline').evaluate((t) => [Number(t.ariaValueNow), Number(t.ariaValueMax)]);
  check(Math.abs(at - whole / 2) <= 2, `a click in the middle leads to ${at} of ${whole} s`);
}

async function step(page, facts) {
  const time = () => page.locator(VIDEO).evaluate((video) => video.currentTime);
  const settled = () => page.waitForFunction((css) => document.querySelector(css)?.seeking === false, VIDEO);
  const shown = async (key) => {
    await page.keyboard.press(key);
    await settled();
    return time();
  };
  const first = await shown('.');
  const second = await shown('.');
  const back = await shown(',');
  const frame = second - first;
  check(frame > 0.01 && frame < 0.06, `one frame took ${frame} s`);
  check(Math.abs(back - first) < frame / 2, `a step back leads to ${back} s instead of ${first} s`);
  facts.frame_s = Math.round(frame * 10_000) / 10_000;
}

/** To a time by typing it; what is none is told. */
async function goTo(page) {
  const field = page.getByLabel('Go to', { exact: true });
  await page.keyboard.press('g');
  await field.fill('half time');
  await page.keyboard.press('Enter');
  await page.getByText('Give a time such as 43:10.').waitFor();
  await field.fill('0:03');
  await page.keyboard.press('Enter');
  await field.waitFor({ state: 'detached' });
  await page.waitForFunction(() => Math.abs(Number(document.querySelector('.timeline').ariaValueNow) - 3) <= 1);
}

async function clip(page, facts, shot) {
  await page.keyboard.press('Home');
  await page.keyboard.press('l');
  await page.keyboard.press('i');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('o');
  await page.getByLabel('Title').fill('First chance');
  await page.getByRole('button', { name: 'Save clip' }).click();
  await page.getByRole('button', { name: 'Play clip First chance' }).click();
  const at = await plays(page, CLIP, 0.5);
  facts.clip_played_to_s = at;
  await shot('7-clip');
  await page.waitForFunction((css) => document.querySelector(css)?.paused === true, CLIP, { timeout: 30_000 });
  await page.getByRole('button', { name: 'Close' }).click();
  await page.getByRole('button', { name: 'Actions for clip First chance' }).click();
  await page.getByRole('menuitem', { name: 'Delete' }).click();
  await shot('7-delete');
  await page.getByRole('button', { name: 'Delete the clip' }).click();
  await page.locator('.clip').waitFor({ state: 'detached' });
  const focused = await page.evaluate(() => document.activeElement?.id);
  check(focused === 'clips-title', `after its clip is gone, ${focused} has the focus`);
}

/** The link plays in a browser that has no key. */
async function share(page, facts) {
  await page.getByRole('button', { name: 'Share', exact: true }).click();
  await page.getByRole('button', { name: 'Make a link' }).click();
  const link = await page.getByLabel('Link', { exact: true }).inputValue();
  const stranger = await Browser.open(DESK);
  try {
    await stranger.page.goto(link);
    await stranger.page.locator(VIDEO).waitFor();
    await stranger.page.getByRole('button', { name: 'Play (K)' }).click();
    facts.shared_played_to_s = await plays(stranger.page, VIDEO, 0.5);
    await stranger.page.screenshot({ path: join(given.shots, 'coach-8-shared.png') });
    check(stranger.complaints.length === 0, stranger.complaints.join('\n'));
  } finally {
    await stranger.close();
  }
}

/** A name that says more than the file's; none is refused. */
async function rename(page, shot) {
  await page.getByRole('button', { name: 'Close' }).click();
  await page.getByRole('button', { name: 'Actions for this match' }).click();
  await page.getByRole('menuitem', { name: 'Rename' }).click();
  const field = page.getByLabel('Name', { exact: true });
  check((await field.inputValue()) === 'cup final', 'the field holds the name');
  await field.fill(' ');
  await page.keyboard.press('Enter');
  await page.getByText('Give it a name.').waitFor();
  await shot('9-rename');
  await field.fill('Cup final, U17');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Cup final, U17', exact: true, level: 1 }).waitFor();
}

/** The match is gone, and nothing else: the page goes back to the list, which no longer shows it. */
async function remove(page, id, shot) {
  await page.getByRole('button', { name: 'Actions for this match' }).click();
  await page.getByRole('menuitem', { name: 'Delete' }).click();
  await page.getByText('are deleted for good').waitFor();
  await shot('10-delete');
  await page.getByRole('button', { name: 'Delete the match' }).click();
  await page.getByRole('heading', { name: 'Matches', exact: true }).waitFor();
  check((await page.locator(`[href="/jobs/${id}"]`).count()) === 0, 'the list shows the match that was deleted');
  const { items } = await api(page, '/v1/jobs');
  check(!items.some((job) => job.id === id), 'the match that was deleted is listed');
  await shot('11-deleted');
}
