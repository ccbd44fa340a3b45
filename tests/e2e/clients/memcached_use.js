// SPDX-License-Identifier: BSD-2-Clause
// npm's memcached (text) as applications use it. Argument: port; modules are found by NODE_PATH.
'use strict';
const assert = require('assert');
const { promisify } = require('util');
const Memcached = require('memcached');

async function main(port) {
  const cache = new Memcached(`127.0.0.1:${port}`, { timeout: 10000, retries: 0 });
  const call = (name, ...args) => promisify(cache[name]).apply(cache, args);
  // The library says "not stored" and its kin as an error.
  const refused = (name, ...args) => call(name, ...args).then((done) => done === false, () => true);

  assert.strictEqual(await call('get', 'js:none'), undefined);
  assert(await call('set', 'js:a', { text: 'grüße', list: [1, 2.5, null] }, 300));
  assert.deepStrictEqual(await call('get', 'js:a'), { text: 'grüße', list: [1, 2.5, null] });
  assert(await refused('add', 'js:a', 1, 300));
  assert(await refused('replace', 'js:none', 1, 300));
  const keys = [];
  for (let i = 0; i < 300; i++) {
    keys.push(`js:m${i}`);
    assert(await call('set', `js:m${i}`, `value of ${i} ` + 'x'.repeat(i), 300));
  }
  const found = await call('getMulti', ['js:gone', ...keys]);
  assert.strictEqual(Object.keys(found).length, 300);
  assert.strictEqual(found['js:m299'], 'value of 299 ' + 'x'.repeat(299));
  const held = await call('gets', 'js:m5');
  assert.strictEqual(held['js:m5'], 'value of 5 xxxxx');
  assert(await call('cas', 'js:m5', 'new', held.cas, 300));
  assert(await refused('cas', 'js:m5', 'newer', held.cas, 300));
  assert.strictEqual(await call('incr', 'js:n', 1), false);
  assert(await call('set', 'js:n', 10, 300));
  assert.strictEqual(await call('incr', 'js:n', 5), 15);
  assert.strictEqual(await call('decr', 'js:n', 20), 0);
  assert(await call('set', 'js:t', 'mid', 300));
  assert(await call('append', 'js:t', '>'));
  assert(await call('prepend', 'js:t', '<'));
  assert.strictEqual(await call('get', 'js:t'), '<mid>');
  assert(await call('set', 'js:grüße', 'ß', 300));
  assert.strictEqual(await call('get', 'js:grüße'), 'ß');
  assert.deepStrictEqual(await call('getMulti', ['js:grüße', 'js:none']), { 'js:grüße': 'ß' });
  const large = Buffer.alloc(900000, 'large ');
  assert(await call('set', 'js:large', large, 300));
  assert(large.equals(await call('get', 'js:large')));
  assert(await call('touch', 'js:t', 500));
  const versions = await call('version');
  assert(/^1\.6\./.test(versions[0].version), versions[0].version);
  assert((await call('stats'))[0].pid > 0);
  assert.strictEqual(await call('del', 'js:a'), true);
  assert.strictEqual(await call('del', 'js:a'), false);
  cache.end();
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
