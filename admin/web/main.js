// SPDX-License-Identifier: BSD-2-Clause
// Once a second: ask for /stats, judge it, show it. An answer that does not come leaves the last
// one on the screen, dimmed, and says since when it is old.

import {Problem, getStats, setToken} from './api.js';
import {Ask} from './ask.js';
import {Chart} from './chart.js';
import {Events} from './events.js';
import {count, duration, element, latency, percent, setText} from './format.js';
import {rates, sample, verdict} from './model.js';
import {Nodes} from './nodes.js';

const INTERVAL_MS = 1000;
const HIDDEN_INTERVAL_MS = 5000; // nobody looks, but the chart goes on

const MARKS = {fine: '✓', note: '✓', warning: '!', bad: '✕', waiting: '…', lost: '?'};

const $ = id => document.getElementById(id);

let last = null;
let lastAnswer = null;
let lostSince = null;
let timer = 0;

const ask = new Ask(() => refreshSoon());
const nodes = new Nodes($('nodes-table'), $('nodes-empty'), ask);
const chart = new Chart($('chart'));
const events = new Events($('events'), $('events-empty'));

function showVerdict(stats) {
    const {level, text, fix, rest} = verdict(stats);
    $('verdict').dataset.level = level;
    setText($('verdict-text'), text);
    setText($('verdict-fix'), fix);
    const rows = rest.map(finding => {
        const row = element('li', '', finding.text, finding.fix === '' ? null
            : element('span', 'quiet', ` ${finding.fix}`));
        row.dataset.level = finding.level;
        return row;
    });
    const now = rows.map(row => row.textContent).join('\n');
    if ($('findings').dataset.text !== now) {
        $('findings').dataset.text = now;
        $('findings').replaceChildren(...rows);
    }
    document.title = `${MARKS[level]} ${text} – everwarm`;
}

/** [value, note, tone]: of the pool that has the least; there is room for one. */
function redundancy(stats) {
    const pools = Object.entries(stats.replication.pools).map(([name, pool]) =>
        ({name, has: pool.factor, wants: pool.factor_wanted}));
    const toneOf = pool => pool.has >= pool.wants ? 'good' : pool.has < 2 ? 'bad' : 'warning';
    const missing = pool => Math.max(0, pool.wants - pool.has);
    const least = pools.reduce((a, b) => toneOf(a) === 'bad' ? a
        : toneOf(b) === 'bad' || missing(b) > missing(a) || b.has < a.has ? b : a);
    const where = pools.length === 1 ? 'complete, of those wanted'
        : toneOf(least) === 'good' ? `in each of ${pools.length} pools, or more`
            : `in pool ${least.name}`;
    return [`${least.has} of ${least.wants}`, where, toneOf(least)];
}

/** [name, value, note, tone] of each tile. */
function figures(stats, now) {
    const [copies, where, tone] = redundancy(stats);
    const pools = Object.values(stats.replication.pools);
    const proxies = Math.max(...pools.map(pool => pool.proxies));
    return [
        ['Copies', copies, where, tone],
        ['Requests / s', count(now?.requests), `${count(stats.commands.total)} since the start`, ''],
        ['Keys found', now === null || now.hitShare === null ? '–' : percent(now.hitShare),
            'of those read', ''],
        ['Errors / s', count(now?.errors), 'answered with an error', now?.errors > 0 ? 'bad' : ''],
        ['p99 read', latency(stats.latency.reads.p99_s), 'since the start', ''],
        ['p99 write', latency(stats.latency.writes.p99_s), 'since the start', ''],
        ['Clients', count(stats.clients.open), `of at most ${count(stats.clients.max)}`, ''],
        ['Proxies', count(proxies), pools.length === 1 ? 'that serve this pool'
            : 'that serve a pool, at most', ''],
    ];
}

function showFigures(stats, now) {
    const place = $('figures');
    figures(stats, now).forEach(([name, value, note, tone], index) => {
        if (place.children.length <= index) {
            place.append(element('div', 'tile', element('dt', '', name), element('dd', 'big'),
                element('dd', 'quiet')));
        }
        const [, big, small] = place.children[index].children;
        place.children[index].dataset.tone = tone;
        setText(big, value);
        setText(small, note);
    });
}

function showLegend(now) {
    for (const name of ['requests', 'hits', 'errors']) {
        setText($(`now-${name}`), count(now?.[name]));
    }
}

function show(stats) {
    const nowMs = performance.now();
    const current = sample(stats, nowMs);
    const now = rates(last, current);
    last = current;
    setText($('proxy'), `${location.host}, version ${stats.version}, up `
        + `${duration(stats.uptime_s)}`);
    showVerdict(stats);
    showFigures(stats, now);
    showLegend(now);
    nodes.update(stats, now);
    chart.add(nowMs, now);
}

function setLive(state, text) {
    $('live').dataset.state = state;
    setText($('live'), text);
    document.body.classList.toggle('old', state === 'lost');
}

function showLost(error) {
    lostSince ??= Date.now();
    const since = new Date(lastAnswer ?? lostSince).toLocaleTimeString([], {hour12: false});
    const why = error instanceof Problem
        ? `The proxy refuses: ${error.message}. ${error.detail}`
        : `No answer from the proxy since ${since}.`;
    setText($('lost'), `${why} ${lastAnswer === null ? '' : 'What you see below is old. '}`
        + 'Asking again every second. The nodes may well be served: look with everwarmctl.');
    $('lost').hidden = false;
    setLive('lost', 'no answer');
    chart.add(performance.now(), null);
    if (lastAnswer === null) {
        setText($('verdict-text'), 'Nothing is known yet.');
    } else if ($('verdict').dataset.level !== 'lost') {
        $('verdict').dataset.level = 'lost';
        setText($('verdict-text'), `Last known: ${$('verdict-text').textContent}`);
    }
    document.title = `${MARKS.lost} no answer – everwarm`;
}

function askForToken(problem) {
    if ($('gate').hidden) {
        $('gate').hidden = false;
        document.body.classList.add('gated');
        $('token').focus();
    } else if (!document.activeElement?.closest('#gate')) {
        setText($('gate-error'), problem.detail);
    }
    setLive('lost', 'no token');
}

async function refresh() {
    try {
        show(await getStats());
        lastAnswer = Date.now();
        lostSince = null;
        $('lost').hidden = true;
        $('gate').hidden = true;
        document.body.classList.remove('gated');
        setLive('live', 'live');
    } catch (error) {
        if (error instanceof Problem && error.status === 401) {
            askForToken(error);
        } else {
            showLost(error);
        }
    }
    clearTimeout(timer);
    timer = setTimeout(refresh, document.hidden ? HIDDEN_INTERVAL_MS : INTERVAL_MS);
}

function refreshSoon() {
    clearTimeout(timer);
    timer = setTimeout(refresh, 0);
}

$('gate').addEventListener('submit', event => {
    event.preventDefault();
    setText($('gate-error'), '');
    setToken($('token').value);
    $('token').value = '';
    refreshSoon();
});
document.addEventListener('visibilitychange', refreshSoon);
refresh();
events.follow();
