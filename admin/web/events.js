// SPDX-License-Identifier: BSD-2-Clause
// What happened, latest first, in sentences.

import {Problem, readEvents} from './api.js';
import {count, duration, element, setText} from './format.js';

const SHOWN_MAX = 100;
const AGAIN_MS = 2000;
const ABSENT_MS = 60000; // a proxy without the stream may be replaced by one that has it

const SENTENCES = {
    'node-up': e => `${e.node} answers.`,
    'node-down': e => `${e.node} is down${e.why ? `: ${e.why}` : ''}.`,
    'node-data': e => `The data of ${e.node}: ${e.from} → ${e.to}.`,
    'node-admin': e => `${e.node} is put from ${e.from} to ${e.to}.`,
    'node-identity': e => `${e.node} is not what it was${e.why ? `: ${e.why}` : ''}.`,
    'view-damaged': e => `${e.node} held a damaged view; it is overwritten.`,
    'view-foreign': e => `${e.node} held the view of another pool.`,
    'pool-added': e => `Pool ${e.why} has come.`,
    'pool-removed': e => `Pool ${e.why} goes: its clients get their answers and are let go.`,
    'node-added': e => `${e.node} (${e.why}) belongs to the pool now, and is filled.`,
    'node-removed': e => `${e.node} (${e.why}) belongs to the pool no more.`,
    'node-unknown': e => `${e.node} is in this proxy's configuration, but not in the pool.`,
    'proxy-seen': e => `Proxy ${e.proxy} is there.`,
    'proxy-gone': e => `Proxy ${e.proxy} is gone${e.why ? `: ${e.why}` : ''}.`,
    'lease-lapsed': () => 'The lease is over: nothing is answered until it is regained.',
    'lease-regained': () => 'The lease is regained.',
    serving: () => 'This proxy serves.',
    'first-start': e => `A first start: ${e.nodes} nodes are taken on trust.`,
    'writes-stopped': e => `Writes are refused: only ${e.up} of ${e.nodes} nodes are up.`,
    'writes-allowed': e => `Writes are taken again: ${e.up} of ${e.nodes} nodes are up.`,
    'split-healed': e => `A split has healed; ${e.node} was complete on one side${e.why ? `: ${e.why}` : ''}.`,
    'last-copy-lost': e => `${e.node} was the last copy, and is lost${e.why ? `: ${e.why}` : ''}.`,
    'fill-started': e => `The fill of ${e.node} has begun.`,
    'fill-done': e => `${e.node} is filled: ${count(e.items)} items in `
        + `${duration(e.took_us / 1e6)}.`,
    'fill-failed': e => `The fill of ${e.node} failed${e.why ? `: ${e.why}` : ''}.`,
    'verify-started': e => `The copies${e.node ? ` of ${e.node}` : ''} are being compared.`,
    'verify-done': e => `Copies were compared: ${count(e.differed)} differed, `
        + `${count(e.mended)} are mended.`,
    'verify-failed': e => `Comparing the copies failed${e.why ? `: ${e.why}` : ''}.`,
    'config-reloaded': e => `The configuration was read again: ${count(e.changes)} changes are in `
        + `effect${e.why ? `; ${e.why}` : ''}.`,
    'config-refused': e => `The configuration was refused, the old one stays: ${e.why}.`,
    'proxy-drained': () => 'This proxy was told not to be ready.',
    'proxy-undrained': () => 'This proxy is to be ready again.',
    flushed: e => `flush_all, ${e.delay_s} s from then.`,
    'pool-mismatch': e => `Proxy ${e.proxy} has another configuration of the pool.`,
    lost: e => `${count(e.count)} events were missed here.`,
};

/** Each change of the view is a matter of the log; here its effects are shown. */
const SILENT = new Set(['view-proposed', 'view-effective', 'proxy-id']);

const KNOWN = new Set(['id', 'type', 'level', 'time', 'pool']);

function sentence(event) {
    const known = SENTENCES[event.type];
    return known ? known(event) : [event.type ?? 'event', ...Object.entries(event)
        .filter(([key]) => !KNOWN.has(key)).map(([key, value]) => `${key}=${value}`)].join(' ');
}

function timeOf(event) {
    const time = element('time', '');
    const at = new Date(event.time ?? Date.now());
    time.dateTime = at.toISOString();
    time.title = at.toLocaleString();
    time.textContent = at.toLocaleTimeString([], {hour12: false});
    return time;
}

export class Events {
    constructor(list, empty) {
        this.list = list;
        this.empty = empty;
        this.since = 0;
    }

    show(event) {
        this.since = event.id ?? this.since;
        if (SILENT.has(event.type)) {
            return;
        }
        const row = element('li', '', timeOf(event), element('span', '', sentence(event)));
        row.dataset.level = event.level ?? 'info';
        this.list.prepend(row);
        while (this.list.children.length > SHOWN_MAX) {
            this.list.lastElementChild.remove();
        }
        this.list.hidden = false;
        this.empty.hidden = true;
    }

    /** Follow for as long as the page is open. */
    async follow() {
        for (;;) {
            let pause = AGAIN_MS;
            try {
                await readEvents(this.since, event => this.show(event));
            } catch (error) {
                if (error instanceof Problem && error.status === 404) {
                    setText(this.empty, 'This proxy has no stream of events.');
                    pause = ABSENT_MS;
                }
            }
            await new Promise(resolve => setTimeout(resolve, pause));
        }
    }
}
