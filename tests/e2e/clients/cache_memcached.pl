# SPDX-License-Identifier: BSD-2-Clause
# Cache::Memcached and Cache::Memcached::Fast as applications use them. Arguments: module, port.
use strict;
use warnings;
use utf8;

my ($module, $port) = @ARGV;
eval "use $module; 1" or die $@;
my $is_fast = $module eq 'Cache::Memcached::Fast';
my $cache = $module->new({
    servers => ["127.0.0.1:$port"],
    namespace => ($is_fast ? 'fast:' : 'perl:'),
    ($is_fast ? (utf8 => 1) : ()),
});

sub check {
    my ($what, $is_good) = @_;
    die "$module: $what\n" unless $is_good;
}

check('miss', !defined $cache->get('none'));
check('set', $cache->set('a', {list => [1, 2.5], text => 'grüße'}, 300));
check('get', $cache->get('a')->{text} eq 'grüße' && $cache->get('a')->{list}[1] == 2.5);
check('add on a hit', !$cache->add('a', 1));
check('replace on a miss', !$cache->replace('none', 1));
for my $i (0 .. 299) {
    check("set m$i", $cache->set("m$i", "value of $i " . 'x' x $i));
}
my $found = $cache->get_multi('gone', map {"m$_"} 0 .. 299);
check('get_multi', keys %$found == 300);
check('get_multi, values', $found->{m299} eq 'value of 299 ' . 'x' x 299);
check('incr of nothing', !$cache->incr('n'));
check('set a number', $cache->set('n', 10));
check('incr', $cache->incr('n', 5) == 15);
check('decr', $cache->decr('n', 5) == 10);
if ($is_fast) {
    my $cas = $cache->gets('m5');
    check('gets', $cas->[1] eq 'value of 5 xxxxx');
    check('cas', $cache->cas('m5', $cas->[0], 'new'));
    check('cas, twice', !$cache->cas('m5', $cas->[0], 'newer'));
    check('append', $cache->set('t', 'mid') && $cache->append('t', '>')
        && $cache->prepend('t', '<') && $cache->get('t') eq '<mid>');
    check('touch', $cache->touch('t', 500));
    my $done = $cache->set_multi(map { ["s$_", "v$_"] } 0 .. 99);
    check('set_multi', (grep {$_} values %$done) == 100);
    $cache->set("q$_", $_) for 0 .. 99;
    $cache->nowait_push;
    check('get after nowait', $cache->get('q99') == 99);
    my $unicode = "gr\xc3\xbc\xc3\x9fe"; # keys are bytes
    check('a key that is not ASCII', $cache->set($unicode, 'ß') && $cache->get($unicode) eq 'ß'
        && $cache->get_multi($unicode, 'n')->{$unicode} eq 'ß');
    check('server_versions', (values %{$cache->server_versions})[0] =~ /^1\.6\./);
}
my $large = join '', map { chr 33 + $_ % 90 } 0 .. 899_999;
check('set, large', $cache->set('large', $large));
check('get, large', $cache->get('large') eq $large);
check('delete', $cache->delete('a'));
check('delete, twice', !$cache->delete('a'));
$cache->disconnect_all;
