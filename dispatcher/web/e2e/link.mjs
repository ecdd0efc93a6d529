// The way from the browser to the dispatcher: it can be slow, and it can be cut for real, in the middle of a request.

import { connect, createServer } from 'node:net';

export class Link {
  #sockets = new Set();
  #bytesPerSecond = Infinity;
  #isCut = false;

  /** A way to the server at `target`; the browser goes to `link.url` instead. */
  static async open(target) {
    const link = new Link();
    const { hostname, port } = new URL(target);
    link.server = createServer((socket) => link.#join(socket, () => connect(Number(port), hostname)));
    await new Promise((resolve) => link.server.listen(0, '127.0.0.1', resolve));
    link.url = `http://127.0.0.1:${link.server.address().port}`;
    return link;
  }

  /** Bytes a second of each connection from the browser on. */
  slow(bytesPerSecond) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  cut() {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#isCut = false;
    this.#bytesPerSecond = Infinity;
  }

  close() {
    this.cut();
    this.server.close();
  }

  #join(near, dial) {
    if (this.#isCut) {
      near.destroy();
      return;
    }
    const far = dial();
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      this.#sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
    far.pipe(near);
    near.on('end', () => far.end());
    near.on('data', (bytes) => {
      far.write(bytes);
      if (this.#bytesPerSecond === Infinity) return;
      near.pause();
      setTimeout(() => near.resume(), (bytes.length / this.#bytesPerSecond) * 1000);
    });
  }
}
