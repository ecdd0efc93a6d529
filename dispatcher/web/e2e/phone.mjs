// A coach at the pitch with a phone: the same way in a window of 390 by 844, with touch; then the fleet's page.

import { join } from 'node:path';
import { checkAccessibility } from './axe.mjs';
import { PHONE, check, settings, tell } from './browser.mjs';
import { isWatchable, matchOf, plays, signIn, uploadThroughACut, uploaded } from './steps.mjs';

const given = settings();
const VIDEO = '.watch-main video, .shared video';
const CLIP = 'dialog video';

await tell('phone', PHONE, async (browser, facts) => {
  const { page } = browser;
  const look = async (name) => {
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    check(overflow <= 0, `${name}: the page is ${overflow} px wider than the window`);
    await page.screenshot({ path: join(given.shots, `phone-${name}.png`) });
    facts.axe_rules_passed = (facts.axe_rules_passed ?? 0) + (await checkAccessibility(page, name));
  };

  await signIn(browser, given.key);
  await look('1-matches');
  Object.assign(facts, await uploadThroughACut(browser, given.video, () => look('2-cut')));
  await uploaded(browser);
  await page.locator('.upload').getByRole('link', { name: 'Open' }).tap();
  const id = await matchOf(page);
  await given.gate.stepUntil('there is something to watch', () => isWatchable(page, id));
  await page.locator(VIDEO).waitFor({ timeout: 300_000 });
  await page.getByRole('button', { name: 'Play (K)' }).tap();
  facts.played_to_s = await plays(page, VIDEO, 1);
  await look('3-watch');
  given.gate.open();

  const line = await page.locator('.timeline').boundingBox();
  await page.touchscreen.tap(line.x + 3, line.y + line.height / 2);
  await plays(page, VIDEO, 0.5);
  check(line.height >= 24, `the line is ${line.height} px high: too little for a finger`);

  const buttons = await page.locator('.controls button').evaluateAll((all) =>
    all
      .filter((b) => b.offsetParent !== null)
      .map((b) => b.getBoundingClientRect())
      .map((r) => Math.min(r.width, r.height)),
  );
  check(Math.min(...buttons) >= 40, `a control is ${Math.min(...buttons)} px small`);

  await page.getByRole('button', { name: 'Start here' }).tap();
  await plays(page, VIDEO, 2);
  await page.getByRole('button', { name: 'End here' }).tap();
  await page.getByRole('button', { name: 'Save clip' }).tap();
  await page
    .getByRole('button', { name: /^Play clip/ })
    .first()
    .tap();
  facts.clip_played_to_s = await plays(page, CLIP, 0.5);
  await look('4-clip');
  await page.getByRole('button', { name: 'Close' }).tap();

  const fleet = page.getByRole('link', { name: 'Fleet' });
  if ((await fleet.count()) > 0) {
    await fleet.tap();
    await page.getByRole('heading', { name: 'Workers' }).waitFor();
    await look('5-fleet');
  }
});
