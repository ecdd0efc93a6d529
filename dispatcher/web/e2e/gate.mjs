// A gate for what the fleet sends to its engines: work stands still where a story wants to look at the page, however slow
// the page is. `tests/src/gate.rs` is the same for stories without a browser.

import { readFileSync, writeFileSync } from 'node:fs';

/** More than anything that waits. */
const OPEN = '18446744073709551615';

export class Gate {
  #allowed = 0;

  constructor(file) {
    this.file = file;
  }

  /** Lets one command after another through, until something is so; then nothing moves. */
  async stepUntil(what, isSo, timeout = 120_000) {
    const end = Date.now() + timeout;
    while (!(await isSo())) {
      if (Date.now() > end) throw new Error(`the gate let ${this.#allowed} through, and not yet: ${what}`);
      if (this.#waits() > this.#allowed) {
        this.#allowed = this.#waits();
        writeFileSync(this.file, String(this.#allowed));
      } else {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  /** Lets everything through from now on. */
  open() {
    writeFileSync(this.file, OPEN);
  }

  #waits() {
    try {
      return Number(readFileSync(`${this.file}.waits`, 'utf8'));
    } catch {
      return 0;
    }
  }
}
