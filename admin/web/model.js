// SPDX-License-Identifier: BSD-2-Clause
// What /stats means: rates between two answers, and what is wrong, by the rules of
// `everwarmctl doctor` and of the shipped alerts. No element is touched here.

import {between, count, duration} from './format.js';

const FORGOTTEN_S = 3600;
const FLAPPING_TRANSITIONS = 6;
const NEAR_LIMIT = 0.8;
const ERRORS_MIN = 10;
const LAG_S = 0.1;

export const LEVELS = ['bad', 'warning', 'note'];

function errorsOf(stats) {
    let sum = 0;
    for (const command of Object.values(stats.commands)) {
        sum += typeof command === 'object' ? command.server_error : 0;
    }
    return sum;
}

/** What two answers are compared by. */
export function sample(stats, atMs) {
    const nodes = {};
    for (const [name, node] of Object.entries(stats.nodes)) {
        nodes[name] = node.traffic.requests;
    }
    return {
        atMs,
        pid: stats.pid,
        requests: stats.commands.total,
        hits: stats.commands.keys_hit,
        misses: stats.commands.keys_missed,
        errors: errorsOf(stats),
        nodes,
    };
}

/** Rates a second; null when there is nothing to compare: the first answer, or a restart. */
export function rates(before, now) {
    const seconds = before === null ? 0 : (now.atMs - before.atMs) / 1000;
    if (seconds <= 0 || before.pid !== now.pid || now.requests < before.requests) {
        return null;
    }
    const per = name => (now[name] - before[name]) / seconds;
    const reads = now.hits - before.hits + now.misses - before.misses;
    const nodes = {};
    for (const [name, requests] of Object.entries(now.nodes)) {
        nodes[name] = name in before.nodes
            ? Math.max(0, requests - before.nodes[name]) / seconds : null;
    }
    return {
        requests: per('requests'),
        hits: per('hits'),
        errors: per('errors'),
        hitShare: reads > 0 ? (now.hits - before.hits) / reads : null,
        nodes,
    };
}

/** {share, text} of a node's fill; share is null when the proxy that asks does not fill it. */
export function fillOf(node) {
    const {fill, warm} = node.data;
    if (node.data.state === 'warming' && warm) {
        return warm.asked === 0 ? {share: null, text: 'nothing was read yet'}
            : {share: warm.hits / warm.asked, text: `has ${Math.floor(warm.hits / warm.asked * 100)}`
                + ' % of what is read'};
    }
    if (node.data.state !== 'filling' || fill === null) {
        return null;
    }
    if (!fill.items_total) {
        return {share: null, text: fill.items_done === null
            ? 'filled by another proxy' : 'counting what there is to copy'};
    }
    const share = Math.min(1, fill.items_done / fill.items_total);
    const left = fill.eta_s === null ? '' : `, ${duration(fill.eta_s)} left`;
    return {share, text: `${Math.floor(share * 100)} %, ${count(fill.items_done)} of `
        + `${count(fill.items_total)} items${left}`};
}

/** How another copy comes about, the node that needs the least work first. */
function wayToCopy(stats) {
    const nodes = Object.values(stats.nodes);
    const coming = nodes.filter(node => node.oper.state === 'up' && node.admin.state !== 'maint'
        && node.data.state !== 'complete');
    const filling = coming.find(node => node.data.state === 'filling') ?? coming[0];
    if (filling) {
        const fill = fillOf(filling);
        return fill === null ? `${filling.name} waits to be filled.`
            : `${filling.name} is being filled: ${fill.text}.`;
    }
    const out = nodes.find(node => node.oper.state === 'up' && node.data.state !== 'complete');
    if (out) {
        return `Take ${out.name} back with "Ready": it is filled, then read.`;
    }
    const down = nodes.find(node => node.oper.state === 'down');
    return down ? `Start memcached at ${down.address}: it is filled and taken back by itself.` : '';
}

function poolFindings(stats, add) {
    for (const [name, pool] of Object.entries(stats.replication.pools)) {
        const one = Object.keys(stats.replication.pools).length === 1;
        const where = one ? '' : `Pool ${name}: `;
        const {factor, factor_wanted: wanted} = pool;
        if (pool.state === 'lapsed') {
            add('bad', `${where}The lease is over: nothing is answered.`,
                'This machine was stopped or starved; look at its load.');
        }
        if (!pool.readable) {
            add('bad', `${where}No node serves reads; every read is a miss.`, wayToCopy(stats));
        } else if (factor === 1 && wanted > 1) {
            add('bad', `${where}Serving from the last copy: 1 of ${wanted} nodes holds everything.`,
                wayToCopy(stats));
        } else if (factor < wanted) {
            add('warning', `${where}Serving with less redundancy: ${factor} of ${wanted} nodes `
                + 'hold everything.', wayToCopy(stats));
        }
    }
}

