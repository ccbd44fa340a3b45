// SPDX-License-Identifier: BSD-2-Clause
// The table of nodes. A row is made once and then kept, so that a button never moves or loses the
// focus under somebody's finger; only texts change.

import {between, count, duration, element, latency, setText} from './format.js';
import {consequences, fillOf} from './model.js';

const COLUMNS = ['Node', 'Wanted', 'Health', 'Data', 'Serves', 'Requests / s', 'p99', 'Errors',
    'Actions'];
const COMMANDS = {
    ready: ['Ready', 'take it back'],
    drain: ['Drain', 'no reads from it'],
    maint: ['Maint', 'leave it alone'],
    resync: ['Resync', 'fill it again from the others'],
};

const TONES = {
    ready: 'good', up: 'good', complete: 'good', drain: 'warning', maint: 'warning',
    filling: 'warning', warming: 'warning', down: 'bad', out: 'bad',
};

function cell(title, ...content) {
    const made = element('div', `cell cell-${title.split(' ')[0].toLowerCase()}`);
    made.setAttribute('role', 'cell');
    const label = element('span', 'label', title);
    label.setAttribute('aria-hidden', 'true');
    made.append(label, element('div', 'value', ...content));
    return made;
}

function chip() {
    return element('span', 'chip');
}

function setChip(node, word, since, now) {
    setText(node, word);
    node.dataset.tone = TONES[word] ?? 'plain';
    const seconds = since === null ? null : between(since, now);
    node.title = seconds === null ? '' : `for ${duration(seconds)}`;
}

class Row {
    constructor(name, ask) {
        this.name = name;
        this.facts = {admin: chip(), oper: chip(), data: chip()};
        this.address = element('span', 'quiet address');
        this.why = element('span', 'quiet');
        this.fill = element('progress', '');
        this.fill.max = 1;
        this.fillText = element('span', 'quiet fill-text');
        this.serves = element('span', '');
        this.rate = element('span', 'number');
        this.p99 = element('span', 'number');
        this.errors = element('span', 'number');
        this.buttons = {};
        const actions = element('div', 'buttons');
        for (const [command, [word, help]] of Object.entries(COMMANDS)) {
            const button = element('button', '', word);
            button.type = 'button';
            button.title = help;
            button.setAttribute('aria-label', `${word} ${name}: ${help}`);
            button.addEventListener('click', () => this.press(command, button, ask));
            this.buttons[command] = button;
            actions.append(button);
        }
        this.element = element('div', 'row');
        this.element.setAttribute('role', 'row');
        this.data = cell('Data', this.facts.data, this.fill, this.fillText);
        this.element.append(
            cell('Node', element('b', 'name', name), this.address),
            cell('Wanted', this.facts.admin), cell('Health', this.facts.oper, this.why),
            this.data, cell('Serves', this.serves), cell('Requests / s', this.rate),
            cell('p99', this.p99), cell('Errors', this.errors), cell('Actions', actions));
    }

    press(command, button, ask) {
        if (command === 'ready') {
            ask.send(this.name, command, button);
        } else {
            ask.open(this.name, command, consequences(this.stats, this.name, command), button);
        }
    }

    update(node, stats, rate) {
        this.stats = stats;
        const {reads, writes} = node.serving;
        const {errors} = node.traffic;
        const hasPools = Object.keys(stats.replication.pools).length > 1;
        setText(this.address, [
            node.address === node.name ? null : node.address, node.zone,
            hasPools ? `pool ${node.pool}` : null].filter(text => text !== null).join(', '));
        setChip(this.facts.admin, node.admin.state, node.admin.since, stats.time);
        setChip(this.facts.oper, node.oper.state, node.oper.since, stats.time);
        setChip(this.facts.data, node.data.state, node.data.since, stats.time);
        setText(this.why, node.oper.state === 'down' ? node.check.text ?? '' : '');
        setText(this.serves, reads && writes ? 'reads, writes'
            : reads ? 'reads' : writes ? 'writes only' : 'nothing');
        setText(this.rate, count(rate));
        setText(this.p99, latency(node.traffic.p99_s));
        setText(this.errors, count(errors.timeout + errors.connect + errors.protocol));
        this.updateFill(fillOf(node));
        const state = node.admin.state;
        this.buttons.ready.hidden = state === 'ready';
        this.buttons.drain.hidden = state !== 'ready';
        this.buttons.maint.hidden = state === 'maint';
        this.buttons.resync.disabled = node.oper.state !== 'up' || state === 'maint';
    }

    updateFill(fill) {
        this.data.classList.toggle('is-filling', fill !== null);
        this.fill.hidden = fill === null;
        setText(this.fillText, fill === null ? '' : fill.text);
        if (fill !== null && fill.share !== null) {
            this.fill.value = fill.share;
        } else {
            this.fill.removeAttribute('value');
        }
        this.fill.setAttribute('aria-label', `fill of ${this.name}`);
    }
}

export class Nodes {
    constructor(table, empty, ask) {
        this.table = table;
        this.empty = empty;
        this.ask = ask;
        this.rows = new Map();
        const head = element('div', 'row head');
        head.setAttribute('role', 'row');
        head.append(...COLUMNS.map(title => {
            const made = element('div', `cell cell-${title.split(' ')[0].toLowerCase()}`, title);
            made.setAttribute('role', 'columnheader');
            return made;
        }));
        table.append(head);
    }

    update(stats, rates) {
        const entries = Object.entries(stats.nodes);
        for (const [name, row] of this.rows) {
            if (!(name in stats.nodes)) {
                row.element.remove();
                this.rows.delete(name);
            }
        }
        for (const [name, node] of entries) {
            if (!this.rows.has(name)) {
                const row = new Row(name, this.ask);
                this.rows.set(name, row);
                this.table.append(row.element);
            }
            this.rows.get(name).update(node, stats, rates === null ? null : rates.nodes[name]);
        }
        this.table.hidden = entries.length === 0;
        this.empty.hidden = entries.length > 0;
        setText(this.empty, 'This proxy has no nodes.');
    }
}
