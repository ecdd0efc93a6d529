// Headless Chromium from the system, with a fresh profile, watched for errors.

import { mkdtempSync, mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { Gate } from './gate.mjs';
import { Link } from './link.mjs';

const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // Playback must be able to begin without a person.
  '--autoplay-policy=no-user-gesture-required',
];

export const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
export const DESK = { viewport: { width: 1280, height: 860 } };

/** What a story is told by whoever starts it. */
export function settings() {
  const need = (name) => {
    const value = process.env[name];
    if (!value) throw new Error(`set ${name}`);
    return value;
  };
  const shots = need('TOUCHLINE_SHOTS');
  mkdirSync(shots, { recursive: true });
  return {
    server: need('TOUCHLINE_URL'),
    key: need('TOUCHLINE_KEY'),
    video: need('TOUCHLINE_VIDEO'),
    gate: new Gate(need('TOUCHLINE_GATE')),
    shots,
  };
}

export class Browser {
  /** Errors on the console and in scripts: a story ends well only without any. */
  complaints = [];

  static async open(options) {
    const browser = new Browser();
    browser.profile = mkdtempSync(join(tmpdir(), 'touchline-browser-'));
    browser.context = await chromium.launchPersistentContext(browser.profile, {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      headless: true,
      args: ARGS,
      reducedMotion: 'reduce',
      ...options,
    });
    browser.link = await Link.open(settings().server);
    browser.page = browser.context.pages()[0] ?? (await browser.context.newPage());
    browser.listen(browser.page);
    return browser;
  }

  listen(page) {
    page.on('pageerror', (error) => this.complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() !== 'error') return;
      // What a cut does is part of the story: requests that fail, and a part that the try before it still holds.
      const isCut = /net::ERR_(CONNECTION_|EMPTY_RESPONSE|INCOMPLETE_|SOCKET_)/.test(message.text());
      const isBusyPart = /status of 409/.test(message.text()) && message.location().url.includes('/uploads/');
      if (!isCut && !isBusyPart) this.complaints.push(`${message.text()} ${message.location().url}`);
    });
  }

  async close() {
    await this.context.close();
    this.link.close();
    rmSync(this.profile, { recursive: true, force: true });
  }
}

/** Runs a story; its end is the exit code. */
export async function tell(name, options, story) {
  const browser = await Browser.open(options);
  const facts = {};
  try {
    await story(browser, facts);
    if (browser.complaints.length > 0) throw new Error(`the browser complained:\n${browser.complaints.join('\n')}`);
    console.log(JSON.stringify({ story: name, ...facts }));
  } catch (error) {
    await browser.page.screenshot({ path: join(settings().shots, `${name}-failure.png`) }).catch(() => undefined);
    console.error(`${name}: ${error instanceof Error ? error.stack : error}`);
    console.error(browser.complaints.join('\n'));
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}

export function check(condition, message) {
  if (!condition) throw new Error(message);
}