function nodeFindings(stats, add) {
    for (const [name, node] of Object.entries(stats.nodes)) {
        if (node.oper.state === 'down') {
            const since = between(node.oper.since, stats.time);
            add('warning', `${name} is down${since === null ? '' : ` for ${duration(since)}`}`
                + `${node.check.text ? `: ${node.check.text}` : ''}.`,
            `Start memcached at ${node.address}.`);
        }
        if (node.oper.transitions_1h >= FLAPPING_TRANSITIONS) {
            add('warning', `${name} went up and down ${node.oper.transitions_1h} times within an `
                + 'hour.', `Look at memcached's log at ${node.address}.`);
        }
        if (node.admin.state !== 'ready') {
            const since = between(node.admin.since, stats.time);
            const level = since !== null && since >= FORGOTTEN_S ? 'warning' : 'note';
            const left = between(stats.time, node.admin.until);
            add(level, `${name} is in ${node.admin.state}`
                + `${since === null ? '' : ` for ${duration(since)}`}`
                + `${node.admin.reason ? `: ${node.admin.reason}` : ''}.`,
            left === null ? 'Take it back with "Ready" when its work is done.'
                : `It is taken back by itself in ${duration(left)}, or with "Ready".`);
        }
        const {errors, requests} = node.traffic;
        const failed = errors.timeout + errors.protocol;
        if (failed >= ERRORS_MIN && failed * 100 >= requests) {
            add('warning', `${name} failed ${count(failed)} of ${count(requests)} requests since `
                + 'the start.', `Look at memcached's log and load at ${node.address}.`);
        }
    }
}

function proxyFindings(stats, add) {
    const near = (used, limit) => limit > 0 && used / limit >= NEAR_LIMIT;
    if (stats.state === 'drained') {
        add('warning', 'This proxy is drained: it says that it is not ready, and serves on.',
            'everwarmctl proxy-undrain');
    } else if (stats.state === 'draining') {
        add('warning', 'This proxy is about to end: it takes no new clients.', '');
    } else if (stats.state === 'starting') {
        add('bad', 'This proxy is still starting and serves nobody.', '');
    }
    if (near(stats.clients.open, stats.clients.max)) {
        add('warning', `${count(stats.clients.open)} of at most ${count(stats.clients.max)} `
            + 'clients are connected.', 'Raise "max_clients", or start another everwarm.');
    }
    if (near(stats.process.fds_open, stats.process.fds_max)) {
        add('warning', `${count(stats.process.fds_open)} of ${count(stats.process.fds_max)} file `
            + 'descriptors are open.', 'Raise LimitNOFILE in the unit.');
    }
    if (near(stats.memory.used_bytes, stats.memory.limit_bytes)) {
        add('warning', 'Most of the buffers are in use.',
            'Look for slow readers, or raise "limits.memory".');
    }
    if (stats.overload.loop_lag_s >= LAG_S) {
        add('warning', `An event loop is ${Math.round(stats.overload.loop_lag_s * 1000)} ms late: `
            + 'the machine is too busy.', 'Look at its load.');
    }
}

/** All findings {level, text, fix}, worst first. */
export function findings(stats) {
    const found = [];
    const add = (level, text, fix) => found.push({level, text, fix});
    proxyFindings(stats, add);
    poolFindings(stats, add);
    nodeFindings(stats, add);
    return found.sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
}

/** {level, text, fix, rest}: "is it fine?" in one sentence. */
export function verdict(stats) {
    const found = findings(stats);
    if (found.length > 0 && found[0].level !== 'note') {
        return {...found[0], rest: found.slice(1)};
    }
    const nodes = Object.keys(stats.nodes).length;
    const text = nodes === 1 ? 'Fine. The one node is served.'
        : nodes === 2 ? 'Fine. Both nodes hold everything.'
            : `Fine. All ${nodes} nodes hold everything.`;
    return {level: 'fine', text, fix: '', rest: found};
}

/** The nodes that serve reads, but NAME. */
function otherReaders(stats, name) {
    return Object.values(stats.nodes)
        .filter(node => node.name !== name && node.serving.reads).map(node => node.name);
}

function list(names) {
    return names.length < 2 ? names.join('')
        : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`;
}

/** What a command does to a node, sentence by sentence: said before it is done. */
export function consequences(stats, name, command) {
    const node = stats.nodes[name];
    const readers = otherReaders(stats, name);
    const reads = readers.length === 0
        ? 'No other node can be read now, so the proxy will refuse this unless you insist.'
        : `Reads are served by ${list(readers)}.`;
    const copies = Object.values(stats.nodes)
        .filter(other => other.name !== name && other.data.state === 'complete').length;
    const left = copies === 1 ? 'One complete copy is left: if that node dies too, '
        + 'everything on it is gone.' : `${copies} complete copies are left.`;
    switch (command) {
    case 'drain':
        return [reads, `${name} still gets every write and stays complete, so it can be taken `
            + 'back at once.'];
    case 'maint':
        return [reads, `${name} gets nothing any more, and is not checked. Its data goes stale: `
            + 'before it is read again it is filled from the others.', ...copies > 0 ? [left] : []];
    case 'resync':
        return [`${name} is filled again from the others; memcacheds before 1.6.27 are emptied first.`, reads,
            ...copies > 0 ? [left] : [],
            ...node.data.state === 'complete' ? [] : ['It is not complete now anyway.']];
    default:
        return [];
    }
}
