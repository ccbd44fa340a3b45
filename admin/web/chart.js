// SPDX-License-Identifier: BSD-2-Clause
// The small chart: requests as an area, keys found as a line, errors as bars in a strip of their
// own below, so that a few errors are seen beside many requests.

import {count} from './format.js';

const SVG = 'http://www.w3.org/2000/svg';
const SPAN_MS = 300000;
const SPAN_MS_MIN = 60000; // at the start, a minute fills the width
const GAP_MS = 10000; // longer than this without an answer, the line is broken
const WIDTH = 600;
const TOP = 8;
const BOTTOM = 130;
const STRIP = 160;

function shape(tag, className) {
    const made = document.createElementNS(SVG, tag);
    made.setAttribute('class', className);
    return made;
}

/** The next of 1, 2, 5, 10, ... at or above VALUE: a scale that does not tremble. */
export function scale(value) {
    const decade = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
    return [1, 2, 5, 10].map(step => step * decade).find(step => step >= value);
}

export class Chart {
    constructor(place) {
        this.points = [];
        this.svg = shape('svg', 'chart');
        this.svg.setAttribute('viewBox', `0 0 ${WIDTH} ${STRIP + 4}`);
        this.svg.setAttribute('preserveAspectRatio', 'none');
        this.svg.setAttribute('role', 'img');
        this.parts = {};
        for (const [name, tag] of [['grid', 'path'], ['area', 'path'], ['requests', 'path'],
            ['hits', 'path'], ['errors', 'path']]) {
            this.parts[name] = shape(tag, `chart-${name}`);
            this.svg.append(this.parts[name]);
        }
        this.parts.grid.setAttribute('d', `M0 ${TOP}H${WIDTH}M0 ${(TOP + BOTTOM) / 2}H${WIDTH}`
            + `M0 ${BOTTOM}H${WIDTH}M0 ${STRIP}H${WIDTH}`);
        this.top = document.createElement('p');
        this.top.className = 'chart-scale';
        this.axis = document.createElement('p');
        this.axis.className = 'chart-axis';
        this.axis.append(...['', 'now'].map(text => {
            const span = document.createElement('span');
            span.textContent = text;
            return span;
        }));
        place.append(this.top, this.svg, this.axis);
        this.draw(0);
    }

    /** VALUE: {requests, hits, errors}, or null: the line is broken here. */
    add(atMs, value) {
        this.points.push({atMs, value});
        const oldest = atMs - SPAN_MS - GAP_MS;
        while (this.points[0].atMs < oldest) {
            this.points.shift();
        }
        this.draw(atMs);
    }

    x(atMs, nowMs) {
        return (WIDTH * (1 - (nowMs - atMs) / this.spanMs)).toFixed(1);
    }

    /** As long as there is something to show, by whole minutes. */
    setSpan(nowMs) {
        const known = this.points.length === 0 ? 0 : nowMs - this.points[0].atMs;
        const minutes = Math.ceil(known / SPAN_MS_MIN);
        this.spanMs = Math.min(SPAN_MS, Math.max(1, minutes) * SPAN_MS_MIN);
        const shown = this.spanMs / 60000;
        this.axis.firstChild.textContent = `${shown} ${shown === 1 ? 'minute' : 'minutes'} ago`;
    }

    /** The runs of points with nothing missing between them. */
    runs() {
        const all = [];
        let before = null;
        for (const point of this.points) {
            if (point.value !== null) {
                if (before === null || point.atMs - before > GAP_MS) {
                    all.push([]);
                }
                all[all.length - 1].push(point);
            }
            before = point.value === null ? null : point.atMs;
        }
        return all;
    }

    draw(nowMs) {
        this.setSpan(nowMs);
        const values = this.points.map(point => point.value).filter(value => value !== null);
        const max = scale(Math.max(1, ...values.map(value => Math.max(value.requests, value.hits))));
        const errorsMax = scale(Math.max(1, ...values.map(value => value.errors)));
        const y = value => (BOTTOM - (BOTTOM - TOP) * value / max).toFixed(1);
        let area = '';
        const lines = {requests: '', hits: ''};
        for (const run of this.runs()) {
            const path = name => run.map(({atMs, value}) =>
                `${this.x(atMs, nowMs)} ${y(value[name])}`).join('L');
            lines.requests += `M${path('requests')}`;
            lines.hits += `M${path('hits')}`;
            area += `M${this.x(run[0].atMs, nowMs)} ${BOTTOM}L${path('requests')}`
                + `L${this.x(run[run.length - 1].atMs, nowMs)} ${BOTTOM}Z`;
        }
        const bars = this.points.filter(({value}) => value !== null && value.errors > 0)
            .map(({atMs, value}) => `M${this.x(atMs, nowMs)} ${STRIP}`
                + `v-${(2 + (STRIP - BOTTOM - 10) * value.errors / errorsMax).toFixed(1)}`);
        this.parts.area.setAttribute('d', area);
        this.parts.requests.setAttribute('d', lines.requests);
        this.parts.hits.setAttribute('d', lines.hits);
        this.parts.errors.setAttribute('d', bars.join(''));
        this.top.textContent = values.length < 2 ? 'Collecting: two answers make a rate.'
            : `${count(max)} a second`;
        const last = values[values.length - 1];
        this.svg.setAttribute('aria-label', last === undefined ? 'No rates yet.'
            : `Now ${count(last.requests)} requests, ${count(last.hits)} keys found and `
                + `${count(last.errors)} errors a second.`);
    }
}
