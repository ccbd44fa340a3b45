# SPDX-License-Identifier: BSD-2-Clause
# frozen_string_literal: true

# Ruby's dalli, which speaks the binary protocol, as applications use it. Argument: port.
require 'dalli'

def check(what, is_good)
  raise "dalli: #{what}" unless is_good
end

cache = Dalli::Client.new("127.0.0.1:#{ARGV[0]}", namespace: 'dalli', compress: true)
check('miss', cache.get('none').nil?)
check('set', cache.set('a', { 'text' => 'grüße', 'list' => [1, 2.5, nil] }, 300))
check('get', cache.get('a') == { 'text' => 'grüße', 'list' => [1, 2.5, nil] })
check('add on a hit', !cache.add('a', 1))
cache.replace('none', 1) # dalli returns a marker of its own
check('replace on a miss', cache.get('none').nil?)
300.times { |i| check("set m#{i}", cache.set("m#{i}", "value of #{i} #{'x' * i}")) }
keys = (0...300).map { |i| "m#{i}" }
found = cache.get_multi('gone', *keys)
check('get_multi', found.size == 300 && found['m299'] == "value of 299 #{'x' * 299}")
check('cas', cache.cas('m5') { |value| "#{value}!" })
check('get after cas', cache.get('m5') == 'value of 5 xxxxx!')
check('fetch', cache.fetch('fetched', 300) { 'made' } == 'made' && cache.get('fetched') == 'made')
check('incr of nothing', cache.incr('n').nil?)
check('incr, initial', cache.incr('n', 1, 300, 10) == 10)
check('incr', cache.incr('n', 5) == 15)
check('decr', cache.decr('n', 20).zero?)
check('append', cache.set('t', 'mid', 300, raw: true) && cache.append('t', '>') &&
  cache.prepend('t', '<') && cache.get('t', raw: true) == '<mid>')
cache.multi { 100.times { |i| cache.set("q#{i}", i.to_s, 300, raw: true) } }
check('get after quiet sets', cache.get('q99', raw: true) == '99')
check('a key that is not ASCII', cache.set('grüße', 'ß') && cache.get('grüße') == 'ß' &&
  cache.get_multi('grüße', 'gone').values == ['ß'])
large = Random.new(1).bytes(900_000)
check('large', cache.set('large', large, 300, raw: true) && cache.get('large', raw: true) == large)
check('touch', cache.touch('t', 500) && !cache.touch('none', 500))
check('gat', cache.gat('t', 500) == '<mid>')
check('version', cache.version.values.first.start_with?('1.6.'))
check('stats', cache.stats.values.first['pid'].to_i.positive?)
check('delete', cache.delete('a') && !cache.delete('a'))
cache.close
