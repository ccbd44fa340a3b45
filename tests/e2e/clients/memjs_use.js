// SPDX-License-Identifier: BSD-2-Clause
// npm's memjs (binary) as applications use it. Argument: port; modules are found by NODE_PATH. It
// has no call for many keys and none for cas.
'use strict';
const assert = require('assert');
const memjs = require('memjs');

async function main(port) {
  const cache = memjs.Client.create(`127.0.0.1:${port}`, { timeout: 10, retries: 1 });
  const text = async (key) => {
    const { value } = await cache.get(key);
    return value === null ? null : value.toString();
  };

  assert.strictEqual(await text('memjs:none'), null);
  assert.strictEqual(await cache.set('memjs:a', 'grüße, 世界', { expires: 300 }), true);
  assert.strictEqual(await text('memjs:a'), 'grüße, 世界');
  assert.strictEqual(await cache.add('memjs:a', 'x', {}), false);
  assert.strictEqual(await cache.replace('memjs:none', 'x', {}), false);
  const asked = [];
  for (let i = 0; i < 300; i++) {
    asked.push(cache.set(`memjs:m${i}`, `value of ${i} ` + 'x'.repeat(i), { expires: 300 }));
  }
  assert((await Promise.all(asked)).every((done) => done === true));
  const values = await Promise.all(asked.map((_, i) => text(`memjs:m${i}`)));
  values.forEach((value, i) => assert.strictEqual(value, `value of ${i} ` + 'x'.repeat(i)));
  assert.deepStrictEqual((await cache.increment('memjs:n', 1, { initial: 10 })).value, 10);
  assert.deepStrictEqual((await cache.increment('memjs:n', 5, { initial: 0 })).value, 15);
  assert.deepStrictEqual((await cache.decrement('memjs:n', 20, { initial: 0 })).value, 0);
  assert.strictEqual(await cache.set('memjs:t', 'mid', {}), true);
  assert.strictEqual(await cache.append('memjs:t', '>'), true);
  assert.strictEqual(await text('memjs:t'), 'mid>'); // its prepend sends append
  assert.strictEqual(await cache.set('memjs:grüße', 'ß', {}), true);
  assert.strictEqual(await text('memjs:grüße'), 'ß');
  const large = Buffer.alloc(900000, 'large ');
  assert.strictEqual(await cache.set('memjs:large', large, { expires: 300 }), true);
  assert(large.equals((await cache.get('memjs:large')).value));
  assert.strictEqual(await cache.touch('memjs:t', 500), true);
  assert.strictEqual(await cache.delete('memjs:a'), true);
  assert.strictEqual(await cache.delete('memjs:a'), false);
  cache.close();
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
