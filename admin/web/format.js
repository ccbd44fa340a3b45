// SPDX-License-Identifier: BSD-2-Clause
// Numbers and times as people read them, and elements whose text is always only text.

/** 12345 -> "12,345"; 1234567 -> "1.23 M": never more than a tile holds. */
export function count(value) {
    if (value === null || value === undefined || Number.isNaN(value)) {
        return '–';
    }
    if (value >= 1e6) {
        const units = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M']];
        const [size, unit] = units.find(([least]) => value >= least);
        return `${(value / size).toFixed(value / size < 10 ? 2 : 1)} ${unit}`;
    }
    if (value > 0 && value < 10 && !Number.isInteger(value)) {
        return value.toFixed(1);
    }
    return Math.round(value).toLocaleString('en');
}

/** 0.00028 -> "0.28 ms" */
export function latency(seconds) {
    if (seconds === null || seconds === undefined) {
        return '–';
    }
    if (seconds >= 0.9995) {
        return `${seconds.toFixed(1)} s`;
    }
    const ms = seconds * 1e3;
    return `${ms.toFixed(ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0)} ms`;
}

/** 192 -> "3 min 12 s" */
export function duration(seconds) {
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) {
        return `${s} s`;
    }
    if (s < 3600) {
        return `${Math.floor(s / 60)} min ${s % 60} s`;
    }
    if (s < 86400) {
        return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
    }
    return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

export function percent(share) {
    return `${(share * 100).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)} %`;
}

/** The seconds from ISO to ISO, or null. */
export function between(then, now) {
    const seconds = (Date.parse(now) - Date.parse(then)) / 1000;
    return Number.isNaN(seconds) ? null : Math.max(0, seconds);
}

/** An element with a class and text or children; nothing given is ever taken as markup. */
export function element(tag, className = '', ...content) {
    const made = document.createElement(tag);
    if (className !== '') {
        made.className = className;
    }
    made.append(...content.filter(part => part !== null && part !== undefined));
    return made;
}

/** Set text only when it changes, so that screen readers and selections are left in peace. */
export function setText(node, text) {
    if (node.textContent !== text) {
        node.textContent = text;
    }
}
