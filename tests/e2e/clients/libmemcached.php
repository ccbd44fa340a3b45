<?php
// SPDX-License-Identifier: BSD-2-Clause
// PHP's memcached (libmemcached) as applications use it. Arguments: port, text or binary.
function check(string $what, $got, $want): void
{
    if ($got !== $want) {
        fwrite(STDERR, "php: $what: got " . var_export($got, true) . ', want ' .
            var_export($want, true) . "\n");
        exit(1);
    }
}

$cache = new Memcached();
$cache->setOption(Memcached::OPT_BINARY_PROTOCOL, $argv[2] === 'binary');
$cache->setOption(Memcached::OPT_PREFIX_KEY, "php-$argv[2]:");
$cache->addServer('127.0.0.1', (int)$argv[1]);

check('version', preg_match('/^1\.6\.\d+/', array_values($cache->getVersion())[0]), 1);
check('miss', $cache->get('none'), false);
check('miss, code', $cache->getResultCode(), Memcached::RES_NOTFOUND);
check('set', $cache->set('a', ['ü' => 1.5, 'list' => [1, null, true]], 300), true);
check('get', $cache->get('a'), ['ü' => 1.5, 'list' => [1, null, true]]);
check('add on a hit', $cache->add('a', 1), false);
check('add on a hit, code', $cache->getResultCode(),
    $argv[2] === 'binary' ? Memcached::RES_DATA_EXISTS : Memcached::RES_NOTSTORED);
check('replace on a miss', $cache->replace('none', 1), false);

$many = [];
for ($i = 0; $i < 300; $i++) {
    $many["m$i"] = "value of $i, grüße " . str_repeat('x', $i);
}
check('setMulti', $cache->setMulti($many, 300), true);
check('getMulti', $cache->getMulti(array_merge(['gone'], array_keys($many))), $many);
check('deleteMulti', array_unique(array_values($cache->deleteMulti(['m0', 'm1']))), [true]);
check('getMulti after it', $cache->getMulti(['m0', 'm1', 'm2']), ['m2' => $many['m2']]);

$found = $cache->get('m5', null, Memcached::GET_EXTENDED);
check('cas', $cache->cas($found['cas'], 'm5', 'new'), true);
check('cas, twice', $cache->cas($found['cas'], 'm5', 'newer'), false);
check('cas, code', $cache->getResultCode(), Memcached::RES_DATA_EXISTS);
check('get after cas', $cache->get('m5'), 'new');

check('increment, miss', $cache->increment('n'), false);
if ($argv[2] === 'binary') {
    check('increment, initial', $cache->increment('n', 1, 10, 300), 10);
} else {
    check('set a number', $cache->set('n', 10), true);
}
check('increment', $cache->increment('n', 5), 15);
check('decrement', $cache->decrement('n', 20), 0);

$cache->setOption(Memcached::OPT_COMPRESSION, false);
check('append', $cache->set('t', 'mid') && $cache->append('t', '>') && $cache->prepend('t', '<'),
    true);
check('get after append', $cache->get('t'), '<mid>');
if ($argv[2] === 'binary') { // in text the library itself refuses such keys
    check('a key that is not ASCII', $cache->set('grüße', 'ß') && $cache->get('grüße') === 'ß',
        true);
    check('many, not ASCII', $cache->getMulti(['grüße', 'none']), ['grüße' => 'ß']);
}
$large = random_bytes(900000);
check('set, large', $cache->set('large', $large), true);
check('get, large', $cache->get('large') === $large, true);
check('set, too large', $cache->set('large', str_repeat('x', 1100000)), false);
check('touch', $cache->touch('t', 500), true);
check('touch, miss', $cache->touch('none', 500), false);

$cache->setOption(Memcached::OPT_NO_BLOCK, true);
$cache->setOption(Memcached::OPT_BUFFER_WRITES, true);
for ($i = 0; $i < 100; $i++) {
    $cache->set("b$i", $i);
}
$cache->flushBuffers();
check('get after buffered writes', $cache->get('b99'), 99);
$cache->setOption(Memcached::OPT_BUFFER_WRITES, false);
$cache->setOption(Memcached::OPT_NO_BLOCK, false);
check('stats', count($cache->getStats()) , 1);
check('delete', $cache->delete('a'), true);
check('delete, twice', $cache->delete('a'), false);
