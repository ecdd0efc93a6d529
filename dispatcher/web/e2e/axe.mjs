// The accessibility check: no serious or critical finding, in both themes.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const SOURCE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** Gives how many rules passed; throws with what was found. */
export async function checkAccessibility(page, where) {
  let passed = 0;
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    // Colours on their way from one theme to the other have no contrast of their own.
    await page.evaluate(() => Promise.allSettled(document.getAnimations().map((a) => a.finished)));
    // `evaluate` is not held back by the content security policy of the page, a script element would be.
    await page.evaluate(SOURCE);
    const result = await page.evaluate(
      (values) => globalThis.axe.run(document, { runOnly: { type: 'tag', values } }),
      RULES,
    );
    const findings = result.violations.filter((v) => v.impact === 'serious' || v.impact === 'critical');
    if (findings.length > 0) {
      const text = findings.map(
        (v) =>
          `${v.id} (${v.impact}): ${v.help}\n${v.nodes.map((n) => `  ${n.html}\n  ${n.failureSummary}`).join('\n')}`,
      );
      throw new Error(`${where}, ${colorScheme}: ${text.join('\n')}`);
    }
    passed += result.passes.length;
  }
  await page.emulateMedia({ colorScheme: null });
  return passed;
}
